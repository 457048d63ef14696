/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes and chunks of a segment as a worker has them: mapped in pieces, each when something in
 * it is used first, and kept until the segment is unmapped. They are for as many workers as may
 * come, most of the segment's size, and nearly all that is handed over fits beside a slot's words:
 * a process that mapped all of it would show megabytes of addresses that it never uses.
 *
 * The area needs no descriptor of the segment: a piece is had from the tables, which are mapped. A
 * process may have no more addresses: then what is not mapped yet cannot be had, and is NULL.
 * Whoever takes a command makes sure before that it has its request.
 */
#ifndef LENDIS_MAIL_AREA_H
#define LENDIS_MAIL_AREA_H

#include <stddef.h>
#include <stdint.h>

/* Of 64 mailboxes, or of 2 chunks. More at a time would be mapped in vain, and seldom find room
 * beside the tables, where it takes no page table of its own; less would be more mappings (200
 * bytes in the kernel each). */
#define MAIL_PIECE 131072u

struct mail_area;

/*
 * An area of `size` bytes, which begins in the segment behind the page `last_page` of a mapping of
 * it. Nothing more is mapped. Results: 0; -ENOMEM.
 */
int mail_area_new(void *last_page, size_t page_size, size_t size, struct mail_area **area);

/* Unmaps all of it. Before the mapping that it comes from; NULL is allowed. */
void mail_area_free(struct mail_area *area);

/* What is `offset` bytes from its start, up to the next multiple of MAIL_PIECE; NULL: it cannot be
 * had. Any thread may ask. */
char *mail_area_at(struct mail_area *area, size_t offset);

#endif
