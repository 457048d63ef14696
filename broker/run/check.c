/* SPDX-License-Identifier: MIT */
/* What a program is: see check.h. It reads headers of ELF files (elf(5)), and runs nothing. */
#include "broker/run/check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "broker/run/functions.h"

/* Interpreters of scripts may be scripts themselves: execve(2) follows so many. */
#define SCRIPTS_MAX 4
#define PATH_ROOM   4096

struct file {
    const unsigned char *bytes;
    size_t size;
};

/* `size` bytes at `at`, or NULL: the file is shorter. */
static const void *part(const struct file *file, uint64_t at, uint64_t size)
{
    return at <= file->size && size <= file->size - at ? file->bytes + at : NULL;
}

/* ---- finding it ---- */

static bool find(const char *name, char path[PATH_ROOM])
{
    const char *folders = getenv("PATH");
    int size;

    if (strchr(name, '/')) {
        snprintf(path, PATH_ROOM, "%s", name);
        return access(path, X_OK) == 0;
    }
    for (const char *at = folders ? folders : "/usr/bin:/bin"; at; at = strchr(at, ':')) {
        at += *at == ':';
        size = snprintf(path, PATH_ROOM, "%.*s/%s", (int)strcspn(at, ":"), at, name);
        if (size > 0 && size < PATH_ROOM && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static bool map(const char *path, struct file *file)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    void *bytes = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0)
        bytes = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (bytes == MAP_FAILED)
        return false;
    *file = (struct file){bytes, (size_t)stat.st_size};
    return true;
}

/* "#!INTERPRETER ARGUMENT": the interpreter; for env(1), what that looks for. */
static bool script_interpreter(const struct file *file, char name[PATH_ROOM])
{
    char line[256], *rest = NULL, *word;
    size_t size = file->size - 2 < sizeof line - 1 ? file->size - 2 : sizeof line - 1;

    if (file->size < 4 || memcmp(file->bytes, "#!", 2) != 0)
        return false;
    memcpy(line, file->bytes + 2, size);
    line[size] = '\0';
    line[strcspn(line, "\n")] = '\0';
    word = strtok_r(line, " \t", &rest);
    if (word && strcmp(word + (strlen(word) > 3 ? strlen(word) - 3 : 0), "env") == 0)
        do
            word = strtok_r(NULL, " \t", &rest);
        while (word && *word == '-');
    snprintf(name, PATH_ROOM, "%s", word ? word : "");
    return word != NULL;
}

/* ---- what it is ---- */

static const ElfW(Phdr) * segment(const struct file *file, uint32_t type)
{
    const ElfW(Ehdr) *header = part(file, 0, sizeof *header);
    const ElfW(Phdr) *all =
        part(file, header->e_phoff, (uint64_t)header->e_phnum * sizeof(ElfW(Phdr)));

    for (int i = 0; all && i < header->e_phnum; i++)
        if (all[i].p_type == type)
            return &all[i];
    return NULL;
}

static const ElfW(Shdr) * section(const struct file *file, const char *name)
{
    const ElfW(Ehdr) *header = part(file, 0, sizeof *header);
    const ElfW(Shdr) *all =
        part(file, header->e_shoff, (uint64_t)header->e_shnum * sizeof(ElfW(Shdr)));
    const char *names;

    if (!all || header->e_shstrndx >= header->e_shnum)
        return NULL;
    names = part(file, all[header->e_shstrndx].sh_offset, all[header->e_shstrndx].sh_size);
    for (int i = 0; names && i < header->e_shnum; i++)
        if (all[i].sh_name < all[header->e_shstrndx].sh_size &&
            strncmp(names + all[i].sh_name, name,
                    all[header->e_shstrndx].sh_size - all[i].sh_name) == 0)
            return &all[i];
    return NULL;
}

/* Why it cannot be helped; NULL: it can. */
static const char *elf_obstacle(const struct file *file, const struct file *own)
{
    const ElfW(Ehdr) *header = part(file, 0, sizeof *header), *ours = part(own, 0, sizeof *ours);
    const ElfW(Phdr) * interpreter;
    const char *loader;

    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return "is no program of this kind";
    if (header->e_ident[EI_CLASS] != ours->e_ident[EI_CLASS] ||
        header->e_machine != ours->e_machine)
        return "is for another machine, or of 32 bits";
    interpreter = segment(file, PT_INTERP);
    if (!interpreter)
        return "is linked statically: no library can be preloaded";
    loader = part(file, interpreter->p_offset, interpreter->p_filesz);
    if (loader && memmem(loader, interpreter->p_filesz, "musl", 4))
        return "is of another C library (musl)";
    if (section(file, ".go.buildinfo"))
        return "is written in Go, which makes its system calls itself";
    return NULL;
}

static const char *privilege_obstacle(const char *path)
{
    struct stat stat_buffer;

    if (stat(path, &stat_buffer) == 0 && (stat_buffer.st_mode & (S_ISUID | S_ISGID)))
        return "is setuid or setgid: the loader ignores what is to be preloaded";
    if (getxattr(path, "security.capability", NULL, 0) > 0)
        return "has file capabilities: the loader ignores what is to be preloaded";
    return NULL;
}

/* Of the functions that it calls itself, those of one kind; its libraries may call more. */
static void list_calls(const struct file *file, enum function_kind kind, const char *label,
                       const char *none, FILE *out)
{
    const ElfW(Shdr) *symbols = section(file, ".dynsym"), *strings = section(file, ".dynstr");
    const ElfW(Sym) *all = symbols ? part(file, symbols->sh_offset, symbols->sh_size) : NULL;
    const char *names = strings ? part(file, strings->sh_offset, strings->sh_size) : NULL;
    const char *between = label;

    for (size_t i = 0; all && names && i < symbols->sh_size / sizeof *all; i++) {
        const char *name = names + all[i].st_name;
        size_t room = all[i].st_name < strings->sh_size ? strings->sh_size - all[i].st_name : 0;

        if (all[i].st_shndx != SHN_UNDEF ||
            function_kind_of(name, strnlen(name, room)) != (int)kind)
            continue;
        fprintf(out, "%s%.*s", between, (int)room, name);
        between = ", ";
    }
    fputs(between == label ? none : "\n", out);
}

/* It is linked against a library whose name has `word` in it. */
static bool needs(const struct file *file, const char *word)
{
    const ElfW(Shdr) *dynamic = section(file, ".dynamic"), *strings = section(file, ".dynstr");
    const ElfW(Dyn) *all = dynamic ? part(file, dynamic->sh_offset, dynamic->sh_size) : NULL;
    const char *names = strings ? part(file, strings->sh_offset, strings->sh_size) : NULL;

    for (size_t i = 0; all && names && i < dynamic->sh_size / sizeof *all; i++)
        if (all[i].d_tag == DT_NEEDED && all[i].d_un.d_val < strings->sh_size &&
            memmem(names + all[i].d_un.d_val,
                   strnlen(names + all[i].d_un.d_val, strings->sh_size - all[i].d_un.d_val), word,
                   strlen(word)))
            return true;
    return false;
}

static bool judge(const char *path, const struct file *file, FILE *out)
{
    const char *obstacle;
    struct file own;

    if (!map("/proc/self/exe", &own)) {
        fprintf(stderr, "lendis-run: /proc/self/exe: %s\n", strerror(errno));
        return false;
    }
    obstacle = elf_obstacle(file, &own);
    munmap((void *)own.bytes, own.size);
    if (!obstacle)
        obstacle = privilege_obstacle(path);
    if (obstacle) {
        fprintf(out, "%s %s\n", path, obstacle);
        return false;
    }
    fprintf(out, "%s can be helped\n", path);
    list_calls(file, FUNCTION_FOLLOWED,
               "  binds itself: ", "  binds nothing itself; its libraries do, perhaps\n", out);
    list_calls(file, FUNCTION_REAL, "  on these its connection becomes a real one: ", "", out);
    if (needs(file, "liburing"))
        fputs("  uses io_uring: what it sends that way on a virtual connection fails\n", out);
    return true;
}

bool check_program(const char *name, FILE *out)
{
    char path[PATH_ROOM], next[PATH_ROOM];
    struct file file;
    bool good = false;

    snprintf(next, sizeof next, "%s", name);
    for (int depth = 0; depth <= SCRIPTS_MAX; depth++) {
        bool is_script;

        if (!find(next, path) || !map(path, &file)) {
            fprintf(out, "%s is not there, or cannot be read\n", next);
            return false;
        }
        is_script = script_interpreter(&file, next);
        if (is_script)
            fprintf(out, "%s is a script for %s\n", path, next);
        else
            good = judge(path, &file, out);
        munmap((void *)file.bytes, file.size);
        if (!is_script)
            return good;
    }
    fprintf(out, "%s is a script of a script of a script\n", name);
    return false;
}
