/* SPDX-License-Identifier: MIT */
/* Counting: see counts.h. */
#include "libclient/preload/counts.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REASONS 24

struct reason {
    char text[56];
    unsigned long count;
};

static atomic_ulong counts[PRELOAD_COUNT];
static struct reason reasons[REASONS];
static atomic_flag lock = ATOMIC_FLAG_INIT;

void count_up(enum preload_count count)
{
    atomic_fetch_add_explicit(&counts[count], 1, memory_order_relaxed);
}

void count_reason(const char *what, const char *reason)
{
    char text[sizeof reasons[0].text];
    unsigned at = 0;

    snprintf(text, sizeof text, "%s: %s", what, reason);
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
    while (at < REASONS - 1 && reasons[at].count > 0 && strcmp(reasons[at].text, text) != 0)
        at++;
    if (reasons[at].count++ == 0)
        strcpy(reasons[at].text, text);
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void explain(void)
{
    static const char *const texts[] = {
#define PRELOAD_TEXT(name, text) text,
        PRELOAD_COUNTS(PRELOAD_TEXT)
#undef PRELOAD_TEXT
    };
    int pid = getpid();

    for (unsigned i = 0; i < PRELOAD_COUNT; i++)
        if (atomic_load(&counts[i]) > 0)
            dprintf(STDERR_FILENO, "lendis[%d]: %lu %s\n", pid, atomic_load(&counts[i]), texts[i]);
    for (unsigned i = 0; i < REASONS && reasons[i].count > 0; i++)
        dprintf(STDERR_FILENO, "lendis[%d]: %lu %s\n", pid, reasons[i].count, reasons[i].text);
}

void counts_child(void)
{
    for (unsigned i = 0; i < PRELOAD_COUNT; i++)
        atomic_store(&counts[i], 0);
    memset(reasons, 0, sizeof reasons);
    atomic_flag_clear(&lock); /* another thread of the parent may have had it */
}

void counts_begin(void)
{
    const char *wanted = getenv("LENDIS_PRELOAD_EXPLAIN");

    if (wanted && *wanted && strcmp(wanted, "0") != 0)
        atexit(explain);
}
