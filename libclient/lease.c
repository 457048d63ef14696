/* SPDX-License-Identifier: MIT */
/*
 * A lease from when its connection is ours until it is given back. Upholds I3 on the worker's side:
 * what is not proven clean is moved to RETURNED or UNCLEAN.
 *
 * What lendis sent itself it has followed (session.h), and it knows where the stream stands. What
 * went through a context it has not seen, but hiredis writes whole commands, and what it has not
 * written or not read is in the context. What went through the bare descriptor is unknown in every
 * respect. Whatever is not broken for sure is the broker's to reset and to prove
 * (broker/redis/session_reset.c); nothing is asked or waited for here.
 */
#include "libclient/lease.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/lease_state.h"
#include "libclient/lending_policy.h"
#include "libclient/membership/membership.h"
#include "libclient/connection/private_connection.h"
#include "libclient/quick_lease.h"
#include "libclient/result.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/membership/uid_limit.h"
#include "lendis/queue.h"

enum verdict {
    VERDICT_CLEAN,   /* proven: for the next one */
    VERDICT_UNCLEAN, /* its session is changed or unknown: the broker resets it */
    VERDICT_BROKEN,  /* its stream is no good any more: the broker replaces it */
};

/* ---- the lease itself ---- */

/* The struct of connection `index`, made now if there is none; NULL: no memory. */
static struct lendis_lease *lease_own(struct attachment *attachment, uint32_t index)
{
    struct lendis_lease *lease = lease_of(attachment, index), *none = NULL;

    if (lease)
        return lease;
    lease = calloc(1, sizeof *lease);
    if (!lease)
        return NULL;
    lease->attachment = attachment;
    lease->index = index;
    /* Two threads can be here at a time: one with a connection that was revoked meanwhile. Release:
     * see lease_of(). */
    if (atomic_compare_exchange_strong_explicit(&attachment->leases[index], &none, lease,
                                                memory_order_acq_rel, memory_order_acquire))
        return lease;
    free(lease);
    return none;
}

/* A struct for a new lease of `index`: its own one, unless a revoked lease is still held in it. */
static struct lendis_lease *lease_struct(struct attachment *attachment, uint32_t index)
{
    struct lendis_lease *lease = lease_own(attachment, index);

    if (!lease || !atomic_load_explicit(&lease->held, memory_order_acquire))
        return lease;
    pthread_mutex_lock(&attachment->pool->local->lock);
    for (lease = attachment->extra; lease; lease = lease->next_extra)
        if (!atomic_load_explicit(&lease->held, memory_order_acquire))
            break;
    if (!lease) {
        lease = calloc(1, sizeof *lease);
        if (lease) {
            lease->attachment = attachment;
            lease->next_extra = attachment->extra;
            attachment->extra = lease;
        }
    }
    if (lease) {
        lease->index = index;
        atomic_store_explicit(&lease->held, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&attachment->pool->local->lock);
    return lease;
}

int lease_make(struct attachment *attachment, uint32_t index, uint64_t word, bool clean,
               struct lendis_lease **made)
{
    struct connection *connection = &attachment->segment.connections[index];
    int64_t now_ns = clock_coarse_ns();
    uint64_t now_ms = (uint64_t)now_ns / 1000000;
    struct lendis_lease *lease;
    int fd, result;

    if (clean && uid_limit_is_exceeded(attachment)) {
        queue_pass_on(&attachment->segment, index, word);
        return RESULT_OVER_LIMIT;
    }
    result = attachment_descriptor(attachment, index, word_generation(word), &fd);
    if (result == 0) {
        lease = lease_struct(attachment, index);
        if (!lease)
            result = -ENOMEM;
    }
    if (result != 0) {
        if (clean)
            queue_pass_on(&attachment->segment, index, word);
        else if (word_return(&connection->word, word))
            attachment_ring(attachment);
        /* No broker to ask: others may have use for this connection, and a new broker may come. */
        return result == -ESTALE || result == LENDIS_E_DOWN ? RESULT_TRY_AGAIN : result;
    }
    lease_start(lease, word, fd, now_ns);
    if (policy_count_use(attachment, connection))
        attachment_ring(attachment);
    lease->rested = policy_is_rested(attachment, shm_load_relaxed(&connection->leased_ms), now_ms);
    shm_store_relaxed(&connection->leased_ms, now_ms);
    *made = lease;
    return 0;
}

bool lease_is_revoked(const struct lendis_lease *lease)
{
    return !lease->private &&
           shm_load(&lease->attachment->segment.connections[lease->index].word) != lease->word;
}

/* A lease of the parent's is not a forked child's to give back: the child's handle has no
 * attachment, or another worker. */
bool lease_is_mine(const struct lendis_lease *lease)
{
    if (lease && lease->attachment && lease->private)
        return private_connection_owns(lease);
    return quick_is_mine(lease);
}

bool lease_transfer(struct lendis_lease *lease, uint32_t slot)
{
    return shm_cas(&lease->attachment->segment.connections[lease->index].word, lease->word,
                   word_with(lease->word, WORD_TRANSFERRED, slot));
}

bool lease_transfer_back(struct lendis_lease *lease, uint32_t slot)
{
    return shm_cas(&lease->attachment->segment.connections[lease->index].word,
                   word_with(lease->word, WORD_TRANSFERRED, slot), lease->word);
}

/* ---- what it leaves behind ---- */

void lease_expose(struct lendis_lease *lease)
{
    static const struct timeval none;

    if (lease->exposed)
        return;
    setsockopt(lease->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    lease->cookie = socket_cookie(lease->fd);
    lease->exposed = lease->used = true;
}

/* The end of that: the context is gone. True: as far as can be seen from here, the stream is at a
 * command's boundary, and the descriptor is still ours. */
static bool conceal(struct lendis_lease *lease)
{
    bool whole = !lease->context || lease->context_end(lease);

    lease->context = NULL;
    if (!lease->exposed || socket_is(lease->fd, lease->cookie))
        return whole;
    attachment_forget_descriptor(lease->attachment, lease->index, word_generation(lease->word));
    return false;
}

static enum verdict unclean(struct lendis_lease *lease, uint32_t left)
{
    shm_store_relaxed(&lease->attachment->segment.connections[lease->index].left, left);
    return VERDICT_UNCLEAN;
}

/* Ends the exposure and judges; leaves for the broker what was left behind (connection.left). */
static enum verdict lease_judge(struct lendis_lease *lease)
{
    enum reset_policy policy =
        (enum reset_policy)shm_load32_relaxed(&attachment_settings(lease->attachment)->reset);
    uint32_t left = lease->session.left;

    if (lease->exposed) {
        left |= lease->bare ? LEFT_UNSEEN | LEFT_UNPROVEN : LEFT_UNSEEN;
        return conceal(lease) && !lease->broken && !(left & LEFT_LASTING) ? unclean(lease, left)
                                                                          : VERDICT_BROKEN;
    }
    if (lease->broken || (left & LEFT_LASTING))
        return VERDICT_BROKEN;
    if (left == 0)
        return policy == RESET_ALWAYS && lease->exclusive ? unclean(lease, 0) : VERDICT_CLEAN;
    /* Where the operator wants it so, the next one finds the session as it was left; but replies to
     * what nobody asked are never anybody's. */
    if (policy == RESET_NEVER)
        return session_is_strange(&lease->session) ? VERDICT_BROKEN : VERDICT_CLEAN;
    return unclean(lease, left);
}

/* ---- its end ---- */

/* The struct is free again; with it, under the lock, a descriptor that the cache has replaced
 * meanwhile. */
static void struct_release(struct lendis_lease *lease, bool revoked)
{
    struct attachment *attachment = lease->attachment;

    if (revoked) {
        pthread_mutex_lock(&attachment->pool->local->lock);
        if (lease->owns_fd)
            close(lease->fd);
        lease->owns_fd = false;
    }
    lease_end(lease);
    if (revoked)
        pthread_mutex_unlock(&attachment->pool->local->lock);
    membership_leave(attachment);
}

void lease_forget(struct lendis_lease *lease)
{
    conceal(lease);
    struct_release(lease, true);
}

/* Gives `lease` back. Results as lendis_release(). */
static int give_back(struct lendis_lease *lease, enum verdict verdict)
{
    struct attachment *attachment = lease->attachment;
    shm_u64 *word = &attachment->segment.connections[lease->index].word;
    bool unclean = verdict != VERDICT_CLEAN, ours;

    if (verdict != VERDICT_BROKEN &&
        (policy_retires(lease) || segment_is_closed(&attachment->segment)))
        verdict = VERDICT_BROKEN;
    if (verdict == VERDICT_CLEAN) {
        ours = queue_pass_on(&attachment->segment, lease->index, lease->word);
    } else {
        ours = verdict == VERDICT_UNCLEAN ? word_return_unclean(word, lease->word)
                                          : word_return(word, lease->word);
        attachment_ring(attachment);
        attachment_count(attachment, COUNTER_returned, unclean);
    }
    if (!ours)
        attachment_count(attachment, COUNTER_revoked, 1);
    struct_release(lease, !ours);
    return ours ? 0 : LENDIS_E_REVOKED;
}

int lease_release(struct lendis_lease *lease)
{
    return quick_release(lease) ? 0 : give_back(lease, lease_judge(lease));
}

int lease_discard(struct lendis_lease *lease)
{
    conceal(lease);
    return give_back(lease, VERDICT_BROKEN);
}
