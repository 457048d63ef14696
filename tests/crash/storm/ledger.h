/* SPDX-License-Identifier: MIT */
/*
 * Writes whose outcome is unknown, noted in shared memory by whoever made them, also by workers
 * that are killed afterwards. An uncertain write may be executed at any time until its connection
 * has ended, so its key is not used again, and its value is checked when all is over: it is what
 * it was before or what was written, and never anything else.
 */
#ifndef LENDIS_TESTS_CRASH_LEDGER_H
#define LENDIS_TESTS_CRASH_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "tests/crash/storm/values.h"

#define LEDGER_ROOM 128u /* the oldest ones make room */

struct ledger_entry {
    char key[VALUE_KEY_MAX];
    bool counter;
    bool executed;            /* it was seen: the value is the new one */
    unsigned long long least; /* serial number of the value before, or the count; 0: none */
    unsigned long long most;  /* of what was written */
    int64_t noted_ms;
    atomic_bool whole;
};

struct ledger {
    atomic_uint count;
    struct ledger_entry entries[LEDGER_ROOM];
};

void ledger_note(struct ledger *ledger, const struct ledger_entry *entry);

struct redisContext;

struct audit {
    unsigned entries;
    unsigned executed; /* entries with the new value */
    unsigned keys;     /* own keys that are in Redis at the end */
    unsigned wrong;
    char text[300]; /* the first wrong one, for people */
};

/* Compares what is in Redis with what was noted since `since_ms`; older keys may have expired. */
void ledger_audit(const struct ledger *ledger, int64_t since_ms, struct redisContext *redis,
                  struct audit *audit);

/* Checks every own key: its value is its own. */
void ledger_audit_all(struct redisContext *redis, struct audit *audit);

#endif
