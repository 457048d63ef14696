/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes and chunks, mapped in pieces: see lendis/mail_area.h. A piece is published by one
 * compare-and-swap, so threads need no lock.
 *
 * mremap(2) with an old size of 0 maps the file of a shared mapping once more, from the page that
 * it is given and as far as it is told. What lies before the piece is unmapped again at once.
 */
#include "lendis/mail_area.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct mail_area {
    char *last_page; /* of what is before it in the segment */
    size_t page_size;
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

int mail_area_new(void *last_page, size_t page_size, size_t size, struct mail_area **area)
{
    struct mail_area *made = calloc(1, sizeof *made + count_pieces(size) * sizeof made->pieces[0]);

    if (!made)
        return -ENOMEM;
    made->last_page = last_page;
    made->page_size = page_size;
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
    free(area);
}

static char *map_piece(struct mail_area *area, size_t piece)
{
    size_t before = area->page_size + piece * MAIL_PIECE, size = piece_size(area, piece);
    char *others = NULL, *mapped;

    mapped = mremap(area->last_page, 0, before + size, MREMAP_MAYMOVE);
    if (mapped == MAP_FAILED)
        return NULL;
    munmap(mapped, before);
    mapped += before;
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
