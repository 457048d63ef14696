/* SPDX-License-Identifier: MIT */
/*
 * Taking connections from whoever has them, and reporting that to those whose commands were on
 * them.
 *
 * The report is one pass over all slots, whatever their number: so what is revoked in one call is
 * collected, a word for each connection, and reported together, see the budget in pool.h.
 */
#ifndef LENDIS_BROKER_REVOCATION_H
#define LENDIS_BROKER_REVOCATION_H

#include <stdbool.h>
#include <stdint.h>
#include "lendis/reasons.h"

struct broker_pool;
struct broker_connection;

struct revocation {
    uint64_t *words; /* by connection: as it was revoked, if that was not reported yet; 0 */
    bool pending;    /* there is such a connection */
};

/* Results: 0, revocation_stop() must follow; -ENOMEM. */
int revocation_start(struct broker_pool *pool);
void revocation_stop(struct broker_pool *pool);

/*
 * Takes `connection` from whoever has it by `word`, which was read before: closes it and counts the
 * lease by `reason`. revocation_report() must follow before the loop goes on. False: the word has
 * changed.
 */
bool revocation_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word,
                     enum revoke_reason reason);

/* Reports to those whose commands were on connections that were revoked. */
void revocation_report(struct broker_pool *pool);

/*
 * Takes the word of a connection that ended from whoever has it. Closing it would do, but for a
 * combiner that passes it on at this very moment: either it sees that it failed, or we see that it
 * did. Returns what was taken; 0: nothing.
 */
uint64_t revocation_take_ended(struct broker_connection *connection);

/*
 * Ends what was under way on connection `index`, which ended and was taken as `word`; 0: nothing
 * was.
 */
void revocation_end_commands(struct broker_pool *pool, uint32_t index, uint64_t word);

#endif
