/* SPDX-License-Identifier: MIT */
/* A pool's TLS: see encryption.h. */
#include "broker/pool/server/encryption.h"

#include <errno.h>
#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/config/encryption.h"
#include "broker/pool/internal.h"
#include "broker/tls/library.h"

/* Files and the end of the certificate are looked at so often, beside each dial. */
#define LOOK_US UINT64_C(900000000)

#define DAY_S  86400
#define DAY_MS UINT64_C(86400000)
/* The end of the certificate is soon. */
#define SOON_DAYS 14

/* ---- the client's certificate ---- */

static void warn_of_end(struct broker_pool *pool, int64_t expiry)
{
    struct encryption *encryption = &pool->parts->encryption;
    int64_t left = expiry - (int64_t)(clock_realtime_ms() / 1000);
    uint64_t now = clock_ms();

    if (expiry == 0 || left > SOON_DAYS * DAY_S ||
        (encryption->warned_ms != 0 && now - encryption->warned_ms < DAY_MS))
        return;
    encryption->warned_ms = now;
    if (left <= 0)
        log_limited(&encryption->limit, LOG_LEVEL_WARNING,
                    "pool %s: the certificate in %s has expired; renew it", pool->config->name,
                    pool->config->tls.cert_file);
    else
        log_limited(&encryption->limit, LOG_LEVEL_WARNING,
                    "pool %s: the certificate in %s expires in %d days; renew it",
                    pool->config->name, pool->config->tls.cert_file, (int)(left / DAY_S));
}

static void note_expiry(struct broker_pool *pool)
{
    struct encryption *encryption = &pool->parts->encryption;
    int64_t expiry = encryption->context ? encryption->tls->context_expiry(encryption->context) : 0;

    shm_store(&pool->owner.catalog->certificate_expiry, (uint64_t)expiry);
    warn_of_end(pool, expiry);
}

/* ---- files ---- */

static void refresh(struct broker_pool *pool)
{
    struct encryption *encryption = &pool->parts->encryption;
    struct tls_problem problem = {.text = ""};

    if (!encryption->context)
        return;
    switch (encryption->tls->context_refresh(encryption->context, &problem)) {
    case TLS_NEWS_RENEWED:
        encryption->warned_ms = 0;
        log_limited(&encryption->limit, LOG_LEVEL_NOTICE,
                    "pool %s: certificates or keys were renewed; new connections use them",
                    pool->config->name);
        encryption->tls->context_warning(encryption->context, &problem);
        if (problem.text[0])
            log_limited(&encryption->limit, LOG_LEVEL_WARNING, "pool %s: %s", pool->config->name,
                        problem.text);
        break;
    case TLS_NEWS_BROKEN:
        log_limited(&encryption->limit, LOG_LEVEL_WARNING,
                    "pool %s: certificates or keys have changed and cannot be used: %s; those from "
                    "before stay in use",
                    pool->config->name, problem.text);
        break;
    case TLS_NEWS_NONE:
        break;
    }
    note_expiry(pool);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)usec;
    refresh(pool);
    timer_set(source, LOOK_US);
    return 0;
}

/* ---- the beginning and the end ---- */

static void drop_context(struct encryption *encryption)
{
    if (encryption->context)
        encryption->tls->context_free(encryption->context);
    encryption->context = NULL;
    encryption->tls = NULL;
}

/* Results: 0, also where there is to be none; -errno, which was logged. */
static int make_context(struct broker_pool *pool)
{
    struct encryption *encryption = &pool->parts->encryption;
    const struct tls_settings settings = pool_tls_settings(pool->config);
    struct tls_problem problem = {.text = ""};
    int result = -EINVAL;

    drop_context(encryption);
    if (!pool->config->redis.tls)
        return 0;
    encryption->tls = tls_library_load(problem.text);
    if (encryption->tls)
        result = encryption->tls->context_new(&settings, &encryption->context, &problem);
    if (result != 0)
        log_limited(&encryption->limit, LOG_LEVEL_ERR, "pool %s: TLS cannot be used: %s",
                    pool->config->name, problem.text[0] ? problem.text : strerror(-result));
    return result;
}

void encryption_renew(struct broker_pool *pool)
{
    pool->parts->encryption.warned_ms = 0;
    make_context(pool);
    note_expiry(pool);
    if (pool->config->redis.tls)
        timer_set(pool->parts->encryption.timer, LOOK_US);
    else
        timer_stop(pool->parts->encryption.timer);
}

int encryption_start(struct broker_pool *pool)
{
    int result = timer_new(pool->owner.event, &pool->parts->encryption.timer, on_timer, pool);

    if (result < 0)
        return result;
    encryption_renew(pool);
    return 0;
}

void encryption_stop(struct broker_pool *pool)
{
    pool->parts->encryption.timer = sd_event_source_disable_unref(pool->parts->encryption.timer);
    drop_context(&pool->parts->encryption);
}

void encryption_opened(struct broker_pool *pool)
{
    struct encryption *encryption = &pool->parts->encryption;
    char text[TLS_TEXT_SIZE] = "";

    if (encryption->context)
        encryption->tls->context_notice(encryption->context, text);
    if (text[0])
        log_limited(&encryption->limit, LOG_LEVEL_NOTICE, "pool %s: TLS by a relay, %s",
                    pool->config->name, text);
}

bool encryption_complete(struct broker_pool *pool, struct dial_target *target)
{
    struct encryption *encryption = &pool->parts->encryption;

    if (!pool->config->redis.tls)
        return true;
    /* The files were good when the configuration was read: perhaps they are again. */
    if (!encryption->context && make_context(pool) != 0) {
        health_dial_failed(pool, pool->parts->health.failures > 0, DIAL_tls,
                           "TLS: its certificates or keys cannot be used");
        return false;
    }
    refresh(pool);
    target->tls = encryption->tls;
    target->tls_context = encryption->context;
    return true;
}
