/* SPDX-License-Identifier: MIT */
/* What a clean connection is, and how it became so: see clean.h. */
#include "broker/testbed/certificates.h"
#include "tests/support/clean.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

void stage_open(struct stage *stage)
{
    segment_observe(&stage->fixture.observer, stage->fixture.broker.socket_path, "p");
    stage->leaver = pool_attach(&stage->fixture.broker, "p");
    stage->next = pool_attach(&stage->fixture.broker, "p");
    if (!stage->user)
        stage->user = "default";
    assert_true(pool_fills(&stage->fixture.observer, 1, 10000));
}

void stage_end(struct stage *stage)
{
    lendis_detach(stage->leaver);
    lendis_detach(stage->next);
    fixture_end(&stage->fixture);
    *stage = (struct stage){0};
}

unsigned long closed_so_far(const struct stage *stage)
{
    struct catalog_pool pool;

    observe_pool(&stage->fixture.observer, &pool);
    return CATALOG_SUM(pool.closed);
}

unsigned long resets_so_far(const struct stage *stage)
{
    struct catalog_pool pool;

    observe_pool(&stage->fixture.observer, &pool);
    return pool.counters[BROKER_COUNTER_resets];
}

void expect_text(redisReply *reply, int type, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    if (reply->type != type || strcmp(reply->str ? reply->str : "", text) != 0)
        fail_msg("type %d, \"%s\" instead of \"%s\"", reply->type, reply->str ? reply->str : "",
                 text);
    freeReplyObject(reply);
}

/* CLIENT INFO has this field with this value. */
static void expect_field(const char *info, const char *format, ...)
{
    char field[64], middle[80], last[80];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(field, sizeof field, format, arguments);
    va_end(arguments);
    snprintf(middle, sizeof middle, " %s ", field);
    snprintf(last, sizeof last, " %s\n", field);
    if (!strstr(info, middle) && !strstr(info, last))
        fail_msg("not %s: %s", field, info);
}

/* A transaction by `lease` takes place although somebody else changed what the last holder
 * watched. */
static void expect_unwatched(struct stage *stage, struct lendis_lease *lease)
{
    redisReply *reply;
    char script[128];

    snprintf(script, sizeof script,
             "redis.call('SELECT', %u) redis.call('SET', 'watched', 'again')", stage->db);
    freeReplyObject(stage->cluster ? redis_do(&stage->fixture.redis, "SET watched again")
                                   : redis_do(&stage->fixture.redis, "EVAL %s 0", script));
    expect_text(lendis_lease_command(lease, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "SET other value"), REDIS_REPLY_STATUS, "QUEUED");
    reply = lendis_lease_command(lease, "EXEC");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    freeReplyObject(reply);
}

static void note_id(struct stage *stage, struct lendis_lease *lease)
{
    redisReply *reply = lendis_lease_command(lease, "CLIENT ID");

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    stage->id = reply->integer;
    freeReplyObject(reply);
}

struct lendis_lease *stage_lease(struct stage *stage, struct lendis_pool *pool)
{
    struct lendis_lease *lease = NULL;
    int result = lendis_acquire(pool, 10000, &lease);

    if (result != 0)
        fail_msg("acquire: %s", lendis_strerror(result));
    note_id(stage, lease);
    return lease;
}

struct lendis_lease *stage_enter(struct stage *stage)
{
    stage->closed = closed_so_far(stage);
    stage->resets = resets_so_far(stage);
    return stage_lease(stage, stage->leaver);
}

void stage_leave(struct lendis_lease *lease, bool may_be_revoked)
{
    int result = lendis_release(lease);

    assert_true(result == 0 || (may_be_revoked && result == LENDIS_E_REVOKED));
}

void stage_expect_clean(struct stage *stage)
{
    static unsigned round;
    struct lendis_lease *lease = stage_lease(stage, stage->next);
    char value[32];
    redisReply *info;

    snprintf(value, sizeof value, "value %u", ++round);
    expect_text(lendis_lease_command(lease, "SET mine %s", value), REDIS_REPLY_STATUS, "OK");
    expect_text(lendis_lease_command(lease, "GET mine"), REDIS_REPLY_STRING, value);
    info = redis_do(&stage->fixture.redis, "CLIENT LIST ID %lld", stage->id);
    assert_int_equal(info->type, REDIS_REPLY_STRING);
    expect_field(info->str, "db=%u", stage->db);
    expect_field(info->str, "name=lendis-p");
    expect_field(info->str, "multi=-1");
    expect_field(info->str, "sub=0");
    expect_field(info->str, "psub=0");
    expect_field(info->str, "user=%s", stage->user);
    expect_field(info->str, "flags=%s",
                 stage->tcp || testbed_tls_mode() ? "N" : "U"); /* no other */
    expect_field(info->str, "resp=2");
    freeReplyObject(info);
    expect_unwatched(stage, lease);
    assert_int_equal(lendis_release(lease), 0);
    expect_text(lendis_command(stage->next, "GET mine"), REDIS_REPLY_STRING, value);
}

void stage_expect(struct stage *stage, enum fate fate, const char *what)
{
    long long id = stage->id;
    unsigned long closed, resets;

    stage_expect_clean(stage);
    closed = closed_so_far(stage) - stage->closed;
    resets = resets_so_far(stage) - stage->resets;
    if (fate == EITHER ? closed + resets != 1
                       : closed != (fate == REPLACED) || resets != (fate == RESET))
        fail_msg("%s: closed %lu, reset %lu", what, closed, resets);
    if ((stage->id == id) != (closed == 0))
        fail_msg("%s: connection %lld, now %lld, closed %lu", what, id, stage->id, closed);
}
