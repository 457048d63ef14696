/* SPDX-License-Identifier: MIT */
/* Processes: see processes.h. */
#include "broker/report/processes.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/base/proc_text.h"

/* include/linux/fdtable.h: NR_OPEN_DEFAULT places are in files_struct itself; of a larger table
 * each place takes a pointer and three bits. */
#define DESCRIPTORS_EMBEDDED 64
#define DESCRIPTOR_BYTES     (sizeof(void *) + 3.0 / 8)

/* ---- memory ---- */

static void add_smaps(pid_t pid, bool segments, struct process_memory *sum)
{
    struct smaps all = {NAN, NAN, NAN, NAN, NAN}, of_segments = all;
    char *text = proc_read(pid, "smaps_rollup");

    if (text) /* since Linux 4.14 */
        smaps_parse(text, NULL, &all);
    free(text);
    if (!segments && !isnan(all.pss))
        goto add;
    text = proc_read(pid, "smaps");
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
    char *text = proc_read(pid, "statm");
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
    char *text = proc_read(pid, "status");
    struct process_status status = {NAN, NAN};
    int descriptors = proc_count_descriptors(pid);

    if (text)
        status_parse(text, &status);
    free(text);
    more.virtual += virtual_size(pid);
    more.page_tables += status.page_tables;
    more.descriptor_tables += descriptor_table(&status);
    more.descriptors += descriptors < 0 ? NAN : descriptors;
    add_smaps(pid, segments, &more);
    /* If it ended meanwhile, what could not be read is not missing. */
    if (virtual_size(pid) == 0)
        return false;
    *sum = more;
    return true;
}

/* ---- finding ---- */

static bool name_matches(pid_t pid, const char *wanted)
{
    char *name = proc_read(pid, "comm"), *line;
    bool found = name && strstr(name, wanted);

    free(name);
    if (found)
        return true;
    /* The name is cut to 15 bytes; the first word of the command line ends with a zero. */
    line = proc_read(pid, "cmdline");
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
    text = proc_read(pid, "cgroup");
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
        char path[PATH_MAX], *text = proc_read(pids[i], "cgroup");
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
