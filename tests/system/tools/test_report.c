/* SPDX-License-Identifier: MIT */
/*
 * lendis-report: processes whose memory is known are reported so, and what its commands print is
 * right where the test knows what is right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/report/processes.h"
#include "tests/support/fixture.h"
#include "tests/support/judge.h"

#define MIB (1024.0 * 1024)
/* Pages of a page table, and those that a child happens to touch more than another one. */
#define TOLERANCE (96 * 1024.0)
#define KNOWN_MIB 24
#define SHARERS   4
#define RUN_MS    120000

#ifdef __SANITIZE_ADDRESS__
#define SHADOW true /* of what a process touches, in memory of its own */
#else
#define SHADOW false
#endif

static struct fixture fixture;
static char output[1 << 18];

static int clean_up(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* ---- known processes ---- */

struct known {
    size_t private; /* bytes that it maps and touches */
    char *shared;   /* touched by all; NULL: none */
    size_t shared_size;
    size_t segment; /* of a memfd called like lendis' */
    bool leave;     /* ends at once */
};

static void touch(char *memory, size_t size)
{
    if (memory == MAP_FAILED)
        _exit(1);
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
}

static int be_known(struct processes *processes, unsigned number)
{
    const struct known *known = processes->context;

    (void)number;
    prctl(PR_SET_NAME, "lendis-known");
    if (known->leave)
        return 0;
    if (known->private)
        touch(
            mmap(NULL, known->private, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            known->private);
    if (known->shared)
        touch(known->shared, known->shared_size);
    if (known->segment) {
        int fd = memfd_create("lendis-pool", MFD_CLOEXEC);

        /* Twice as large as what is touched. */
        if (ftruncate(fd, (off_t)(2 * known->segment)) < 0)
            return 1;
        touch(mmap(NULL, 2 * known->segment, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
              known->segment);
    }
    processes_ready(processes);
    return 0;
}

static void start_known(unsigned count, struct known *known)
{
    processes_start(&fixture.processes, count, 0, be_known, known);
    if (!known->leave)
        assert_true(eventually(atomic_load(&fixture.processes.control->ready) == count, 20000));
}

/* Sums over all of them. */
static struct process_memory measure(unsigned count, struct known known)
{
    struct process_memory sum = {0};

    start_known(count, &known);
    for (unsigned i = 0; i < count; i++)
        assert_true(process_add(fixture.processes.pids[i], true, &sum));
    processes_end(&fixture.processes);
    return sum;
}

/* A page of a program that is touched brings 15 more along (do_fault_around() in the kernel's
 * mm/memory.c), which RSS counts. */
#define RSS_TOLERANCE (512 * 1024.0)

static void assert_within(double bytes, double expected, double tolerance)
{
    if (!(fabs(bytes - expected) <= tolerance))
        fail_msg("%.0f kB, %.0f kB are expected", bytes / 1024, expected / 1024);
}

static void assert_about(double bytes, double expected)
{
    assert_within(bytes, expected, TOLERANCE);
}

static void what_a_process_has_is_reported(void **state)
{
    struct process_memory without = measure(1, (struct known){0});
    struct process_memory with = measure(1, (struct known){.private = (size_t)(KNOWN_MIB * MIB)});

    (void)state;
    if (SHADOW)
        skip();
    assert_about(with.pss - without.pss, KNOWN_MIB * MIB);
    assert_about(with.uss - without.uss, KNOWN_MIB * MIB);
    assert_within(with.rss - without.rss, KNOWN_MIB * MIB, RSS_TOLERANCE);
    assert_about(with.anonymous - without.anonymous, KNOWN_MIB * MIB);
    assert_about(with.virtual - without.virtual, KNOWN_MIB * MIB);
    /* 8 bytes for each page of 4 KiB; a huge page has its table, too. */
    assert_about(with.page_tables - without.page_tables, KNOWN_MIB * MIB / 512);
    assert_true(with.page_tables > without.page_tables);
    assert_true(with.segments_pss == 0 && with.descriptors == without.descriptors);
}

static void what_is_shared_is_counted_once(void **state)
{
    size_t size = (size_t)(KNOWN_MIB * MIB);
    char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct process_memory without = measure(SHARERS, (struct known){0});
    struct process_memory with =
        measure(SHARERS, (struct known){.shared = shared, .shared_size = size});

    (void)state;
    if (SHADOW)
        skip();
    assert_true(shared != MAP_FAILED);
    munmap(shared, size);
    assert_about(with.pss - without.pss, KNOWN_MIB * MIB);
    assert_within(with.rss - without.rss, SHARERS * KNOWN_MIB * MIB, SHARERS * RSS_TOLERANCE);
    assert_about(with.uss - without.uss, 0);
}

static void segments_are_told_apart(void **state)
{
    struct known known = {.segment = (size_t)(2 * MIB)};
    struct process_memory sum = {0};

    (void)state;
    start_known(1, &known);
    assert_true(process_add(fixture.processes.pids[0], true, &sum));
    assert_true(sum.segments_pss == 2 * MIB && sum.segments_uss == 2 * MIB);
    assert_true(sum.pss >= sum.segments_pss);
    assert_true(proc_memfd_bytes(fixture.processes.pids[0], "lendis-") == 2 * MIB);
    assert_true(proc_memfd_bytes(fixture.processes.pids[0], "other") == 0);
}

static void a_process_that_ended_is_not_added(void **state)
{
    struct known known = {.leave = true};
    struct process_memory sum = {.pss = 1};
    pid_t zombie;

    (void)state;
    start_known(1, &known);
    zombie = fixture.processes.pids[0];
    assert_true(eventually(program_ended(zombie), 10000));
    assert_false(process_add(zombie, true, &sum));
    processes_end(&fixture.processes);
    assert_false(process_add(zombie, true, &sum));
    assert_true(sum.pss == 1 && sum.virtual == 0);
}

static void processes_are_found_by_name_and_cgroup(void **state)
{
    struct known known = {0};
    pid_t *pids;
    int named, all;

    (void)state;
    start_known(3, &known);
    named = processes_find(MATCH_NAME, "lendis-known", &pids);
    assert_int_equal(named, 3);
    for (int i = 0; i < named; i++)
        assert_true(pids[i] == fixture.processes.pids[0] || pids[i] == fixture.processes.pids[1] ||
                    pids[i] == fixture.processes.pids[2]);
    free(pids);
    all = processes_find(MATCH_CGROUP, "/", &pids);
    assert_true(all >= 3);
    free(pids);
    assert_int_equal(processes_find(MATCH_UNIT, "no-such-unit", &pids), 0);
}

/* ---- the program ---- */

static int run(const char *const *words)
{
    const char *argv[24] = {built_program("lendis-report")};

    for (size_t i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    return program_run(argv, output, sizeof output, RUN_MS);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* Cuts the first field off a line of CSV; NULL: there is none. */
static char *next_field(char **line)
{
    char *field = *line, *end;

    if (!field || *field != '"')
        return strsep(line, ",");
    end = strchr(field + 1, '"'); /* nothing that is printed has a quote in it */
    assert_non_null(end);
    *end = '\0';
    *line = end[1] == ',' ? end + 2 : NULL;
    return field + 1;
}

/* The value of a column in the row of a figure, of the CSV in `output`. */
static double cell(const char *figure, const char *column)
{
    static char copy[sizeof output];
    char *rest = copy, *line;
    size_t wanted = SIZE_MAX, count = 0, key = SIZE_MAX;

    memcpy(copy, output, sizeof copy);
    line = strsep(&rest, "\n");
    for (char *name; (name = next_field(&line)); count++) {
        if (strcmp(name, column) == 0)
            wanted = count;
        if (strcmp(name, "figure") == 0)
            key = count;
    }
    assert_true(wanted < count && key < wanted);
    while ((line = strsep(&rest, "\n"))) {
        char *found = NULL, *field;

        for (size_t i = 0; (field = next_field(&line)) && i <= wanted; i++) {
            if (i == key && strcmp(field, figure) == 0)
                found = field;
            if (i == wanted && found)
                return *field ? atof(field) : NAN;
        }
    }
    fail_msg("no figure %s in %s", figure, output);
    return NAN;
}

static void compare_counts_what_it_starts(void **state)
{
    static const char *const parts[] = {"workers",     "broker",      "segments",         "redis",
                                        "socket_slab", "page_tables", "descriptor_tables"};
    char costs[TESTBED_PATH_SIZE], picture[TESTBED_PATH_SIZE];
    double total = 0;

    (void)state;
    scratch_path(costs, "state/costs");
    scratch_path(picture, "memory.svg");
    assert_int_equal(RUN("compare", "--workers", "6", "--connections-per-worker", "3", "--busy",
                         "--values", "100B", "--transport", "unix", "--csv", "--costs", costs,
                         "--plot", picture),
                     0);
    assert_true(cell("redis_connections", "none") == 0);
    assert_true(cell("redis_connections", "direct") == 18);
    assert_true(cell("redis_connections", "lendis") == 4);
    assert_true(cell("redis_connections", "saved") == 14);
    assert_true(cell("workers_descriptors", "due_direct") == 18);
    assert_true(cell("broker", "direct") == 0 && cell("broker", "lendis") > 0);
    assert_true(cell("segments", "direct") == 0 && cell("segments", "lendis") > 0);
    assert_true(cell("redis_clients", "due_direct") > 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!isnan(cell(parts[i], "lendis")))
            total += cell(parts[i], "lendis");
    assert_true(fabs(total - cell("total", "lendis")) <= 8); /* each is rounded */
    assert_int_equal(access(costs, R_OK), 0);
    assert_int_equal(access(picture, R_OK), 0);
}

/* Costs that are easy to reckon with. */
static void write_costs(const char *path)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs("idle.connections_per_worker 4\nidle.worker_connection 10000000\n"
          "idle.redis_connection 1000000\nidle.kernel_connection 1000000\n"
          "idle.lendis_worker 20000\nidle.lendis_kernel 10000\n",
          file);
    fclose(file);
}

static int attach_and_wait(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "main");

    (void)number;
    freeReplyObject(lendis_command(pool, "SET key value"));
    processes_ready(processes);
    lendis_detach(pool);
    return 0;
}

static void start_host(unsigned workers)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool main]\nredis = %s\nsize = 2\nmin_idle = 2\n",
                  fixture.redis.unix_url);
    processes_start(&fixture.processes, workers, 0, attach_and_wait, NULL);
    assert_true(eventually(atomic_load(&fixture.processes.control->ready) == workers, 20000));
}

static void watch_reports_what_the_pool_saves(void **state)
{
    char costs[TESTBED_PATH_SIZE];
    double holds;

    (void)state;
    scratch_path(costs, "known-costs");
    write_costs(costs);
    start_host(3);
    assert_int_equal(
        RUN("watch", "--socket", fixture.broker.socket_path, "--costs", costs, "--csv"), 0);
    assert_true(cell("attached", "value") == 3 && cell("watched", "value") == 3);
    assert_true(cell("connections", "value") == 2);
    assert_true(cell("redis_connections", "value") == 2);
    assert_true(cell("would_hold", "value") == 3 * 4 * 12e6);
    holds = cell("broker", "value") + cell("segments", "value") + 3 * 30000 + 2 * 2e6;
    assert_true(fabs(cell("holds", "value") - holds) <= 8);
    assert_true(fabs(cell("saved", "value") - (3 * 4 * 12e6 - holds)) <= 8);
    assert_int_equal(RUN("watch", "--socket", fixture.broker.socket_path, "--costs", costs,
                         "--connections-per-worker", "8", "--csv"),
                     0);
    assert_true(cell("would_hold", "value") == 3 * 8 * 12e6);
}

static void watch_inspects_whom_it_is_told(void **state)
{
    (void)state;
    start_host(2);
    assert_int_equal(RUN("watch", "--socket", fixture.broker.socket_path, "--costs",
                         "/nowhere/costs", "--match", "redis-server", "--json"),
                     0);
    assert_non_null(strstr(output, "\"figure\": \"watched_attached\""));
    assert_non_null(strstr(output, "Run on this machine: lendis-report compare\n"));
    *strstr(output, "What the pool saves") = '\0'; /* that is on standard error */
    assert_true(json_is_valid(output));
    assert_int_equal(
        RUN("watch", "--socket", fixture.broker.socket_path, "--match", "redis-server"), 0);
    assert_non_null(strstr(output, "workers: processes called redis-server"));
    assert_null(strstr(output, "\x1b")); /* no terminal: once, and nothing for terminals */
}

static void a_redis_that_does_not_answer_is_named(void **state)
{
    (void)state;
    start_host(1);
    redis_kill(&fixture.redis);
    assert_int_equal(RUN("watch", "--socket", fixture.broker.socket_path, "--csv"), 0);
    assert_true(isnan(cell("redis_rss", "value")));
    assert_non_null(strstr(output, "does not say"));
}

static void wrong_usage_is_reported(void **state)
{
    static const char *const lines[][6] = {
        {"frobnicate"},
        {"compare", "now"},
        {"compare", "--workers", "0"},
        {"compare", "--workers", "12x"},
        {"compare", "--values", "1GiB"},
        {"compare", "--values", "0B"},
        {"compare", "--transport", "udp"},
        {"compare", "--sweep", "10,5"},
        {"compare", "--sweep", "10,"},
        {"compare", "--sweep", "10", "--workers", "3"},
        {"compare", "--reference", "--pool-size", "3"},
        {"compare", "--match", "php"},
        {"watch", "--workers", "3"},
        {"watch", "--match", "a", "--unit", "b"},
        {"watch", "--interval", "1ms"},
        {"watch", "--no-such-option"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *words[7] = {0};

        memcpy(words, lines[i], sizeof lines[i]);
        assert_int_equal(run(words), 64);
        assert_non_null(strstr(output, "lendis-report"));
    }
}

static void what_is_missing_is_reported(void **state)
{
    (void)state;
    assert_int_equal(RUN("compare", "--plot", "/nowhere/memory.svg"), 1);
    assert_non_null(strstr(output, "/nowhere/memory.svg"));
    assert_int_equal(RUN("compare", "--plot", "memory.jpeg"), 1);
    assert_int_equal(RUN("watch", "--socket", "/nowhere/lendis.sock"), 1);
    assert_non_null(strstr(output, "/nowhere/lendis.sock"));
    setenv("REDIS_SERVER", "/nowhere/redis-server", 1);
    assert_int_equal(RUN("compare", "--workers", "2"), 1);
    unsetenv("REDIS_SERVER");
    assert_non_null(strstr(output, "lendis-report: redis-server does not start"));
    assert_non_null(strstr(output, "/nowhere/redis-server"));
}

static unsigned entries(const char *folder)
{
    DIR *open = opendir(folder);
    unsigned count = 0;

    while (open && readdir(open))
        count++;
    if (open)
        closedir(open);
    return count - 2;
}

static bool exists(const char *pattern)
{
    glob_t found;
    bool any = glob(pattern, 0, NULL, &found) == 0;

    globfree(&found);
    return any;
}

static void an_interrupt_ends_all_of_it(void **state)
{
    const char *const argv[] = {built_program("lendis-report"), "compare", "--workers", "5", NULL};
    char folder[TESTBED_PATH_SIZE], log[TESTBED_PATH_SIZE], plan[TESTBED_PATH_SIZE];
    pid_t pid;
    int status;

    (void)state;
    scratch_path(folder, "t");
    scratch_path(log, "interrupted.log");
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("TMPDIR", folder, 1);
    pid = program_start(argv, log, 0);
    unsetenv("TMPDIR");
    scratch_path(plan, "t/*/plan*"); /* by which workers are started */
    assert_true(eventually(exists(plan), 20000));
    kill(pid, SIGINT);
    status = program_wait(pid, 20000);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_true(eventually(entries(folder) == 0, 10000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_a_process_has_is_reported, clean_up),
        cmocka_unit_test_teardown(what_is_shared_is_counted_once, clean_up),
        cmocka_unit_test_teardown(segments_are_told_apart, clean_up),
        cmocka_unit_test_teardown(a_process_that_ended_is_not_added, clean_up),
        cmocka_unit_test_teardown(processes_are_found_by_name_and_cgroup, clean_up),
        cmocka_unit_test_teardown(compare_counts_what_it_starts, clean_up),
        cmocka_unit_test_teardown(watch_reports_what_the_pool_saves, clean_up),
        cmocka_unit_test_teardown(watch_inspects_whom_it_is_told, clean_up),
        cmocka_unit_test_teardown(a_redis_that_does_not_answer_is_named, clean_up),
        cmocka_unit_test_teardown(wrong_usage_is_reported, clean_up),
        cmocka_unit_test_teardown(what_is_missing_is_reported, clean_up),
        cmocka_unit_test_teardown(an_interrupt_ends_all_of_it, clean_up),
    };

    /* AddressSanitizer keeps what was freed; the report waits until memory stays as it is. */
    setenv("ASAN_OPTIONS", "quarantine_size_mb=1:thread_local_quarantine_size_kb=16", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
