/* SPDX-License-Identifier: MIT */
/*
 * The thread of the relays: see relay.h. It watches all descriptors with one epoll, edge-triggered,
 * so that nothing has to be changed there for each reply; pump.c does the rest. What the broker's
 * thread gives it comes in by a list with a lock, and by an eventfd that is watched like the
 * others.
 */
#include "broker/tls/relay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/thread.h"
#include "broker/tls/pump.h"
#include "lendis/descriptor.h"

/* So long the server has to take what a worker sent before its end, and to answer the goodbye. */
#define LEAVE_MS 10000

#define EVENTS_AT_ONCE 64
/* OpenSSL's records, and room. */
#define STACK_SIZE (256u * 1024)

struct relay {
    struct pump pump;
    struct relay *next, **link; /* of `relays`, or of `arrivals` */
    struct relay *next_ready;   /* of those to be run */
    bool ready;
    uint64_t leaves_ms; /* when it ends at the latest; 0: it is not leaving */
};

/* What of a relay an event is about, in the low bit of its pointer. */
#define OF_SERVER ((uintptr_t)1)

static struct {
    pthread_mutex_t lock;
    struct relay *arrivals; /* from the broker's thread */
    atomic_bool stopping;
    bool running;
    pthread_t thread;
    int epoll, doorbell;
    /* The thread's own. */
    struct relay *relays;
    struct relay *ready;
    uint32_t leaving;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .doorbell = -1};

/* ---- the end of one ---- */

static void free_relay(struct relay *relay)
{
    int fd = relay->pump.tls->socket.fd;

    if (relay->leaves_ms != 0)
        all.leaving--;
    if (relay->link) {
        *relay->link = relay->next;
        if (relay->next)
            relay->next->link = relay->link;
    }
    if (!relay->pump.broken && !relay->pump.up.finished)
        SSL_shutdown(relay->pump.tls->ssl);
    tls_connection_close(relay->pump.tls);
    /* Closing does not do it while a child that was forked just now has copies. */
    epoll_ctl(all.epoll, EPOLL_CTL_DEL, fd, NULL);
    epoll_ctl(all.epoll, EPOLL_CTL_DEL, relay->pump.local, NULL);
    close(fd);
    close(relay->pump.local);
    explicit_bzero(relay, sizeof *relay);
    free(relay);
}

/* ---- running them ---- */

static void make_ready(struct relay *relay)
{
    if (relay->ready)
        return;
    relay->ready = true;
    relay->next_ready = all.ready;
    all.ready = relay;
}

static void run_one(struct relay *relay)
{
    switch (pump_run(&relay->pump)) {
    case PUMP_OVER:
        free_relay(relay);
        return;
    case PUMP_BUSY:
        make_ready(relay);
        break;
    case PUMP_RESTING:
        break;
    }
    if (relay->leaves_ms == 0 && pump_is_leaving(&relay->pump)) {
        relay->leaves_ms = clock_ms() + LEAVE_MS;
        all.leaving++;
    }
}

static void run_ready(void)
{
    struct relay *next = all.ready;

    all.ready = NULL;
    while (next) {
        struct relay *relay = next;

        next = relay->next_ready;
        relay->ready = false;
        run_one(relay);
    }
}

static void end_overdue(void)
{
    uint64_t now_ms = clock_ms();
    struct relay *next;

    for (struct relay *each = all.leaving > 0 ? all.relays : NULL; each; each = next) {
        next = each->next;
        if (each->leaves_ms != 0 && each->leaves_ms <= now_ms && !each->ready)
            free_relay(each);
    }
}

/* ---- arrivals ---- */

static bool watch(struct relay *relay, int fd, uintptr_t which)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = (char *)relay + which};

    return epoll_ctl(all.epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void take_in(struct relay *relay)
{
    relay->next = all.relays;
    relay->link = &all.relays;
    if (relay->next)
        relay->next->link = &relay->next;
    all.relays = relay;
    /* What OpenSSL has read already raises no event. */
    relay->pump.server.readable = true;
    if (watch(relay, relay->pump.local, 0) && watch(relay, relay->pump.tls->socket.fd, OF_SERVER))
        make_ready(relay);
    else
        free_relay(relay);
}

static void take_arrivals(void)
{
    struct relay *next;
    uint64_t count;

    (void)!read(all.doorbell, &count, sizeof count);
    pthread_mutex_lock(&all.lock);
    next = all.arrivals;
    all.arrivals = NULL;
    pthread_mutex_unlock(&all.lock);
    while (next) {
        struct relay *relay = next;

        next = relay->next;
        take_in(relay);
    }
}

/* ---- the thread ---- */

static void take_event(const struct epoll_event *event)
{
    uintptr_t pointer = (uintptr_t)event->data.ptr;
    struct relay *relay = (struct relay *)((char *)event->data.ptr - (pointer & OF_SERVER));

    if (!relay) {
        take_arrivals();
        return;
    }
    pump_note(pointer & OF_SERVER ? &relay->pump.server : &relay->pump.worker, event->events);
    make_ready(relay);
}

static void *run(void *unused)
{
    struct epoll_event events[EVENTS_AT_ONCE];

    (void)unused;
    while (!atomic_load(&all.stopping)) {
        int limit = all.ready ? 0 : all.leaving > 0 ? LEAVE_MS / 16 : -1;
        int count = epoll_wait(all.epoll, events, EVENTS_AT_ONCE, limit);

        /* None is freed before all events are noted. */
        for (int i = 0; i < count; i++)
            take_event(&events[i]);
        run_ready();
        end_overdue();
    }
    while (all.relays)
        free_relay(all.relays);
    all.ready = NULL;
    return NULL;
}

static void close_descriptors(void)
{
    if (all.epoll >= 0)
        close(all.epoll);
    if (all.doorbell >= 0)
        close(all.doorbell);
    all.epoll = all.doorbell = -1;
}

static int start(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int result = 0;

    if (all.running)
        return 0;
    atomic_store(&all.stopping, false);
    all.epoll = descriptor_lift(epoll_create1(EPOLL_CLOEXEC));
    all.doorbell = descriptor_lift(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (all.epoll < 0 || all.doorbell < 0 ||
        epoll_ctl(all.epoll, EPOLL_CTL_ADD, all.doorbell, &event) < 0)
        result = -errno;
    else
        result = thread_start(run, NULL, STACK_SIZE, &all.thread);
    all.running = result == 0;
    if (result != 0)
        close_descriptors();
    return result;
}

static void ring(void)
{
    const uint64_t one = 1;

    (void)!write(all.doorbell, &one, sizeof one);
}

/* ---- for the broker's thread ---- */

int relay_start(struct tls_connection *connection, int *fd)
{
    struct relay *relay;
    int ends[2], result = start();

    if (result != 0)
        return result;
    relay = calloc(1, sizeof *relay);
    if (!relay)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
        result = -errno;
        free(relay);
        return result;
    }
    /* One read for a record and what is behind it: 5 bytes of its head at a time else. */
    SSL_set_read_ahead(connection->ssl, 1);
    relay->pump.tls = connection;
    relay->pump.local = ends[1];
    *fd = ends[0];
    pthread_mutex_lock(&all.lock);
    relay->next = all.arrivals;
    all.arrivals = relay;
    pthread_mutex_unlock(&all.lock);
    ring();
    return 0;
}

void relay_stop(void)
{
    if (!all.running)
        return;
    atomic_store(&all.stopping, true);
    ring();
    pthread_join(all.thread, NULL);
    all.running = false;
    take_arrivals();
    while (all.relays)
        free_relay(all.relays);
    all.ready = NULL;
    close_descriptors();
}
