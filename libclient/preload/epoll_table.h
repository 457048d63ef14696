/* SPDX-License-Identifier: MIT */
/*
 * In which epoll sets a virtual connection is. A registration belongs to a number and the file
 * behind it (epoll(7)), so it has to move whenever the file is exchanged; and what epoll_ctl(2)
 * answers, EEXIST and ENOENT, is answered from here.
 */
#ifndef LENDIS_PRELOAD_EPOLL_TABLE_H
#define LENDIS_PRELOAD_EPOLL_TABLE_H

#include <sys/epoll.h>
#include "libclient/preload/virtual.h"

/* epoll_ctl(2) for a locked virtual connection. */
int registration_change(struct virtual *virtual, int epoll, int operation,
                        const struct epoll_event *event);

/* Before and after another file is put behind the number. */
void registrations_lift(const struct virtual *virtual);
void registrations_lay(struct virtual *virtual);

/* Forgets them; the sets are left as they are. */
void registrations_forget(struct virtual *virtual);

#endif
