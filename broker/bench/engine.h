/* SPDX-License-Identifier: MIT */
/*
 * The load engine: one call is one measured round of one variant, on servers that are there. It
 * forks N workers, each of which runs commands, in a closed or an open loop (pace.h), and counts
 * into a histogram of its own in shared memory.
 *
 * Connecting is not measured: workers wait at a barrier, then all get the same three instants, the
 * start, the begin and the end of the measured window, so that no delay of the master's moves the
 * window. Per command a worker reads the clock twice and does no system call of its own.
 *
 * It ends the process with status 2, and says why, when it cannot run: it is a program of its own
 * that is started for each round.
 */
#ifndef LENDIS_BENCH_ENGINE_H
#define LENDIS_BENCH_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "broker/bench/client.h"
#include "broker/bench/pace.h"

/* Processes besides the workers whose CPU time is counted. */
enum role { ROLE_BROKER, ROLE_PROXY, ROLE_REDIS, ROLES };

struct engine_options {
    struct client_options client;
    const char *redis_url; /* where the keys are set and INFO is asked; NULL: client.url */
    unsigned workers;
    unsigned think_us;
    enum pace_kind pace;
    double rate; /* commands per second of all workers, open loop; 0: closed */
    double seconds;
    double ramp;
    unsigned mix;     /* percentage of SET */
    unsigned leasers; /* workers that take leases, measured apart; the rest runs commands */
    unsigned seed;
    bool fill;
    bool awake;
    pid_t pids[ROLES];
};

struct cpu_times {
    double workers;
    double roles[ROLES];
    double spinners;
    double machine; /* everything that ran, by whomever */
};

struct engine_report {
    struct tally all;
    struct tally leases; /* of the leasers: their waits */
    uint64_t ops_min, ops_max, errors, wrong;
    unsigned hung;
    double seconds;
    struct cpu_times cpu; /* spent in the window */
    long long connections;
    char text[160]; /* about the first error or wrong reply */
};

void engine_run(const struct engine_options *options, struct engine_report *report);

/* Says why, and ends with status 2. */
_Noreturn void engine_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
