/* SPDX-License-Identifier: MIT */
/* What a forked child does with its parent's attachment: uses on what is shared, and never what is
 * the parent's alone. */
#ifndef LENDIS_INHERIT_H
#define LENDIS_INHERIT_H

#include "lendis/wire.h"
#include "libclient/pool.h"

/*
 * In a forked child, before its first attempt to attach and before it detaches: forgets each
 * descriptor that is not what it was in the parent, and all of an attachment that another thread
 * was filling or emptying when we were forked. Empties one that was retired.
 *
 * fork(2) copies the table of descriptors first and the memory later (copy_files() and copy_mm() in
 * kernel/fork.c). What another thread receives in between has a number in our memory, and that
 * number is free here or something of the program's. A socket is known by its cookie (SO_COOKIE,
 * socket(7); never used twice), a memfd by its inode, the doorbell by the number of the
 * attachment's socket, which it gets only after the doorbell has come. What is known is closed. A
 * descriptor that came and whose number was not yet written down stays open in the child.
 */
void inherit_attachment(struct attachment *attachment);

/* In a forked child whose parent was a worker of another broker: nothing of it is ours. Its socket
 * is a copy, by which nobody must say goodbye. */
void inherit_disown(struct attachment *attachment);

/*
 * In a forked child: what the parent had, but for its identity. Mappings, doorbell and cached
 * descriptors stay; the parent's socket is closed here (the parent has its own copy) and its leases
 * are not ours.
 */
void inherit_take_over(struct attachment *attachment, int socket,
                       const struct wire_welcome *welcome);

#endif
