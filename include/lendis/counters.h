/* SPDX-License-Identifier: MIT */
/*
 * The counters, declared once: COUNTER(name, unit, text). The text says what is counted and whether
 * to worry. Each worker adds to its own block; readers sum over workers, and the broker keeps what
 * departed workers had counted. The broker's own are in the catalog, one set for each pool; what it
 * counts by reason is in reasons.h.
 */
#ifndef LENDIS_COUNTERS_H
#define LENDIS_COUNTERS_H

/* clang-format off */
#define COUNTERS(COUNTER) \
    COUNTER(leases,    "leases",      "Connections leased, at once or after waiting.") \
    COUNTER(hits,      "leases",      "Connections leased at once, because one was idle and nobody waited.") \
    COUNTER(misses,    "calls",       "Calls that found no idle connection. They waited, unless they would not.") \
    COUNTER(waits,     "waits",       "Calls that had to wait because all connections were busy.") \
    COUNTER(wait_ns,   "nanoseconds", "Time spent waiting: for a lease, or for a command that was handed over.") \
    COUNTER(timeouts,  "calls",       "Waits that ended without a connection or a reply. Above 0, the pool is too small or Redis too slow.") \
    COUNTER(commands,  "commands",    "Commands sent on a connection that the worker held itself.") \
    COUNTER(handed,    "commands",    "Commands of other workers that this one sent for them.") \
    COUNTER(batches,   "batches",     "Writes of one or more commands. commands_total and handed_total together, divided by it, are the size of a batch.") \
    COUNTER(takeovers, "takeovers",   "Batches that went on with another worker. When it grows, replies are large or Redis is slow.") \
    COUNTER(fetches,   "descriptors", "Descriptors fetched from the broker: one per worker, connection and generation.") \
    COUNTER(returned,  "connections", "Connections given back unclean, to be reset or replaced. When it grows, a program leaves replies unread or sessions changed.") \
    COUNTER(revoked,   "leases",      "Leases that their holders found revoked when they gave them back. The reasons say why.") \
    COUNTER(uncertain, "commands",    "Commands that were sent and whose outcome is unknown.") \
    COUNTER(lost,      "connections", "Connections found dead by the worker that used them.") \
    COUNTER(direct,    "leases",      "Leases of connections of the process' own: the pool was disabled, or there was no broker.")

#define BROKER_COUNTERS(COUNTER) \
    COUNTER(opened,   "connections", "Connections made ready.") \
    COUNTER(privates, "connections", "Connections opened for one process alone: the pool is disabled, with fallback = direct.") \
    COUNTER(resets,   "connections", "Connections that came back unclean and were made clean again.") \
    COUNTER(checks,   "connections", "Idle connections that were asked whether they live.") \
    COUNTER(casualties, "connections", "Connections that ended while a command was being answered. When it grows, replies are larger than Redis sends.") \
    COUNTER(notices,  "errors",      "Reports of errors by which Redis said that a connection or a replica is not what it was: READONLY, NOAUTH, MASTERDOWN.") \
    COUNTER(attached, "workers",     "Workers that attached.") \
    COUNTER(deaths,   "worker",      "Workers that died, or went with a connection in their hands.") \
    COUNTER(denied,   "requests",    "Requests to attach that were refused: the process may not use the pool.")
/* clang-format on */

enum counter {
#define COUNTER_ENUM(name, unit, text) COUNTER_##name,
    COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_COUNT
};

enum broker_counter {
#define COUNTER_ENUM(name, unit, text) BROKER_COUNTER_##name,
    BROKER_COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
        BROKER_COUNTER_COUNT
};

_Static_assert(COUNTER_COUNT <= 16, "a worker's block has room for 16 counters");

#endif
