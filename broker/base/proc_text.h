/* SPDX-License-Identifier: MIT */
/*
 * What files of /proc, /sys and cgroups say, from their text: proc(5), slabinfo(5), cgroups(7).
 * Fields come and go with kernels, so each is looked for by its name, and what is not there is NAN:
 * a sum with such a part is NAN as well, so that nobody takes a part for the whole. All sizes are
 * bytes.
 */
#ifndef LENDIS_PROC_TEXT_H
#define LENDIS_PROC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* smaps_rollup, or mappings of smaps. */
struct smaps {
    double rss;
    double pss;       /* each page divided by the number of processes that map it */
    double uss;       /* private: what would be free if the process ended */
    double anonymous; /* not backed by a file: without program text */
    double swap_pss;  /* swapped out, so in none of the others; 0 where the kernel does not say */
};

/*
 * Sums over all mappings in `text`, or over those whose path begins with `path` unless that is
 * NULL: all 0 when there is none.
 */
void smaps_parse(const char *text, const char *path, struct smaps *sum);

/* statm: the virtual size. */
double statm_virtual(const char *text, size_t page_size);

/* status. */
struct process_status {
    double page_tables;
    double descriptors_max; /* what its descriptor table has room for: a number */
};
void status_parse(const char *text, struct process_status *status);

/* "Name: 123 kB" in meminfo or status. */
double kilobytes_field(const char *text, const char *name);

/* "name 123" of memory.stat (cgroups), as it is. */
double stat_field(const char *text, const char *name);

/*
 * slabinfo: memory of the caches called so, in all their slabs, whether or not objects are in them.
 * NAN: `text` is no slabinfo.
 */
double slabinfo_bytes(const char *text, const char *const *names, size_t count, size_t page_size);

/* The size of an object of the cache; NAN: it has no such cache. */
double slabinfo_object(const char *text, const char *name);

/* sockstat: the number behind `key` in the line that begins with `protocol`: ("TCP", "mem"). */
double sockstat_value(const char *text, const char *protocol, const char *key);

/*
 * /proc/PID/cgroup: whether the process is in the cgroup at `path` or below it, in any hierarchy;
 * or, with `unit` true, in one whose last or any other part is called `path`, as systemd calls its
 * units.
 */
bool cgroup_matches(const char *text, const char *path, bool unit);

/* Its path in the unified hierarchy, into `path` of `size` bytes. False: it is in none. */
bool cgroup_unified(const char *text, char *path, size_t size);

/* INFO of Redis: the number of a field. */
double info_field(const char *text, const char *name);

#endif
