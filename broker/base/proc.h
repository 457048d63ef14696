/* SPDX-License-Identifier: MIT */
/*
 * Reading /proc (proc(5)): files as text, and the descriptors of a process. For all programs and
 * tests; what the texts say is proc_text.h's. Keeps nothing and trusts nothing: a process may end,
 * or its number become another's, at any time, so who reads more than one file of it goes through
 * one folder.
 */
#ifndef LENDIS_PROC_H
#define LENDIS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A whole file, to be freed; NULL: it cannot be read (errno). The second is of a folder that is
 * open (openat(2)). */
char *read_text(const char *path);
char *read_text_at(int folder, const char *path);

/* The beginning of a file, as far as `text` of `size` bytes has room with its zero. Returns its
 * length; 0: not readable. */
size_t read_start(int folder, const char *path, char *text, size_t size);

/* The same two of a process: "stat", say. */
char *proc_read(pid_t pid, const char *file);
size_t proc_read_start(pid_t pid, const char *file, char *text, size_t size);

/* The process' folder: a descriptor, through which everything fails with ESRCH once the process
 * is gone. -1 and errno. */
int proc_open(pid_t pid);

/*
 * Field `number` of a stat, from 3, the state, on (proc_pid_stat(5)); NULL: there is none. The
 * second: as a number, or 0.
 */
const char *proc_stat_field(const char *stat, int number);
uint64_t proc_stat_number(const char *stat, int number);

/*
 * Calls `use` for each open descriptor of the process with this folder: `name` is its number, to be
 * found in folder `fds`, `target` what it leads to (readlink(2), cut to 255 bytes). Ends when that
 * returns true. Results: 0; -errno.
 */
typedef bool proc_use(void *context, int fds, const char *name, const char *target);
int proc_each_descriptor(int folder, proc_use *use, void *context);

/* How many descriptors a process has open; -1: not readable, or gone. */
int proc_count_descriptors(pid_t pid);

/* Bytes that the kernel has for the memfds of a process whose name begins so; NAN: not readable. */
double proc_memfd_bytes(pid_t pid, const char *name);

#endif
