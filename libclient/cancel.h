/* SPDX-License-Identifier: MIT */
/*
 * Cancellation is off inside every call (pthread_cancel(3)): a thread that ended in the middle of
 * one would take a connection, a place in the queue or a lock with it until the process ends. It
 * acts when the call returns, with what the call gives already given: *lease and *reply are set
 * before. Each entry point begins with
 *
 *     int before CANCEL_RESTORED = cancel_off();
 *
 * A process with a single thread has nobody who could cancel it but itself, which ends the process:
 * there it costs a load. Else it is some 12 ns for each call; a lease, which is two calls, would be
 * half as expensive again. So both first try what has no cancellation point (quick_lease.c), which
 * an asynchronous cancellation alone could end: cancel_is_deferred(), 3 ns.
 */
#ifndef LENDIS_CANCEL_H
#define LENDIS_CANCEL_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
static inline bool cancel_is_possible(void)
{
    return !__libc_single_threaded;
}
#else
static inline bool cancel_is_possible(void)
{
    return true;
}
#endif

#define CANCEL_RESTORED __attribute__((cleanup(cancel_restore), unused))

/* What has to be restored, a bit each. */
enum { CANCEL_ENABLED = 1, CANCEL_ASYNCHRONOUS = 2 };

/*
 * glibc sends a signal to a thread whose cancellation is asynchronous. Its handler checks the
 * type alone, which is asynchronous inside recv(2) and its kind as well: one that was sent before
 * and comes late would act in there although cancellation is off. A first such call, while nothing
 * is held, lets it act, or waits for it.
 */
static inline void cancel_await_late(void)
{
    poll(NULL, 0, 0);
}

/* Out of line: where a variable's address is taken, the compiler protects the stack, which a lease
 * would pay for. */
static __attribute__((noinline, unused)) int cancel_disable(void)
{
    int state, type;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS)
        cancel_await_late();
    return (state == PTHREAD_CANCEL_ENABLE ? CANCEL_ENABLED : 0) |
           (type == PTHREAD_CANCEL_ASYNCHRONOUS ? CANCEL_ASYNCHRONOUS : 0);
}

static __attribute__((noinline, unused)) void cancel_enable(int before)
{
    int unused;

    if (before & CANCEL_ASYNCHRONOUS)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &unused);
    if (before & CANCEL_ENABLED)
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &unused);
}

/* Returns what has to be restored. */
static inline int cancel_off(void)
{
    return cancel_is_possible() ? cancel_disable() : 0;
}

static inline void cancel_restore(const int *before)
{
    if (*before != 0)
        cancel_enable(*before);
}

static __attribute__((noinline, unused)) bool cancel_defer(void)
{
    int type, unused;

    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS)
        pthread_setcanceltype(type, &unused);
    return type != PTHREAD_CANCEL_ASYNCHRONOUS;
}

/* True: nothing but a cancellation point ends this thread, so what has none needs no more. */
static inline bool cancel_is_deferred(void)
{
    return !cancel_is_possible() || cancel_defer();
}

#endif
