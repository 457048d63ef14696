/* SPDX-License-Identifier: MIT */
/*
 * What a pool is made of: for the files of this folder alone. Everybody else goes through the
 * functions of pool.h, members.h, pause.h, direct.h, private.h and reconfigure.h.
 *
 * Each part is a struct that its own file declares, and writes; others read it, or call the file's
 * functions. Functions are called downwards only: what the top (scan.c, pool.c) is to do for a file
 * below it is asked for by deferred.h.
 */
#ifndef LENDIS_BROKER_INTERNAL_H
#define LENDIS_BROKER_INTERNAL_H

#include "broker/pool/cleaning.h"
#include "broker/pool/connection.h"
#include "broker/pool/corruption.h"
#include "broker/pool/deferred.h"
#include "broker/pool/dialling.h"
#include "broker/pool/direct.h"
#include "broker/pool/health.h"
#include "broker/pool/lease_limits.h"
#include "broker/pool/maintenance.h"
#include "broker/pool/members.h"
#include "broker/pool/name_watch.h"
#include "broker/pool/notice.h"
#include "broker/pool/passing.h"
#include "broker/pool/pause.h"
#include "broker/pool/poll_bells.h"
#include "broker/pool/pool.h"
#include "broker/pool/private.h"
#include "broker/pool/redirected.h"
#include "broker/pool/revocation.h"
#include "broker/pool/role_watch.h"
#include "broker/pool/scan.h"
#include "broker/pool/server.h"
#include "broker/pool/sizing.h"
#include "broker/pool/stalled.h"
#include "broker/pool/target.h"

struct broker_pool {
    struct connection_owner owner; /* the first, so that a connection finds its pool */
    const struct pool_config *config;
    const struct pool_site *site;
    struct broker_connection *connections; /* `room` of them */
    uint32_t places;              /* size, and spare ones: sizing.h; the first ones of the table */
    uint32_t room;                /* length of the tables here and in the segment */
    uint32_t index;               /* in the catalog */
    uint32_t serial;              /* no other pool of this broker has it */
    struct segment_header header; /* as it was made: workers can write the shared one */
    int segment_fd;
    int doorbell; /* eventfd */
    bool leaving; /* no longer configured: it goes when all is back */
    bool draining;
    bool adopted;                 /* the segment is the one of the previous broker */
    enum pool_gate previous_gate; /* as that had it */
    struct pool_config own;       /* `config` is this when the pool outlives its configuration */
    char client_name[CATALOG_NAME_SIZE + 8];
    struct log_limit lost_limit;
    struct log_limit casualty_limit;

    struct members members;
    struct deferred deferred;
    struct scan scan;
    struct health health;
    struct target target;
    struct server server;
    struct dialling dialling;
    struct sizing sizing;
    struct maintenance maintenance;
    struct cleaning cleaning;
    struct notice notice;
    struct role_watch role_watch;
    struct name_watch name_watch;
    struct passing passing;
    struct stalled stalled;
    struct lease_limits lease_limits;
    struct revocation revocation;
    struct redirected redirected;
    struct corruption corruption;
    struct pause pause;
    struct bells bells;
    struct directs directs;
    struct privates privates;
};

static inline struct broker_pool *broker_pool_of(struct broker_connection *connection)
{
    return (struct broker_pool *)connection->owner;
}

#endif
