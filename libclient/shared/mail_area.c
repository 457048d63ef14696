/* SPDX-License-Identifier: MIT */
/* Mailboxes and chunks, mapped in pieces: see lendis/mail_area.h. A piece is published by one
 * compare-and-swap, so threads need no lock. */
#include "lendis/mail_area.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct mail_area {
    int fd;
    dev_t device; /* of the segment: its number may be another file's by now */
    ino_t inode;
    size_t start;
    size_t size;
    _Atomic(char *) pieces[];
};

static size_t count_pieces(size_t size)
{
    return (size + MAIL_PIECE - 1) / MAIL_PIECE;
}

static size_t piece_size(const struct mail_area *area, size_t piece)
{
    size_t left = area->size - piece * MAIL_PIECE;

    return left < MAIL_PIECE ? left : MAIL_PIECE;
}

/* The descriptor is what it was. */
static int is_ours(const struct mail_area *area)
{
    struct stat stat;

    return fstat(area->fd, &stat) == 0 && stat.st_dev == area->device && stat.st_ino == area->inode;
}

int mail_area_new(int fd, size_t start, size_t size, struct mail_area **area)
{
    struct mail_area *made;
    struct stat stat;

    if (fstat(fd, &stat) < 0)
        return -errno;
    made = calloc(1, sizeof *made + count_pieces(size) * sizeof made->pieces[0]);
    if (!made)
        return -ENOMEM;
    made->fd = fd;
    made->device = stat.st_dev;
    made->inode = stat.st_ino;
    made->start = start;
    made->size = size;
    *area = made;
    return 0;
}

void mail_area_free(struct mail_area *area)
{
    if (!area)
        return;
    for (size_t i = 0; i < count_pieces(area->size); i++) {
        char *piece = atomic_load_explicit(&area->pieces[i], memory_order_relaxed);

        if (piece)
            munmap(piece, piece_size(area, i));
    }
    if (is_ours(area))
        close(area->fd);
    free(area);
}

static char *map_piece(struct mail_area *area, size_t piece)
{
    size_t size = piece_size(area, piece);
    char *others = NULL, *mapped;

    if (!is_ours(area))
        return NULL;
    mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, area->fd,
                  (off_t)(area->start + piece * MAIL_PIECE));
    if (mapped == MAP_FAILED)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&area->pieces[piece], &others, mapped,
                                                memory_order_acq_rel, memory_order_acquire))
        return mapped;
    munmap(mapped, size); /* another thread was faster */
    return others;
}

char *mail_area_at(struct mail_area *area, size_t offset)
{
    size_t piece = offset / MAIL_PIECE;
    /* Acquire: with the compare-and-swap of who mapped it. */
    char *mapped = atomic_load_explicit(&area->pieces[piece], memory_order_acquire);

    if (!mapped)
        mapped = map_piece(area, piece);
    return mapped ? mapped + offset % MAIL_PIECE : NULL;
}
