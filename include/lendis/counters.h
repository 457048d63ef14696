/* SPDX-License-Identifier: MIT */
/*
 * The counters, declared once: COUNTER(name, unit, text). The text says what is counted and whether
 * to worry. Each worker adds to its own block, of which unmodified programs (libclient/preload) use
 * the second half, too; readers sum over workers, and the broker keeps what departed workers had
 * counted. The broker's own are in the catalog, one set for each pool; what it counts by reason is
 * in reasons.h.
 */
#ifndef LENDIS_COUNTERS_H
#define LENDIS_COUNTERS_H

/* clang-format off */
#define WORKER_COUNTERS(COUNTER) \
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

#define PRELOAD_COUNTERS(COUNTER) \
    COUNTER(virtual_opened,   "connections", "Connections of unmodified programs that became virtual.") \
    COUNTER(virtual_closed,   "connections", "Virtual connections that were closed or became real. Those opened less those closed are there now.") \
    COUNTER(virtual_requests, "requests",    "Requests of virtual connections that went out on a leased connection. A pipeline is one.") \
    COUNTER(virtual_copied,   "requests",    "Requests of virtual connections that were handed over, their replies copied, because no connection was idle.") \
    COUNTER(virtual_answered, "requests",    "Requests of virtual connections that were answered without Redis: SELECT, CLIENT SETNAME, AUTH of the pool's login.") \
    COUNTER(virtual_lost,     "connections", "Virtual connections that ended because a connection to Redis did.") \
    COUNTER(pinned_transaction, "leases",    "Leases that virtual connections kept between requests because of MULTI or WATCH.") \
    COUNTER(pinned_blocking,    "leases",    "Leases that virtual connections kept for a blocking command.") \
    COUNTER(pinned_session,     "leases",    "Leases that virtual connections kept because a request changed the session.") \
    COUNTER(pinned_other,       "leases",    "Leases that virtual connections kept because they could not become real: logged in, or strict, or in the middle of a request.") \
    COUNTER(real_lasting,  "connections", "Virtual connections that became real by what lasts: SUBSCRIBE, MONITOR, HELLO 3, CLIENT ID, an inline command.") \
    COUNTER(real_login,    "connections", "Virtual connections that became real by a login other than the pool's.") \
    COUNTER(real_database, "connections", "Virtual connections that became real because no pool has the database that was selected.") \
    COUNTER(real_busy,     "connections", "Virtual connections that became real because no connection of the pool was free. When it grows, the pool is too small.") \
    COUNTER(real_copied,   "connections", "Virtual connections that became real because their descriptor was copied, or used where it cannot be followed.") \
    COUNTER(real_down,     "connections", "Connections that became real, or were from the start, because the pool does not lend or Redis is down.")

/* All of a worker's block. */
#define COUNTERS(COUNTER) WORKER_COUNTERS(COUNTER) PRELOAD_COUNTERS(COUNTER)

#define BROKER_COUNTERS(COUNTER) \
    COUNTER(opened,   "connections", "Connections made ready.") \
    COUNTER(privates, "connections", "Connections opened for one process alone: the pool is disabled, with fallback = direct.") \
    COUNTER(resets,   "connections", "Connections that came back unclean and were made clean again.") \
    COUNTER(checks,   "connections", "Idle connections that were asked whether they live.") \
    COUNTER(casualties, "connections", "Connections that ended while a command was being answered. When it grows, replies are larger than Redis sends.") \
    COUNTER(notices,  "errors",      "Reports of errors by which Redis said that a connection or a replica is not what it was: READONLY, NOAUTH, MASTERDOWN.") \
    COUNTER(password_failures, "attempts", "Times that password_file could not be read or password_command failed. The last good password stays in use; look into the log.") \
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

#define COUNTER_PRELOAD_FIRST COUNTER_virtual_opened

_Static_assert(COUNTER_PRELOAD_FIRST <= 16, "those that every worker has are in one line");
_Static_assert(COUNTER_COUNT <= 32, "a worker's block has room for 32 counters");

#endif
