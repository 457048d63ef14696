/* SPDX-License-Identifier: MIT */
/* Who has held a connection for too long: see leak_report.h. */
#include "broker/pool/leak_report.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/base/log.h"
#include "broker/base/proc.h"
#include "broker/base/thread.h"

/* Of a command line; a log's reader needs no more of it. */
#define COMMAND_MAX 200u
#define STACK_SIZE  65536u

static atomic_bool busy;

/* The command line, its words separated by blanks; "" if there is none to be had. What a process
 * calls itself must not look like anything else: only printable ASCII stays as it is. */
static void read_command(uint32_t pid, char text[COMMAND_MAX + 4])
{
    size_t size = proc_read_start((pid_t)pid, "cmdline", text, COMMAND_MAX + 2);

    if (size > COMMAND_MAX) {
        size = COMMAND_MAX;
        for (int i = 0; i < 3; i++)
            text[size++] = '.';
    }
    while (size > 0 && text[size - 1] == '\0')
        size--;
    for (size_t i = 0; i < size; i++)
        text[i] = text[i] == '\0' ? ' ' : text[i] < ' ' || text[i] > '~' ? '?' : text[i];
    text[size] = '\0';
}

static void report_one(const struct leak *leak, bool with_command)
{
    char command[COMMAND_MAX + 4] = "", who[64], more[48] = "";

    if (with_command && leak->pid)
        read_command(leak->pid, command);
    if (leak->pid)
        snprintf(who, sizeof who, "process %u of user %u", leak->pid, leak->uid);
    else
        snprintf(who, sizeof who, "a process of user %u in another PID namespace", leak->uid);
    if (leak->kept_back)
        snprintf(more, sizeof more, " (and %u more like this)", leak->kept_back);
    /* unprovoked: the caller keeps all but a few back */
    log_line(LOG_LEVEL_WARNING, "pool %s: connection %u has been held for %ju.%01ju s by %s%s%s%s",
             leak->pool, leak->connection, (uintmax_t)(leak->age_ms / 1000),
             (uintmax_t)(leak->age_ms % 1000 / 100), who, command[0] ? ": " : "", command, more);
}

static void report_all(struct leak *list, bool with_command)
{
    while (list) {
        struct leak *next = list->next;

        report_one(list, with_command);
        free(list);
        list = next;
    }
}

static void *run(void *list)
{
    report_all(list, true);
    /* Release: whoever finds it false finds our work done. */
    atomic_store_explicit(&busy, false, memory_order_release);
    return NULL;
}

void leak_report(struct leak *list)
{
    if (!list)
        return;
    /* Acquire: pairs with the end of run(). */
    if (atomic_exchange_explicit(&busy, true, memory_order_acquire)) {
        report_all(list, false);
    } else if (thread_start(run, list, STACK_SIZE, NULL) != 0) {
        atomic_store_explicit(&busy, false, memory_order_release);
        report_all(list, false);
    }
}
