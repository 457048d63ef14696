/* SPDX-License-Identifier: MIT */
/*
 * Judging a connection that is given back: see cleaning.h. Upholds I3 on the worker's side.
 *
 * What lendis sent itself it has followed (session.h), and it knows where the stream stands. What
 * went through a context it has not seen, but hiredis writes whole commands, and what it has not
 * written or not read is in the context. What went through the bare descriptor is unknown in every
 * respect. Whatever is not broken for sure is the broker's to reset and to prove (broker/redis/session_reset.c);
 * nothing is asked or waited for here.
 */
#include "libclient/hygiene.h"

#include <sys/socket.h>

void lease_expose(struct lendis_lease *lease)
{
    static const struct timeval none;

    if (lease->exposed)
        return;
    setsockopt(lease->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    lease->cookie = socket_cookie(lease->fd);
    lease->exposed = lease->used = true;
}

bool lease_conceal(struct lendis_lease *lease)
{
    bool whole = !lease->context || lease->context_end(lease);

    lease->context = NULL;
    if (!lease->exposed || is_socket(lease->fd, lease->cookie))
        return whole;
    attachment_forget_descriptor(lease->attachment, lease->index, word_generation(lease->word));
    return false;
}

static enum verdict unclean(struct lendis_lease *lease, uint32_t left)
{
    shm_store_relaxed(&lease->attachment->segment.connections[lease->index].left, left);
    return VERDICT_UNCLEAN;
}

enum verdict lease_judge(struct lendis_lease *lease)
{
    enum reset_policy policy =
        (enum reset_policy)shm_load32_relaxed(&attachment_settings(lease->attachment)->reset);
    uint32_t left = lease->session.left;

    if (lease->exposed) {
        left |= lease->bare ? LEFT_UNSEEN | LEFT_UNPROVEN : LEFT_UNSEEN;
        return lease_conceal(lease) && !lease->broken ? unclean(lease, left) : VERDICT_BROKEN;
    }
    if (lease->broken)
        return VERDICT_BROKEN;
    if (left == 0)
        return policy == RESET_ALWAYS && lease->exclusive ? unclean(lease, 0) : VERDICT_CLEAN;
    /* Where the operator wants it so, the next one finds the session as it was left; but replies to
     * what nobody asked are never anybody's. */
    if (policy == RESET_NEVER)
        return session_is_strange(&lease->session) ? VERDICT_BROKEN : VERDICT_CLEAN;
    return unclean(lease, left);
}
