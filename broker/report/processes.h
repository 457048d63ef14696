/* SPDX-License-Identifier: MIT */
/* How much memory processes have, and which processes there are. */
#ifndef LENDIS_REPORT_PROCESSES_H
#define LENDIS_REPORT_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Bytes, summed over processes; NAN: some of it could not be read. */
struct process_memory {
    double rss;
    double pss;
    double uss;
    double anonymous;
    double virtual;
    double page_tables;
    double descriptors; /* open ones: a number */
    /* Of which the first 64 places are part of the process' own structure. */
    double descriptor_tables;
    double swapped;
    double segments_pss; /* of lendis' segments and catalogs: part of pss */
    double segments_uss; /* likewise, of uss */
};

/*
 * Adds what process `pid` has. With `segments` also the last two, which takes some times as long.
 * False: the process is gone, and nothing was added.
 */
bool process_add(pid_t pid, bool segments, struct process_memory *sum);

enum match_kind {
    MATCH_NAME,   /* part of its name, or of the first word of its command line */
    MATCH_UNIT,   /* a unit of systemd's, ".service" is understood */
    MATCH_CGROUP, /* the path of a cgroup, below which it is */
};

/* Processes that match, this one left out: an array to be freed. Results: their number; -errno. */
int processes_find(enum match_kind kind, const char *text, pid_t **pids);

/* The first of them that is in the unified hierarchy: its cgroup's folder under /sys/fs/cgroup.
 * False: none. */
bool cgroup_folder(const pid_t *pids, int count, char *folder, size_t size);

#endif
