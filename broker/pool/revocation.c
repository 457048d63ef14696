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
    pool->revocation.words = calloc(pool->room, sizeof *pool->revocation.words);
    return pool->revocation.words ? 0 : -ENOMEM;
}

void revocation_stop(struct broker_pool *pool)
{
    free(pool->revocation.words);
    pool->revocation = (struct revocation){0};
}

bool revocation_take(struct broker_pool *pool, struct broker_connection *connection, uint64_t word,
                     enum revoke_reason reason)
{
    if (!connection_revoke(connection, word, reason))
        return false;
    if (word_state(word) == WORD_LEASED || word_state(word) == WORD_CARRIED) {
        pool->revocation.words[connection->index] = word;
        pool->revocation.pending = true;
    }
    return true;
}

void revocation_report(struct broker_pool *pool)
{
    if (!pool->revocation.pending)
        return;
    pool->revocation.pending = false;
    mail_revoked(&pool->owner.segment, pool->revocation.words, true);
    memset(pool->revocation.words, 0, pool->room * sizeof *pool->revocation.words);
}

uint64_t revocation_take_ended(struct broker_connection *connection)
{
    /* A few looks: others may move it meanwhile, and some of them may be hostile. */
    for (int looks = 0; looks < 4; looks++) {
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
    if (word_state(word) != WORD_LEASED && word_state(word) != WORD_CARRIED)
        return;
    revocation_report(pool);
    pool->revocation.words[index] = word;
    mail_revoked(&pool->owner.segment, pool->revocation.words, false);
    pool->revocation.words[index] = 0;
}
