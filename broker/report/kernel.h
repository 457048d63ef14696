/* SPDX-License-Identifier: MIT */
/* The kernel's own memory, of the whole machine. NAN: not readable here. */
#ifndef LENDIS_REPORT_KERNEL_H
#define LENDIS_REPORT_KERNEL_H

struct kernel_memory {
    double socket_slab;    /* sockets, inodes, open files, epoll entries, buffer heads; for root */
    double sockets;        /* a number */
    double socket_charged; /* to TCP's buffers: what they may take, so it is part of no sum */
    double available;      /* MemAvailable */
    double kernel_stacks;
    double page_tables; /* of all processes */
};

void kernel_read(struct kernel_memory *memory);

/* Gives back the empty slabs of those caches, where that is allowed: for the next reading. */
void kernel_shrink(void);

#endif
