/* SPDX-License-Identifier: MIT */
/* What the files of the testbed share with each other and with those of tests/support. */
#ifndef LENDIS_TESTBED_INTERNAL_H
#define LENDIS_TESTBED_INTERNAL_H

#include <sys/socket.h>
#include <sys/un.h>
#include "broker/testbed/testbed.h"

/* Processes to kill, by pid, when this one ends; children of this process. */
void scratch_add_child(pid_t pid);
void scratch_remove_child(pid_t pid);

/* A log to print when the process fails. */
void scratch_add_log(const char *path);

/* In a forked child: default actions for the signals that this process handles, none blocked. */
void scratch_forget(void);

/* In a forked child: SIGKILL when the parent's thread ends. Ends at once when `parent` is gone
 * already. */
void die_with(pid_t parent);

/* Gives up on a path that is too long for a socket. */
struct sockaddr_un unix_address(const char *path);

/* SIGKILLs and reaps a program. */
void program_kill(pid_t pid);

#endif
