/* SPDX-License-Identifier: MIT */
/* Writes whose outcome is unknown: see ledger.h. */
#include "tests/crash/storm/ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hiredis/hiredis.h>
#include "tests/support/support.h"

#define SCAN_COUNT 100

void ledger_note(struct ledger *ledger, const struct ledger_entry *entry)
{
    struct ledger_entry *at = &ledger->entries[atomic_fetch_add(&ledger->count, 1) % LEDGER_ROOM];

    atomic_store(&at->whole, false);
    memcpy(at->key, entry->key, sizeof at->key);
    at->counter = entry->counter;
    at->executed = entry->executed;
    at->least = entry->least;
    at->most = entry->most;
    at->noted_ms = now_ms();
    atomic_store(&at->whole, true);
}

static void __attribute__((format(printf, 2, 3)))
is_wrong(struct audit *audit, const char *format, ...)
{
    va_list arguments;

    if (audit->wrong++ > 0)
        return;
    va_start(arguments, format);
    vsnprintf(audit->text, sizeof audit->text, format, arguments);
    va_end(arguments);
}

static redisReply *get(struct redisContext *redis, const char *format, const char *argument)
{
    redisReply *reply = redisCommand(redis, format, argument);

    if (!reply)
        give_up("audit: %s", redis->errstr);
    return reply;
}

/* ---- what was noted ---- */

static bool is_serial(const struct ledger_entry *entry, unsigned long long serial,
                      const redisReply *reply)
{
    if (serial == 0)
        return reply->type == REDIS_REPLY_NIL;
    return reply->type == REDIS_REPLY_STRING &&
           own_value_is(entry->key, serial, reply->str, reply->len);
}

static void audit_value(const struct ledger_entry *entry, const redisReply *reply,
                        struct audit *audit)
{
    bool executed = is_serial(entry, entry->most, reply);

    audit->executed += executed;
    if (!executed && (entry->executed || !is_serial(entry, entry->least, reply)))
        is_wrong(audit, "%s: type %d, %zu bytes, \"%.80s\", not its number %llu%s %llu", entry->key,
                 reply->type, reply->len, reply->str ? reply->str : "", entry->least,
                 entry->executed ? ", but " : " or", entry->most);
}

static void audit_count(const struct ledger_entry *entry, const redisReply *reply,
                        struct audit *audit)
{
    unsigned long long count =
        reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;

    audit->executed += count == entry->most;
    if ((reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_NIL) ||
        count < entry->least || count > entry->most)
        is_wrong(audit, "%s: type %d, %llu, not %llu to %llu", entry->key, reply->type, count,
                 entry->least, entry->most);
}

void ledger_audit(const struct ledger *ledger, int64_t since_ms, struct redisContext *redis,
                  struct audit *audit)
{
    for (unsigned i = 0; i < LEDGER_ROOM; i++) {
        const struct ledger_entry *entry = &ledger->entries[i];
        redisReply *reply;

        if (!atomic_load(&entry->whole) || entry->noted_ms < since_ms)
            continue;
        reply = get(redis, "GET %s", entry->key);
        audit->entries++;
        if (entry->counter)
            audit_count(entry, reply, audit);
        else
            audit_value(entry, reply, audit);
        freeReplyObject(reply);
    }
}

/* ---- all keys ---- */

static void audit_key(struct redisContext *redis, const char *key, struct audit *audit)
{
    redisReply *reply;

    /* Shared ones are checked at each GET, counters are numbers. */
    if (strncmp(key, "shared:", 7) == 0 || strstr(key, ":count"))
        return;
    reply = get(redis, "GET %s", key);
    audit->keys++;
    if (reply->type != REDIS_REPLY_STRING || !own_value_names(key, reply->str, reply->len))
        is_wrong(audit, "%s: type %d, %zu bytes, \"%.80s\"", key, reply->type, reply->len,
                 reply->str ? reply->str : "");
    freeReplyObject(reply);
}

void ledger_audit_all(struct redisContext *redis, struct audit *audit)
{
    char cursor[32] = "0";

    do {
        redisReply *reply = redisCommand(redis, "SCAN %s COUNT %d", cursor, SCAN_COUNT);

        if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
            give_up("audit: SCAN fails");
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++)
            audit_key(redis, reply->element[1]->element[i]->str, audit);
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
}
