/* SPDX-License-Identifier: MIT */
/* What `lendisctl show` prints about a broker that was found. */
#ifndef LENDIS_CTL_SHOW_H
#define LENDIS_CTL_SHOW_H

#include <stdbool.h>
#include "broker/tools/find_broker.h"
#include "broker/tools/table.h"
#include "broker/metrics/metrics.h"
#include "broker/metrics/statistics.h"

struct show {
    const struct broker *broker;
    bool json;
    bool all; /* what is empty as well */
    int pool; /* index of the only one to show; -1: all */
    enum metrics_format format;
};

/* Each prints to standard output. Results: 0; -errno. */
int show_pools(const struct show *show);
int show_connections(const struct show *show);
int show_workers(const struct show *show);
int show_config(const struct show *show);
int show_stats(const struct show *show);
int show_leases(const struct show *show);
int show_waiters(const struct show *show);
int show_preload(const struct show *show);
int show_latency(const struct show *show);
int show_metrics(const struct show *show);

/* ---- what the verbs have in common: shown.c ---- */

static inline enum table_format show_format(const struct show *show)
{
    return show->json ? TABLE_JSON : TABLE_PEOPLE;
}

/*
 * A copy of pool entry `index` if it is to be shown, and its segment; that has a base of NULL when
 * there is none to be trusted, which is said. False: not to be shown.
 */
bool show_pool(const struct show *show, uint32_t index, struct catalog_pool *pool,
               const struct segment **segment);

const char *show_backend_name(uint32_t backend);

/* The statistics of all pools, to be freed; NULL: no memory. */
struct pool_statistics *show_statistics(const struct show *show);

/* Sets a cell to the name of process `pid`'s command, if that number means the same to us as to the
 * broker. */
void show_command(const struct show *show, struct table *table, size_t column, uint32_t pid);

/* ---- passwords ---- */

/* Of enum password_state. */
const char *show_password_name(uint32_t state);

/* How old a pool's password is; how long until another one is asked for. 0: not known. */
uint64_t show_password_age_ms(const struct catalog_pool *pool);
uint64_t show_password_next_ms(const struct catalog_pool *pool);

/* For people: a line for each pool whose password will change, or is not as it should be. */
void show_passwords(const struct show *show);

/* ---- services ---- */

/* Of the text about a service, which has up to 16 members. */
#define SHOW_MEMBERS_SIZE 1024

/* The members of service `pool` and how they are, as in "primary main up, replica r1 down". */
void show_members(const struct show *show, const struct catalog_pool *pool, char *text,
                  size_t size);

/* A service is as its primary is, which writes and leases need. */
uint32_t show_service_backend(const struct show *show, const struct catalog_pool *pool);

/* For people: a line for each service that is to be shown. */
void show_services(const struct show *show);

#endif
