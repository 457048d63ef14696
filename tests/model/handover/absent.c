/* SPDX-License-Identifier: MIT */
/*
 * What libclient has besides and the model has not: leases that a caller got hold of, limits of
 * users, connections of a process' own in place of the pool's, services. Here so that attempt.c,
 * lending.c and lease.c can be linked as they are.
 */
#include <errno.h>
#include "libclient/membership/attachment.h"
#include "libclient/connection/fallback.h"
#include "model.h"
#include "libclient/attempt.h"
#include "libclient/membership/membership.h"
#include "libclient/connection/private_connection.h"
#include "libclient/service.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/membership/uid_limit.h"

void attachment_forget_descriptor(struct attachment *attachment, uint32_t index,
                                  uint64_t generation)
{
    (void)attachment;
    violate("model: connection %llu g%llu is exposed", index, generation);
}

uint64_t socket_cookie(int fd)
{
    (void)fd;
    return 0;
}

bool socket_is(int fd, uint64_t cookie)
{
    (void)fd;
    (void)cookie;
    return true;
}

bool uid_limit_is_reached(const struct attachment *attachment)
{
    (void)attachment;
    return false;
}

bool uid_limit_is_exceeded(const struct attachment *attachment)
{
    (void)attachment;
    return false;
}

int uid_limit_wait(struct attachment *attachment, int64_t deadline_ns)
{
    (void)attachment;
    (void)deadline_ns;
    violate("model: a user has its share", 0, 0);
    return LENDIS_E_BUSY;
}

bool fallback_applies(const struct lendis_pool *pool, int why)
{
    (void)pool;
    (void)why;
    return false;
}

struct attachment *fallback_attachment(struct lendis_pool *pool)
{
    (void)pool;
    return NULL;
}

int fallback_acquire(struct lendis_pool *pool, int why, const struct attachment *attachment,
                     int64_t deadline_ns, struct lendis_lease **lease)
{
    (void)pool;
    (void)attachment;
    (void)deadline_ns;
    (void)lease;
    violate("model: a connection of a process' own", 0, 0);
    return why;
}

bool private_connection_owns(const struct lendis_lease *lease)
{
    (void)lease;
    return false;
}

void fallback_release(struct lendis_lease *lease, bool broken)
{
    (void)lease;
    (void)broken;
}

/* Why Redis is down: the model's never is. */
int catalog_read_pool(const struct catalog *catalog, uint32_t index, struct catalog_pool *pool)
{
    (void)catalog;
    (void)index;
    (void)pool;
    return -ENOENT;
}

int service_call(struct lendis_pool *pool, struct call *call, int timeout_ms, int wait_ms)
{
    return attempt_call(pool, call, timeout_ms, wait_ms);
}

int membership_result(const struct lendis_pool *pool, int result)
{
    (void)pool;
    return result;
}

int reach_cut_off(const struct attachment *attachment)
{
    (void)attachment;
    return 0;
}

/* ---- mailboxes and chunks that are not mapped: here all are ---- */

char *segment_chunk(const struct segment *segment, uint32_t chunk)
{
    return segment->all_chunks[chunk].bytes;
}

char *mail_area_at(struct mail_area *area, size_t offset)
{
    (void)area;
    (void)offset;
    return NULL;
}
