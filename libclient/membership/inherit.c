/* SPDX-License-Identifier: MIT */
/* A forked child and its parent's attachment: see inherit.h. */
#include "libclient/membership/inherit.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libclient/membership/attachment.h"
#include "libclient/membership/broker_link.h"
#include "libclient/membership/socket_cookie.h"

/* Keeps `lease` for lease_is_mine() alone. Caller holds the lock. */
static void keep_foreign(struct lendis_pool *pool, struct lendis_lease *lease)
{
    atomic_store_explicit(&lease->held, false, memory_order_relaxed);
    lease->next_extra = pool->foreign;
    pool->foreign = lease;
}

static void disown_extra(struct attachment *attachment)
{
    while (attachment->extra) {
        struct lendis_lease *lease = attachment->extra;

        attachment->extra = lease->next_extra;
        keep_foreign(attachment->pool, lease);
    }
}

void inherit_disown(struct attachment *attachment)
{
    link_close_fd(&attachment->socket);
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct lendis_lease *lease = lease_of(attachment, i);

        if (lease)
            keep_foreign(attachment->pool, lease);
    }
    disown_extra(attachment);
    free(attachment->leases);
    attachment->leases = NULL;
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
}

void inherit_take_over(struct attachment *attachment, int socket,
                       const struct wire_welcome *welcome)
{
    link_close_fd(&attachment->socket);
    attachment->socket = socket;
    attachment->cookie = socket_cookie(socket);
    attachment->worker = welcome->worker;
    attachment->tenant = welcome->tenant;
    attachment->unanswered = false;
    atomic_store_explicit(&attachment->hung_up, false, memory_order_relaxed);
    atomic_store_explicit(&attachment->refused, false, memory_order_relaxed);
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < attachment->segment.connection_max; i++) {
        struct lendis_lease *lease = lease_of(attachment, i);

        /* Only what differs is written: a page that stays as it was stays shared with the parent. A
         * context of the parent's is left alone: another thread may have been at work in it when we
         * were forked. */
        if (lease && atomic_load_explicit(&lease->held, memory_order_relaxed))
            *lease = (struct lendis_lease){.attachment = attachment, .index = i, .fd = -1};
    }
    disown_extra(attachment);
    attachment_touch(attachment);
}

/* The file that `passing` was is open here under the same number. */
static bool is_here(const struct passing_file *passing)
{
    struct stat stat;

    return passing->fd >= 0 && fstat(passing->fd, &stat) == 0 && stat.st_dev == passing->device &&
           stat.st_ino == passing->inode;
}

/*
 * What another thread was filling or emptying: its state is unknown, but for the descriptors that
 * can be told from others. They are copies; the broker sees when the parent hangs up only when that
 * of its socket is closed.
 */
static void forget(struct attachment *attachment)
{
    bool ours = socket_is(attachment->socket, attachment->cookie);

    if (is_here(&attachment->passing))
        close(attachment->passing.fd);
    if (ours && attachment->renumbered && attachment->doorbell >= 0)
        close(attachment->doorbell);
    if (ours)
        close(attachment->socket);
    attachment->passing.fd = -1;
    attachment->socket = -1;
    attachment->doorbell = -1;
    attachment_forget_wakeups(attachment);
    attachment->cached = NULL;
    attachment->leases = NULL;
    attachment->extra = NULL;
    attachment->segment = (struct segment){0};
    attachment->catalog = (struct catalog){0};
    atomic_store_explicit(&attachment->users, 0, memory_order_relaxed);
    atomic_store_explicit(&attachment->retired, true, memory_order_relaxed);
}

void inherit_attachment(struct attachment *attachment)
{
    if (!atomic_load_explicit(&attachment->filled, memory_order_acquire)) {
        forget(attachment);
        return;
    }
    attachment_check_descriptors(attachment);
    /* Some may have come, which is not to be known. */
    if (!atomic_load_explicit(&attachment->has_wakeups, memory_order_relaxed))
        attachment_forget_wakeups(attachment);
    if (!socket_is(attachment->socket, attachment->cookie)) {
        attachment->socket = -1;
        attachment->doorbell = -1;
        attachment_forget_wakeups(attachment);
        atomic_store_explicit(&attachment->retired, true, memory_order_relaxed);
    }
    if (atomic_load_explicit(&attachment->retired, memory_order_relaxed)) {
        inherit_disown(attachment);
        attachment_empty(attachment);
    }
}
