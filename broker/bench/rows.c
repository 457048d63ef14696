/* SPDX-License-Identifier: MIT */
/* Rows and targets: see rows.h. The targets are what the project asks of itself, not of a machine:
 * ratios, where it can be. */
#include "broker/bench/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "broker/bench/parts.h"

#define ALL_VARIANTS "direct,lendis:4,lease:16,twemproxy,haproxy"
#define SIZES        "direct,lendis:4,lendis:8,lendis:16"
#define BOTH         "direct,lendis:4"

/* Members of initializers, which take no brackets. NOLINTBEGIN(bugprone-macro-parentheses) */
#define OPS(variant_, value_, text_)                                                               \
    {                                                                                              \
        .variant = variant_, .kind = TARGET_TIMES, .figure = "ops_per_s", .comparison = '>',       \
        .value = value_, .text = text_                                                             \
    }
#define AT_MOST(variant_, figure_, value_, text_)                                                  \
    {                                                                                              \
        .variant = variant_, .kind = TARGET_TIMES, .figure = figure_, .comparison = '<',           \
        .value = value_, .text = text_                                                             \
    }
/* With think time: one size of at most 16 has to do for all of them. */
#define NOT_WORSE(variant_, connections)                                                           \
    OPS(variant_, 1, "op/s, times direct, " connections),                                          \
        AT_MOST(variant_, "p50_us", 1, "p50, times direct, " connections),                         \
        AT_MOST(variant_, "p99_us", 1, "p99, times direct, " connections)
#define THINK_TARGETS                                                                              \
    {                                                                                              \
        NOT_WORSE("lendis:4", "4 connections"), NOT_WORSE("lendis:8", "8 connections"),            \
            NOT_WORSE("lendis:16", "16 connections")                                               \
    }
#define MANY_TARGETS(times)                                                                        \
    OPS("lendis:4", times, "op/s, times direct"),                                                  \
        AT_MOST("lendis:4", "p50_us", 0.5, "p50, times direct"),                                   \
        AT_MOST("lendis:4", "p99_us", 0.5, "p99, times direct"),                                   \
        AT_MOST("lendis:4", "cpu_s_per_mop", 1, "CPU per operation, times direct")
#define FAR_TARGETS                                                                                \
    OPS("lendis:4", 1.1, "op/s, times direct"),                                                    \
        AT_MOST("lendis:4", "p50_us", 0.95, "p50, times direct"),                                  \
        AT_MOST("lendis:4", "p99_us", 1, "p99, times direct")
#define OF_PART(figure_, value_, text_)                                                            \
    {                                                                                              \
        .variant = "", .kind = TARGET_MEDIAN, .figure = figure_, .comparison = '<',                \
        .value = value_, .text = text_                                                             \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

const struct row rows[] = {
    /* First: what was measured before leaves its mark on the heap that workers inherit. */
    {.name = "memory",
     .text = "shared and private memory of a connection, a worker, a pool",
     .part = part_memory,
     .quick = "",
     .targets = {OF_PART("shared_connection", 128, "shared memory per connection"),
                 OF_PART("shared_worker", 1024, "shared memory per worker"),
                 OF_PART("shared_fixed", 65535, "shared memory per pool, fixed part"),
                 OF_PART("private_attached", 8192,
                         "private memory that attaching adds to a worker")}},
    {.name = "lease",
     .text = "acquire and release alone, contended, beside a pool with a lock and the broker",
     .part = part_lease,
     .quick = "",
     .targets = {OF_PART("lease_median_ns", 60, "acquire + release, ns"),
                 OF_PART("lease_per_two_swaps", 8, "acquire + release, times two swaps"),
                 OF_PART("lease_limit_per_two_swaps", 8, "the same with a time limit"),
                 OF_PART("lease_syscalls", 0, "system calls in 100,000 acquire + release")}},
    {.name = "1",
     .text = "one worker, in turns of 200 commands",
     .part = part_alone,
     .quick = "",
     .targets = {{.variant = "lendis",
                  .kind = TARGET_MEDIAN,
                  .figure = "throughput_ratio",
                  .comparison = '>',
                  .value = 0.97,
                  .text = "op/s, times direct"}}},
    {.name = "2",
     .text = "2 workers, no think time",
     .load = {.workers = 2},
     .full = BOTH,
     .targets = {OPS("lendis:4", 0.97, "op/s, times direct")}},
    {.name = "8",
     .text = "8 workers",
     .load = {.workers = 8},
     .quick = BOTH,
     .full = ALL_VARIANTS,
     .targets = {OPS("lendis:4", 1, "op/s, times direct")}},
    {.name = "50",
     .text = "50 workers",
     .load = {.workers = 50},
     .quick = BOTH,
     .full = ALL_VARIANTS,
     .targets = {OPS("lendis:4", 2.5, "op/s, times direct")}},
    {.name = "200",
     .text = "200 workers",
     .load = {.workers = 200},
     .quick = ALL_VARIANTS,
     .full = ALL_VARIANTS,
     .quick_unix = true,
     .targets = {MANY_TARGETS(4),
                 {.variant = "lendis:4",
                  .kind = TARGET_TIMES,
                  .figure = "ops_per_s",
                  .other = "twemproxy",
                  .comparison = '>',
                  .value = 8,
                  .text = "op/s, times twemproxy"}}},
    {.name = "500",
     .text = "500 workers",
     .load = {.workers = 500},
     .quick = BOTH,
     .full = ALL_VARIANTS,
     .targets = {MANY_TARGETS(5)}},
    {.name = "think1",
     .text = "200 workers, 1 ms think time",
     .load = {.workers = 200, .think_us = 1000},
     .full = SIZES,
     .targets = THINK_TARGETS},
    {.name = "think5",
     .text = "200 workers, 5 ms think time",
     .load = {.workers = 200, .think_us = 5000},
     .quick = "direct,lendis:16",
     .full = SIZES ",twemproxy,haproxy",
     .targets = THINK_TARGETS},
    {.name = "think20",
     .text = "200 workers, 20 ms think time",
     .load = {.workers = 200, .think_us = 20000},
     .full = SIZES,
     .targets = THINK_TARGETS},
    {.name = "rtt0.2",
     .text = "50 workers, Redis 0.2 ms away",
     .load = {.workers = 50, .rtt_us = 200},
     .transport = "tcp",
     .full = SIZES,
     .targets = {FAR_TARGETS}},
    {.name = "rtt1",
     .text = "50 workers, Redis 1 ms away",
     .load = {.workers = 50, .rtt_us = 1000},
     .transport = "tcp",
     .quick = BOTH,
     .full = SIZES,
     .targets = {FAR_TARGETS}},
    {.name = "rtt5",
     .text = "50 workers, Redis 5 ms away",
     .load = {.workers = 50, .rtt_us = 5000},
     .transport = "tcp",
     .full = SIZES,
     .targets = {FAR_TARGETS}},
    {.name = "tls",
     .text = "200 workers with TLS: connections of their own by OpenSSL, and lendis",
     .load = {.workers = 200},
     .transport = "tls",
     .quick = BOTH,
     .full = SIZES,
     .targets = {OPS("lendis:4", 2, "op/s, times direct")}},
    {.name = "tls-think5",
     .text = "200 workers with TLS, 5 ms think time",
     .load = {.workers = 200, .think_us = 5000},
     .transport = "tls",
     .full = SIZES,
     .targets = THINK_TARGETS},
    {.name = "64B",
     .text = "200 workers, values of 64 bytes",
     .load = {.workers = 200, .value = 64},
     .full = BOTH,
     .targets = {OPS("lendis:4", 1, "op/s, times direct")}},
    {.name = "1KiB",
     .text = "200 workers, values of 1 KiB",
     .load = {.workers = 200, .value = 1024},
     .full = BOTH,
     .targets = {OPS("lendis:4", 1, "op/s, times direct")}},
    {.name = "16KiB",
     .text = "200 workers, values of 16 KiB",
     .load = {.workers = 200, .value = 16384},
     .quick = BOTH,
     .full = BOTH,
     .targets = {OPS("lendis:4", 1, "op/s, times direct")}},
    {.name = "mix",
     .text = "200 workers, 90/10 GET/SET",
     .load = {.workers = 200, .mix = 10},
     .quick = BOTH,
     .full = BOTH,
     .targets = {OPS("lendis:4", 1, "op/s, times direct")}},
    {.name = "open",
     .text = "200 workers in an open loop: commands are due at a fixed rate",
     .load = {.workers = 200, .rate = 20000},
     .quick = BOTH,
     .full = BOTH ",twemproxy,haproxy"},
    {.name = "leases",
     .text = "a lease for each command, 200 workers",
     .load = {.workers = 200},
     .quick = "direct,lease:16",
     .full = "direct,lease:4,lease:16,lease:50"},
    {.name = "transactions",
     .text = "MULTI, a command and EXEC, 200 workers",
     .load = {.workers = 200},
     .quick = "direct-transaction,transaction:16",
     .full = "direct-transaction,transaction:4,transaction:16,transaction:50"},
    {.name = "waits",
     .text = "how 200 workers wait for 16 connections: latency is the wait for the lease alone",
     .load = {.workers = 200},
     .quick = "acquire:16",
     .full = "acquire:16",
     .targets = {{.variant = "acquire:16",
                  .kind = TARGET_QUOTIENT,
                  .figure = "p99_us",
                  .other = "p50_us",
                  .comparison = '<',
                  .value = 2,
                  .text = "p99 of the wait / its median"},
                 {.variant = "acquire:16",
                  .kind = TARGET_LEAST,
                  .figure = "fairness",
                  .comparison = '>',
                  .value = 0.5,
                  .text = "least / most served worker"}}},
    {.name = "mixed",
     .text = "commands and exclusive leases from one queue",
     .load = {.workers = 200, .leasers = 50, .hold_us = 500},
     .quick = "lendis:4",
     .full = "lendis:4",
     .targets = {{.variant = "lendis:4",
                  .kind = TARGET_MEDIAN,
                  .figure = "ops_per_s",
                  .comparison = '>',
                  .value = 1000,
                  .text = "commands/s beside leases"},
                 {.variant = "lendis:4",
                  .kind = TARGET_MEDIAN,
                  .figure = "leases_per_s",
                  .comparison = '>',
                  .value = 1000,
                  .text = "leases/s beside commands"},
                 {.variant = "lendis:4",
                  .kind = TARGET_QUOTIENT,
                  .figure = "lease_max_us",
                  .other = "lease_p50_us",
                  .comparison = '<',
                  .value = 10,
                  .text = "worst wait of a lease, times the leases' p50"},
                 {.variant = "lendis:4",
                  .kind = TARGET_QUOTIENT,
                  .figure = "max_us",
                  .other = "lease_p50_us",
                  .comparison = '<',
                  .value = 10,
                  .text = "worst wait of a command, times the leases' p50"}}},
    {.name = "storm", .text = "500 workers start at once", .part = part_storm, .quick = ""},
    {.name = "restart",
     .text = "Redis restarts under 500 workers",
     .part = part_restart,
     .quick = ""},
    {.name = "idle",
     .text = "a broker with 500 workers and 64 connections that has nothing to do",
     .part = part_idle,
     .quick = "",
     .targets = {OF_PART("wakeups", 0, "the broker woke in 5 s"),
                 OF_PART("private_kib", 4096, "private memory of the broker, KiB")}},
};

const size_t row_count = sizeof rows / sizeof *rows;

const struct row *row_find(const char *name)
{
    for (size_t i = 0; i < row_count; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

void row_run(struct bench *bench, const struct row *row, const char *transports)
{
    const char *variants = bench->full || !row->quick ? row->full : row->quick;
    char problem[200], list[32], *rest = list, *transport;
    static struct cell cell;

    if (row->part) {
        row->part(bench);
        return;
    }
    if (row->transport)
        transports = row->transport;
    else if (!transports)
        transports = bench->full || row->quick_unix ? "tcp,unix" : "tcp";
    snprintf(list, sizeof list, "%s", transports);
    while ((transport = strsep(&rest, ","))) {
        cell.row = row->name;
        cell.transport = transport;
        cell.load = row->load;
        if (!cell_parse_variants(bench, &cell, variants, problem, sizeof problem))
            give_up("%s", problem);
        cell_run(bench, &cell);
    }
}

/* ---- targets ---- */

static double value_of(const struct figures *figures, const struct target *target,
                       struct series series)
{
    struct series base = series;

    base.variant = target->other ? target->other : "direct";
    switch (target->kind) {
    case TARGET_MEDIAN:
        return figures_median(figures, series, target->figure);
    case TARGET_LEAST:
        return figures_least(figures, series, target->figure);
    case TARGET_TIMES:
        return figures_ratio(figures, series, target->figure, base, target->figure).median;
    case TARGET_QUOTIENT:
        return figures_ratio(figures, series, target->figure, series, target->other).median;
    }
    return NAN;
}

/* False: that was not measured. */
static bool judge(const struct figures *figures, const struct row *row, const char *transport,
                  const struct target *target, struct verdict *verdict)
{
    struct series series = {row->name, transport, target->variant};

    verdict->target = target;
    verdict->figure = value_of(figures, target, series);
    if (isnan(verdict->figure))
        return false;
    verdict->met = target->comparison == '<' ? verdict->figure <= target->value
                                             : verdict->figure >= target->value;
    snprintf(verdict->text, sizeof verdict->text, "[%s]%s%s %s", row->name, *transport ? " " : "",
             transport, target->text);
    return true;
}

size_t rows_judge(const struct bench *bench, struct verdict *list, size_t max)
{
    static const char *const transports[] = {"", "tcp", "unix", "tls"};
    size_t count = 0;

    for (size_t i = 0; i < row_count; i++)
        for (size_t t = 0; t < 4; t++)
            for (size_t j = 0; j < ROW_TARGETS_MAX && rows[i].targets[j].text; j++)
                if (count < max && judge(&bench->figures, &rows[i], transports[t],
                                         &rows[i].targets[j], &list[count]))
                    count++;
    return count;
}
