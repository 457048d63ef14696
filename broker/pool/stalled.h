/* SPDX-License-Identifier: MIT */
/*
 * Combiners that stopped (SIGSTOP, a debugger, a frozen cgroup) with commands of others on their
 * connection: the connection is taken from them after the pool's stall_timeout, whether or not the
 * owners of the commands still wait. The process may run again, but not on this connection.
 *
 * Slow is not stopped. What shows that a combiner goes on is that its word, its beat or its number
 * of batches changes; how long it did not is counted by the broker's own clock, never by a stamp of
 * the worker's. One that does not go on is judged by what its process is doing (process.h):
 *
 *   stopped, ended, frozen       after stall_timeout
 *   its time on processors grew  it goes on: from the beginning
 *   runnable                     never: it waits for a processor, however long (a busy host, a
 *                                quota of its cgroup)
 *   asleep                       after twice that: a sleep of a combiner ends after
 *                                CONNECTION_RECEIVE_MS by itself, and then it is runnable; what
 *                                sleeps longer is not in our hands (a signal handler, a lock)
 *   blocked (disk, swap)         after four times
 *   cannot be seen               after four times: at the least setting 2.4 s, longer than two
 *                                whole periods of a quota at its longest (1 s, cpu.max), in
 *                                which one with any quota at all runs
 *
 * The budget: a scan of the connections that are watched, one pass over the slots, whatever their
 * number, and at most STALL_INSPECT_MOST processes, some 20 us each.
 */
#ifndef LENDIS_BROKER_STALLED_H
#define LENDIS_BROKER_STALLED_H

#include <stdint.h>
#include <systemd/sd-event.h>
#include "broker/base/log.h"

struct broker_pool;
struct broker_connection;

struct stalled {
    sd_event_source *timer; /* the next inspection of combiners */
    uint32_t next;          /* the connection with whose combiner it begins */
    struct log_limit limit;
};

#define STALL_INSPECT_MOST 32u

/* Results: 0, stalled_stop() must follow; -errno. */
int stalled_start(struct broker_pool *pool);
void stalled_stop(struct broker_pool *pool);

/*
 * Watches the combiner of a connection that is out, by `word`, if somebody said that it should be
 * inspected.
 */
void stalled_inspect(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

/* Watches it, without anybody's word. */
void stalled_watch(struct broker_pool *pool, struct broker_connection *connection, uint64_t word);

/*
 * The owner of what is in `slot` died: nobody else will say it of the combiner that has its
 * command.
 */
void stalled_owner_died(struct broker_pool *pool, uint32_t slot);

#endif
