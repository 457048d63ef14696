/* SPDX-License-Identifier: MIT */
/*
 * In which epoll sets a virtual connection is. What a set reports is the data of a registration, so
 * that it may be of another descriptor: the one that has the stream's bytes (swap_carrier()). It
 * has to move whenever that is another one; and what epoll_ctl(2) answers, EEXIST and ENOENT, is
 * answered from here.
 */
#ifndef LENDIS_PRELOAD_EPOLL_TABLE_H
#define LENDIS_PRELOAD_EPOLL_TABLE_H

#include <sys/epoll.h>
#include "libclient/preload/virtual.h"

/* epoll_ctl(2) for a locked virtual connection, on `fd`, which has its bytes. */
int registration_change(struct virtual *virtual, int fd, int epoll, int operation,
                        const struct epoll_event *event);

/* Before and after another descriptor has them, or is another file: `fd`. */
void registrations_lift(const struct virtual *virtual, int fd);
void registrations_lay(struct virtual *virtual, int fd);

/* Forgets them; the sets are left as they are. */
void registrations_forget(struct virtual *virtual);

#endif
