/* SPDX-License-Identifier: MIT */
/*
 * Sockets that have not said HELLO yet, in the order in which they came, and whether more of them
 * are accepted now.
 */
#ifndef LENDIS_BROKER_UNATTACHED_H
#define LENDIS_BROKER_UNATTACHED_H

#include <stdint.h>

struct worker;
struct workers;

void unattached_add(struct worker *worker);

/* There is a place for another one. */
void unattached_remove(struct worker *worker);

/*
 * Of a user who has more than half of the places: the one that has said nothing for longest. NULL:
 * there is none.
 */
struct worker *unattached_find_silent(const struct workers *workers);

/* Nobody is accepted for so long. */
void unattached_pause(struct workers *workers, uint64_t usec);

void unattached_listen(struct workers *workers);

#endif
