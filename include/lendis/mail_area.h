/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes and chunks of a segment as a worker has them: mapped in pieces, each when something in
 * it is used first, and kept until the segment is unmapped. They are for as many workers as may
 * come, most of the segment's size, and nearly all that is handed over fits beside a slot's words:
 * a process that mapped all of it would show megabytes of addresses that it never uses.
 *
 * The area owns a descriptor of the segment. The program may have closed it with all others, as
 * "daemonize" steps do, or the process may have no more addresses: then what is not mapped yet
 * cannot be had, and is NULL. Whoever takes a command makes sure before that it has its request.
 */
#ifndef LENDIS_MAIL_AREA_H
#define LENDIS_MAIL_AREA_H

#include <stddef.h>
#include <stdint.h>

/* Of 128 mailboxes, or of 4 chunks. More at a time would be mapped in vain, less would be more
 * mappings (200 bytes in the kernel each). */
#define MAIL_PIECE 262144u

struct mail_area;

/*
 * An area of `size` bytes that begins at `start` of the segment `fd`, which is the area's from now
 * on. Nothing is mapped. Results: 0; -errno, and `fd` is the caller's.
 */
int mail_area_new(int fd, size_t start, size_t size, struct mail_area **area);

/* Unmaps all of it, and closes the descriptor if it is still ours. NULL is allowed. */
void mail_area_free(struct mail_area *area);

/* What is `offset` bytes from its start, up to the next multiple of MAIL_PIECE; NULL: it cannot be
 * had. Any thread may ask. */
char *mail_area_at(struct mail_area *area, size_t offset);

#endif
