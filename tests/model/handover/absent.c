/* SPDX-License-Identifier: MIT */
/*
 * What libclient has besides and the model has not: leases that a caller got hold of, limits of users, connections of a
 * process' own in place of the pool's, services. Here so that exec.c, lease.c and cleaning.c can be linked as they are.
 */
#include <errno.h>
#include "libclient/fallback.h"
#include "model.h"
#include "libclient/service.h"
#include "libclient/uid_limit.h"

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

bool is_socket(int fd, uint64_t cookie)
{
    (void)fd;
    (void)cookie;
    return true;
}

bool share_is_taken(const struct attachment *attachment)
{
    (void)attachment;
    return false;
}

bool share_is_exceeded(const struct attachment *attachment)
{
    (void)attachment;
    return false;
}

int share_wait(struct attachment *attachment, int64_t deadline_ns)
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

bool fallback_owns(const struct lendis_lease *lease)
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

int service_exec(struct lendis_pool *pool, const struct attachment *attachment,
                 const struct call *call, int timeout_ms)
{
    (void)pool;
    (void)attachment;
    (void)call;
    violate("model: a service", 0, 0);
    return timeout_ms;
}

struct lendis_pool *service_lease_pool(struct lendis_pool *pool,
                                       const struct attachment *attachment)
{
    (void)attachment;
    violate("model: a service", 0, 0);
    return pool;
}

int reach_lost(const struct lendis_pool *pool)
{
    (void)pool;
    return 0;
}

int reach_cut_off(const struct attachment *attachment)
{
    (void)attachment;
    return 0;
}
