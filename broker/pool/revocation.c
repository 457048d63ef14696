/* SPDX-License-Identifier: MIT */
/* Taking connections from their holders: see revocation.h. */
#include "broker/pool/revocation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "broker/pool/internal.h"
#include "lendis/mailbox.h"

int revocation_start(struct broker_pool *pool)
{
    pool->parts->revocation.words = calloc(pool->room, sizeof *pool->parts->revocation.words);
    return pool->parts->revocation.words ? 0 : -ENOMEM;
}

void revocation_stop(struct broker_pool *pool)
{
    free(pool->parts->revocation.words);
    pool->parts->revocation = (struct revocation){0};
}

bool revocation_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word,
                     enum revoke_reason reason)
{
    if (!connection_revoke(connection, word, reason))
        return false;
    if (word_state(word) == WORD_LEASED || word_state(word) == WORD_TRANSFERRED) {
        pool->parts->revocation.words[connection->index] = word;
        pool->parts->revocation.pending = true;
    }
    return true;
}

void revocation_report(struct broker_pool *pool)
{
    if (!pool->parts->revocation.pending)
        return;
    pool->parts->revocation.pending = false;
    mail_revoked(&pool->owner.segment, pool->parts->revocation.words, true);
    memset(pool->parts->revocation.words, 0, pool->room * sizeof *pool->parts->revocation.words);
}

uint64_t revocation_take_ended(struct broker_connection *connection)
{
    /* A few tries: others may move it meanwhile, and some of them may be hostile. */
    for (int tries = 0; tries < 4; tries++) {
        uint64_t word = shm_load(connection_word(connection));

        if (!word_is_out(word))
            return 0;
        if (word_reclaim(connection_word(connection), word))
            return word;
    }
    return 0;
}

void revocation_end_commands(struct broker_pool *pool, uint32_t index, uint64_t word)
{
    if (word_state(word) != WORD_LEASED && word_state(word) != WORD_TRANSFERRED)
        return;
    revocation_report(pool);
    pool->parts->revocation.words[index] = word;
    mail_revoked(&pool->owner.segment, pool->parts->revocation.words, false);
    pool->parts->revocation.words[index] = 0;
}
