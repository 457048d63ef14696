/* SPDX-License-Identifier: MIT */
/* Reading /proc: see proc.h. */
#include "broker/base/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

/* Reads on at `text`. Files of /proc have no size: until there is nothing more, or no room.
 * Results: how much; -1. */
static ssize_t fill(int fd, char *text, size_t room)
{
    size_t used = 0;
    ssize_t got = 0;

    while (used < room && (got = read(fd, text + used, room - used)) > 0)
        used += (size_t)got;
    return got < 0 ? -1 : (ssize_t)used;
}

size_t read_start(int folder, const char *path, char *text, size_t size)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : fill(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

/* All that is left to be read from `fd`, to be freed. */
static char *read_rest(int fd)
{
    size_t room = 1 << 16, used = 0;
    char *text = malloc(room), *more = text;
    ssize_t got = 0;

    while (more && (got = fill(fd, text + used, room - 1 - used)) > 0) {
        used += (size_t)got;
        if (used + 1 < room)
            continue;
        more = realloc(text, room *= 2);
        if (more)
            text = more;
    }
    if (!more || got < 0) {
        free(text);
        return NULL;
    }
    text[used] = '\0';
    return text;
}

char *read_text_at(int folder, const char *path)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC), error;
    char *text = fd < 0 ? NULL : read_rest(fd);

    error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return text;
}

char *read_text(const char *path)
{
    return read_text_at(AT_FDCWD, path);
}

/* ---- processes ---- */

#define PATH_SIZE 64

static const char *path_of(pid_t pid, const char *file, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "/proc/%d/%s", (int)pid, file);
    return path;
}

char *proc_read(pid_t pid, const char *file)
{
    char path[PATH_SIZE];

    return read_text(path_of(pid, file, path));
}

size_t proc_read_start(pid_t pid, const char *file, char *text, size_t size)
{
    char path[PATH_SIZE];

    return read_start(AT_FDCWD, path_of(pid, file, path), text, size);
}

int proc_open(pid_t pid)
{
    char path[PATH_SIZE];

    return open(path_of(pid, "", path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

const char *proc_stat_field(const char *stat, int number)
{
    /* The name, field 2, is in brackets and may contain anything. */
    const char *at = strrchr(stat, ')');

    for (int field = 2; at && field < number; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

uint64_t proc_stat_number(const char *stat, int number)
{
    const char *at = proc_stat_field(stat, number);

    return at ? strtoull(at, NULL, 10) : 0;
}

/* ---- descriptors ---- */

int proc_each_descriptor(int folder, proc_use *use, void *context)
{
    int fds = openat(folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fds < 0 ? NULL : fdopendir(fds);
    struct dirent *entry;
    bool done = false;

    if (!list) {
        int error = errno;

        if (fds >= 0)
            close(fds);
        return -error;
    }
    while (!done && (entry = readdir(list))) {
        char target[256];
        ssize_t length = entry->d_name[0] == '.'
                             ? -1
                             : readlinkat(fds, entry->d_name, target, sizeof target - 1);

        if (length < 0)
            continue;
        target[length] = '\0';
        done = use(context, fds, entry->d_name, target);
    }
    closedir(list);
    return 0;
}

/* The same by the process' number. Results: 0; -errno. */
static int each_descriptor_of(pid_t pid, proc_use *use, void *context)
{
    int folder = proc_open(pid), result;

    if (folder < 0)
        return -errno;
    result = proc_each_descriptor(folder, use, context);
    close(folder);
    return result;
}

static bool count_one(void *context, int fds, const char *name, const char *target)
{
    (void)fds;
    (void)name;
    (void)target;
    ++*(int *)context;
    return false;
}

int proc_count_descriptors(pid_t pid)
{
    int count = 0;

    if (each_descriptor_of(pid, count_one, &count) != 0)
        return -1;
    return pid == getpid() ? count - 2 : count; /* without those that it is counted through */
}

struct memfds {
    char name[64];
    double bytes;
};

static bool add_memfd(void *context, int fds, const char *name, const char *target)
{
    struct memfds *memfds = context;
    struct stat file;

    /* Pages that nobody touched are not allocated: fstat(2), st_blocks. */
    if (strncmp(target, memfds->name, strlen(memfds->name)) == 0 &&
        fstatat(fds, name, &file, 0) == 0)
        memfds->bytes += (double)file.st_blocks * 512;
    return false;
}

double proc_memfd_bytes(pid_t pid, const char *name)
{
    struct memfds memfds = {.bytes = 0};

    snprintf(memfds.name, sizeof memfds.name, "/memfd:%s", name);
    return each_descriptor_of(pid, add_memfd, &memfds) == 0 ? memfds.bytes : NAN;
}
