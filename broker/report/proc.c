/* SPDX-License-Identifier: MIT */
/* Processes: see proc.h. What a process has is read at once and parsed by proc_text.h. */
#include "broker/report/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/report/proc_text.h"

/* include/linux/fdtable.h: NR_OPEN_DEFAULT places are in files_struct itself; of a larger table each place
 * takes a pointer and three bits. */
#define DESCRIPTORS_EMBEDDED 64
#define DESCRIPTOR_BYTES     (sizeof(void *) + 3.0 / 8)

char *read_text(const char *path)
{
    size_t room = 1 << 16, used = 0;
    char *text = malloc(room);
    int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd < 0 ? -1 : 0;

    /* Files of /proc have no size: read until there is nothing more. */
    while (fd >= 0 && (got = read(fd, text + used, room - used - 1)) > 0) {
        char *more;

        used += (size_t)got;
        if (room - used > 1)
            continue;
        more = realloc(text, room *= 2);
        if (!more) {
            got = -1;
            break;
        }
        text = more;
    }
    if (fd >= 0)
        close(fd);
    if (got < 0) {
        free(text);
        return NULL;
    }
    text[used] = '\0';
    return text;
}

static char *read_of(pid_t pid, const char *file)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return read_text(path);
}

/* ---- memory ---- */

static double count_descriptors(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    double count = 0;
    DIR *fds;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    fds = opendir(path);
    if (!fds)
        return NAN;
    while ((entry = readdir(fds)))
        count += entry->d_name[0] != '.';
    closedir(fds);
    return count;
}

static void add_smaps(pid_t pid, bool segments, struct process_memory *sum)
{
    struct smaps all = {NAN, NAN, NAN, NAN, NAN}, of_segments = all;
    char *text = read_of(pid, "smaps_rollup");

    if (text) /* since Linux 4.14 */
        smaps_parse(text, NULL, &all);
    free(text);
    if (!segments && !isnan(all.pss))
        goto add;
    text = read_of(pid, "smaps");
    if (text && isnan(all.pss))
        smaps_parse(text, NULL, &all);
    if (text && segments)
        smaps_parse(text, "/memfd:lendis-", &of_segments);
    free(text);
add:
    sum->rss += all.rss;
    sum->pss += all.pss;
    sum->uss += all.uss;
    sum->anonymous += all.anonymous;
    sum->swapped += all.swap_pss;
    sum->segments_pss += of_segments.pss;
    sum->segments_uss += of_segments.uss;
}

/* The virtual size; 0: it is gone, or a zombie or of the kernel, which have no memory. */
static double virtual_size(pid_t pid)
{
    char *text = read_of(pid, "statm");
    double size = text ? statm_virtual(text, (size_t)sysconf(_SC_PAGESIZE)) : 0;

    free(text);
    return size > 0 ? size : 0;
}

static double descriptor_table(const struct process_status *status)
{
    if (isnan(status->descriptors_max))
        return NAN;
    return status->descriptors_max > DESCRIPTORS_EMBEDDED
               ? status->descriptors_max * DESCRIPTOR_BYTES
               : 0;
}

bool process_add(pid_t pid, bool segments, struct process_memory *sum)
{
    struct process_memory more = *sum;
    char *text = read_of(pid, "status");
    struct process_status status = {NAN, NAN};

    if (text)
        status_parse(text, &status);
    free(text);
    more.virtual += virtual_size(pid);
    more.page_tables += status.page_tables;
    more.descriptor_tables += descriptor_table(&status);
    more.descriptors += count_descriptors(pid);
    add_smaps(pid, segments, &more);
    /* If it ended meanwhile, what could not be read is not missing. */
    if (virtual_size(pid) == 0)
        return false;
    *sum = more;
    return true;
}

double memfd_bytes(pid_t pid, const char *name)
{
    char folder[64], wanted[64];
    struct dirent *entry;
    double bytes = 0;
    DIR *fds;

    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
    snprintf(wanted, sizeof wanted, "/memfd:%s", name);
    fds = opendir(folder);
    if (!fds)
        return NAN;
    while ((entry = readdir(fds))) {
        char target[256];
        struct stat file;
        ssize_t length = readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1);

        if (length < 0)
            continue;
        target[length] = '\0';
        /* Pages that nobody touched are not allocated: fstat(2), st_blocks. */
        if (strncmp(target, wanted, strlen(wanted)) == 0 &&
            fstatat(dirfd(fds), entry->d_name, &file, 0) == 0)
            bytes += (double)file.st_blocks * 512;
    }
    closedir(fds);
    return bytes;
}

/* ---- finding ---- */

static bool name_matches(pid_t pid, const char *wanted)
{
    char *name = read_of(pid, "comm"), *line;
    bool found = name && strstr(name, wanted);

    free(name);
    if (found)
        return true;
    /* The name is cut to 15 bytes; the first word of the command line ends with a zero. */
    line = read_of(pid, "cmdline");
    found = line && strstr(line, wanted);
    free(line);
    return found;
}

static bool matches(pid_t pid, enum match_kind kind, const char *wanted)
{
    char *text;
    bool found;

    if (kind == MATCH_NAME)
        return name_matches(pid, wanted);
    text = read_of(pid, "cgroup");
    found = text && cgroup_matches(text, wanted, kind == MATCH_UNIT);
    free(text);
    return found;
}

/* What systemd means by the name of a unit without its kind. */
static const char *unit_name(const char *name, char *full, size_t size)
{
    snprintf(full, size, "%s%s", name, strchr(name, '.') ? "" : ".service");
    return full;
}

int processes_find(enum match_kind kind, const char *text, pid_t **pids)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    char unit[256];
    int count = 0;

    *pids = NULL;
    if (!processes)
        return -errno;
    if (kind == MATCH_UNIT)
        text = unit_name(text, unit, sizeof unit);
    while ((entry = readdir(processes))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10), *more;

        if (!isdigit((unsigned char)entry->d_name[0]) || pid == getpid() ||
            !matches(pid, kind, text))
            continue;
        more = realloc(*pids, ((size_t)count + 1) * sizeof *more);
        if (!more) {
            free(*pids);
            closedir(processes);
            return -ENOMEM;
        }
        *pids = more;
        more[count++] = pid;
    }
    closedir(processes);
    return count;
}

bool cgroup_folder(const pid_t *pids, int count, char *folder, size_t size)
{
    /* Where both versions are mounted, the second is found in "unified". */
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

    for (int i = 0; i < count; i++) {
        char path[PATH_MAX], *text = read_of(pids[i], "cgroup");
        bool found = text && cgroup_unified(text, path, sizeof path);

        free(text);
        for (size_t r = 0; found && r < sizeof roots / sizeof *roots; r++) {
            char file[PATH_MAX + 64];

            snprintf(file, sizeof file, "%s%s/memory.stat", roots[r], path);
            snprintf(folder, size, "%s%s", roots[r], path);
            if (access(file, R_OK) == 0)
                return true;
        }
    }
    return false;
}
