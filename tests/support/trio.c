/* SPDX-License-Identifier: MIT */
/* A primary and two replicas: see trio.h. */
#include "tests/support/trio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture fixture;
struct redis_server replicas[2];
static char replica_of[32];
static const char *const replica_arguments[] = {"--replicaof", replica_of, NULL};

bool is_synced(const struct redis_server *replica)
{
    redisReply *reply = redis_do(replica, "ROLE");
    bool synced = reply->elements > 3 && strcmp(reply->element[3]->str, "connected") == 0;

    freeReplyObject(reply);
    return synced;
}

void trio_start_servers(void)
{
    fixture.redis.tcp = true;
    redis_start(&fixture.redis);
    snprintf(replica_of, sizeof replica_of, "127.0.0.1 %d", fixture.redis.port);
    for (int i = 0; i < 2; i++) {
        replicas[i] = (struct redis_server){.arguments = replica_arguments};
        redis_start(&replicas[i]);
    }
    for (int i = 0; i < 2; i++)
        assert_true(eventually(is_synced(&replicas[i]), 20000));
}

int trio_start(void **state)
{
    (void)state;
    trio_start_servers();
    lendisd_start(&fixture.broker,
                  "[pool main]\nredis = %s\nsize = 3\n"
                  "[pool r1]\nredis = %s\nsize = 2\nrole = replica\n"
                  "[pool r2]\nredis = %s\nsize = 2\nrole = replica\n"
                  "[pool shop]\nprimary = main\nreplicas = r1, r2\n"
                  "[pool alone]\nprimary = main\n",
                  fixture.redis.unix_url, replicas[0].unix_url, replicas[1].unix_url);
    return 0;
}

int trio_end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    for (int i = 0; i < 2; i++)
        redis_kill(&replicas[i]);
    return 0;
}

long calls(const struct redis_server *server, const char *command)
{
    redisReply *reply = redis_do(server, "INFO commandstats");
    char name[64];
    const char *found;
    long count = 0;

    snprintf(name, sizeof name, "cmdstat_%s:calls=", command);
    found = strstr(reply->str, name);
    if (found)
        count = atol(found + strlen(name));
    freeReplyObject(reply);
    return count;
}

bool has(const struct redis_server *server, const char *key, const char *value)
{
    redisReply *reply = redis_do(server, "GET %s", key);
    bool right = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, value) == 0;

    freeReplyObject(reply);
    return right;
}

void expect_text(redisReply *reply, const char *text)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    assert_non_null(reply->str);
    assert_string_equal(reply->str, text);
    freeReplyObject(reply);
}

void set_everywhere(struct lendis_pool *pool, const char *key, const char *value)
{
    expect_text(lendis_command(pool, "SET %s %s", key, value), "OK");
    for (int i = 0; i < 2; i++)
        if (replicas[i].pid != 0)
            assert_true(eventually(has(&replicas[i], key, value), 5000));
}

bool reads_well(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "GET key");
    bool right = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "value") == 0;

    if (reply)
        freeReplyObject(reply);
    return right;
}

bool is_asked(struct lendis_pool *pool, const struct redis_server *server)
{
    long before = calls(server, "get");

    for (int i = 0; i < 20; i++)
        if (!reads_well(pool))
            return false;
    return calls(server, "get") > before;
}
