/* SPDX-License-Identifier: MIT */
/*
 * One waiting thread: its place in the queue and how it gets the connection that is passed to it.
 *
 * The usual course: waiter_join(), waiter_sleep(), waiter_take() succeeds. The hint in the slot's
 * wake word can be missing (whoever handed over died or was stopped first) or stale (left for an
 * earlier wait), so it is only a hint: what counts is a word that says PASSED(slot). A sleep is
 * therefore timed: after WAITER_PATIENCE_NS for the oldest waiter, longer for those behind it, the
 * waiter scans all words itself and serves waiters from idle connections that nobody passed
 * on. That bounds I7 without a broker.
 *
 * A slot is used by one thread at a time. Nothing here allocates; only waiter_sleep() blocks.
 */
#ifndef LENDIS_WAITER_H
#define LENDIS_WAITER_H

#include "lendis/queue.h"

/* Half of I7's 10 ms. The n-th waiter sleeps n times as long, so 200 sleepers make ~1,200 scans a
 * second. */
#define WAITER_PATIENCE_NS INT64_C(5000000)
/* The same for one whose command is on its way: only a dead combiner without a broker, or a stopped
 * one, is to be found. */
#define WAITER_SERVED_PATIENCE_NS INT64_C(100000000)

struct waiter {
    const struct segment *segment;
    uint32_t worker;
    uint32_t slot;
    enum cell_state kind; /* CELL_WAITING or CELL_COMMAND */
    bool rejoined;        /* it queued up more than once: see waiter_finish() */
    bool served;          /* somebody has its command: no hurry to scan */
    uint64_t ticket;
    uint32_t unrung; /* full scans that found a connection given back and not rung for */
    /* When it says that it waits for long, lending_policy.c's; 0: not known yet. */
    int64_t report_ns;
};

/* Queues up. Results: 0; -ENOBUFS as queue_push(). On success waiter_take() or waiter_leave() must
 * follow. */
int waiter_join(struct waiter *waiter, const struct segment *segment, uint32_t worker,
                uint32_t slot, enum cell_state kind);

/*
 * Takes the connection that was passed to this waiter, if one was. `thorough` scans all words and
 * serves idle ones, instead of reading the hint alone. Results: 1, and *index and *word are
 * the caller's lease, the waiter has left the queue; 0, not yet: sleep; -ENOBUFS as waiter_join()
 * (it queues up again when what was passed to it was revoked before it came for it).
 */
int waiter_take(struct waiter *waiter, bool thorough, uint32_t *index, uint64_t *word);

/*
 * Takes the hint away that something happened to a command, which waiter_take() leaves alone. True:
 * there was one, scan thoroughly; a hint that is left there would keep its owner awake.
 */
bool waiter_hinted(struct waiter *waiter);

/* Sleeps until told, or until `deadline_ns` (CLOCK_MONOTONIC), or out of patience. True: time
 * passed, scan thoroughly. */
bool waiter_sleep(struct waiter *waiter, int64_t deadline_ns);

/*
 * For who polls the wake-up of its slot's group (poll_wakeup.h) and does not sleep: waiter_join()
 * for a connection, waiter_poll() in place of waiter_sleep(), and waiter_end_polling() at last,
 * when the waiter has left the queue. waiter_poll(): false, it was told something already: take, do
 * not poll. waiter_patience_ns(): how long to poll, or to sleep, before a full scan; the longer
 * the more are before it.
 */
int waiter_join_polling(struct waiter *waiter, const struct segment *segment, uint32_t worker,
                        uint32_t slot);
bool waiter_poll(struct waiter *waiter);
void waiter_end_polling(const struct waiter *waiter);
int64_t waiter_patience_ns(const struct waiter *waiter);

/*
 * Gives up. Results: 0, it has left; 1, a connection had been handed over before, *index and *word
 * are the caller's lease.
 */
int waiter_leave(struct waiter *waiter, uint32_t *index, uint64_t *word);

/*
 * For a command that was answered while its waiter may still be queued, or have been passed a
 * connection, because it queued up twice: leaves, and passes on what came.
 */
void waiter_finish(struct waiter *waiter);

#endif
