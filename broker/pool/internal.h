/* SPDX-License-Identifier: MIT */
/*
 * What a pool is made of: for the files of this folder alone. Everybody else goes through the
 * functions of pool.h, members.h, pause.h, direct.h, private.h, reconfigure.h and credential.h.
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
#include "broker/pool/server/credential.h"
#include "broker/pool/server/dialling.h"
#include "broker/pool/server/encryption.h"
#include "broker/pool/direct.h"
#include "broker/pool/server/health.h"
#include "broker/pool/lease_limits.h"
#include "broker/pool/maintenance.h"
#include "broker/pool/members.h"
#include "broker/pool/server/name_watch.h"
#include "broker/pool/server/notice.h"
#include "broker/pool/passing.h"
#include "broker/pool/pause.h"
#include "broker/pool/poll_wakeups.h"
#include "broker/pool/pool.h"
#include "broker/pool/private.h"
#include "broker/pool/server/redirected.h"
#include "broker/pool/revocation.h"
#include "broker/pool/server/role_watch.h"
#include "broker/pool/scan.h"
#include "broker/pool/server/server.h"
#include "broker/pool/sizing.h"
#include "broker/pool/stalled.h"
#include "broker/pool/server/target.h"
#include "broker/pool/server/unwell.h"

/* Of each pool, made when it starts. */
struct pool_parts {
    struct members members;
    struct deferred deferred;
    struct scan scan;
    struct health health;
    struct target target;
    struct encryption encryption;
    struct credential credential;
    struct server server;
    struct dialling dialling;
    struct sizing sizing;
    struct maintenance maintenance;
    struct cleaning cleaning;
    struct notice notice;
    struct role_watch role_watch;
    struct name_watch name_watch;
    struct unwell unwell;
    struct passing passing;
    struct stalled stalled;
    struct lease_limits lease_limits;
    struct revocation revocation;
    struct redirected redirected;
    struct corruption corruption;
    struct pause pause;
    struct poll_wakeups poll_wakeups;
    struct directs directs;
    struct privates privates;
    struct log_limit lost_limit;
    struct log_limit casualty_limit;
};

static inline struct broker_pool *broker_pool_of(struct broker_connection *connection)
{
    return (struct broker_pool *)connection->owner;
}

#endif
