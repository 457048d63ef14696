/* SPDX-License-Identifier: MIT */
/*
 * The table of virtual connections by number, and their locks: see virtual.h. Its pages are made on
 * demand and stay; nothing here allocates for a descriptor that is not virtual.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "libclient/preload/mine.h"
#include "libclient/preload/virtual.h"

_Atomic(struct virtual_page *) virtual_pages[VIRTUAL_PAGES];
static _Atomic unsigned pages_end; /* one behind the last page */
static struct virtual *unused;

/* Its address identifies a thread. */
static _Thread_local char self __attribute__((tls_model("initial-exec")));

bool virtual_lock(struct virtual *virtual, int fd)
{
    static const struct timespec pause = {.tv_nsec = 50000};
    unsigned turns = 0;
    void *nobody = NULL;

    while (!atomic_compare_exchange_weak_explicit(&virtual->holder, &nobody, &self,
                                                  memory_order_acquire, memory_order_relaxed)) {
        if (nobody == &self)
            return false;
        nobody = NULL;
        if (++turns < 100)
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
    if (atomic_load_explicit(&virtual->number, memory_order_relaxed) == fd &&
        virtual_find(fd) == virtual)
        return true;
    virtual_unlock(virtual);
    return false;
}

void virtual_unlock(struct virtual *virtual)
{
    atomic_store_explicit(&virtual->holder, NULL, memory_order_release);
}

bool virtual_is_held_here(const struct virtual *virtual)
{
    return atomic_load_explicit(&virtual->holder, memory_order_relaxed) == &self;
}

/* ---- structs ---- */

static void lock_unused(void)
{
    while (atomic_exchange_explicit(&mine->table_lock, 1, memory_order_acquire))
        sched_yield();
}

static void unlock_unused(void)
{
    atomic_store_explicit(&mine->table_lock, 0, memory_order_release);
}

struct virtual *virtual_new(int fd)
{
    struct virtual *made;

    lock_unused();
    made = unused;
    if (made)
        unused = made->next;
    unlock_unused();
    if (!made)
        made = malloc(sizeof *made);
    if (!made)
        return NULL;
    memset(made, 0, sizeof *made);
    atomic_store_explicit(&made->holder, &self, memory_order_relaxed);
    atomic_store_explicit(&made->number, fd, memory_order_relaxed);
    made->pair = -1;
    return made;
}

static void put_away(struct virtual *virtual)
{
    atomic_store_explicit(&virtual->number, -1, memory_order_relaxed);
    virtual_unlock(virtual);
    lock_unused();
    virtual->next = unused;
    unused = virtual;
    unlock_unused();
}

/* ---- the table ---- */

static struct virtual_page *page_of(unsigned at)
{
    struct virtual_page *page = atomic_load_explicit(&virtual_pages[at], memory_order_acquire),
                        *made;
    unsigned end = atomic_load_explicit(&pages_end, memory_order_relaxed);

    if (page)
        return page;
    made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    if (!atomic_compare_exchange_strong(&virtual_pages[at], &page, made)) {
        munmap(made, sizeof *made);
        return page;
    }
    while (end < at + 1 && !atomic_compare_exchange_weak(&pages_end, &end, at + 1))
        ;
    return made;
}

static _Atomic(struct virtual *) *entry_of(int fd)
{
    unsigned at = (unsigned)fd / VIRTUAL_PAGE;
    struct virtual_page *page = at < VIRTUAL_PAGES ? page_of(at) : NULL;

    return page ? &page->entries[(unsigned)fd % VIRTUAL_PAGE] : NULL;
}

bool virtual_enter(struct virtual *virtual)
{
    _Atomic(struct virtual *) *entry = entry_of(virtual->number);

    if (!entry) {
        put_away(virtual);
        return false;
    }
    atomic_store_explicit(entry, virtual, memory_order_release);
    return true;
}

void virtual_free(struct virtual *virtual)
{
    _Atomic(struct virtual *) *entry = entry_of(virtual->number);

    if (entry)
        atomic_store_explicit(entry, NULL, memory_order_release);
    put_away(virtual);
}

int virtual_next(unsigned first, unsigned last)
{
    unsigned end = atomic_load_explicit(&pages_end, memory_order_relaxed) * VIRTUAL_PAGE;

    for (unsigned at = first; at < end && at <= last; at++) {
        if (!atomic_load_explicit(&virtual_pages[at / VIRTUAL_PAGE], memory_order_relaxed))
            at |= VIRTUAL_PAGE - 1;
        else if (virtual_find((int)at))
            return (int)at;
    }
    return -1;
}

void virtual_each(void (*visit)(struct virtual *virtual))
{
    for (int fd = virtual_next(0, ~0u); fd >= 0; fd = virtual_next((unsigned)fd + 1, ~0u))
        visit(virtual_find(fd));
}
