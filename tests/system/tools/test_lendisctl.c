/* SPDX-License-Identifier: MIT */
/*
 * lendisctl against a broker that does nothing at all: a process that made a catalog and segments
 * as lendisd does, listens, and then stopped itself. So every state of a connection, a corrupted
 * segment, another layout and a service manager's socket can be shown to it, and it is proven that
 * it needs no answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/queue.h"
#include "lendis/mailbox.h"
#include "broker/testbed/internal.h"
#include "libclient/shared/broker_socket.h"
#include "tests/support/judge.h"
#include "tests/support/support.h"

#define INSTANCE  UINT64_C(0x5eed)
#define WORKERS   20
#define SIZE      8
#define OUTPUT    (1 << 20)
#define LIMIT_MS  20000
#define EXIT_GOOD 0
#define EXIT_FAIL 1

static const char config[] =
    "[broker]\nsocket = /x\n\n[pool app]\nredis = redis://\"h\"/0\nsize = 8\n"
    "; a comment\n\n[pool idle]\nredis = unix:///r.sock\nsize = 2";

/* What the stopped process is to have before it stops. */
struct setting {
    bool passed_socket; /* another process listens */
    bool empty;         /* no pools */
    bool corrupted;     /* random bytes all over pool app's segment, but for its header */
    bool two_claims;    /* pool idle's segment says that it is app's */
    uint32_t abi_major; /* 0: ours */
    unsigned seed;
};

struct fixture {
    struct setting setting;
    char socket_path[TESTBED_PATH_SIZE];
    pid_t broker; /* stopped */
    int listener; /* ours, with passed_socket; else -1 */
    char *output;
};

/* ---- the process that stands for a broker ---- */

static void fill_segment(struct segment *segment)
{
    struct connection *connections = segment->connections;
    struct timespec now;
    uint32_t now_ms;
    uint64_t ticket;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    shm_store(&connections[0].word, word_make(WORD_IDLE, 0, 3));
    shm_store(&connections[1].word, word_make(WORD_LEASED, 5, 4));
    shm_store(&connections[1].uses, 77);
    shm_store(&connections[1].leased_ms, (uint64_t)now.tv_sec * 1000 - 90000);
    shm_store(&connections[2].word, word_make(WORD_PASSED, WORKERS + 1, 5));
    shm_store32(&segment->slots[WORKERS + 1].owner, 1 + 6);
    shm_store(&connections[3].word, word_make(WORD_OPENING, 0, 1));
    shm_store(&connections[4].word, word_make(WORD_RETURNED, 5, 1));
    shm_store(&connections[5].word, word_make(WORD_CHECKING, 0, 1));
    shm_store(&connections[6].word, word_make((enum word_state)12, 5, 1));
    shm_store(&segment->workers[5].counters[COUNTER_leases], 1000);
    shm_store(&segment->workers[6].counters[COUNTER_leases], 200);
    shm_store(&segment->workers[6].counters[COUNTER_timeouts], 3);
    shm_store(&segment->workers[9].counters[COUNTER_leases], 99999); /* nobody's */
    if (queue_push(segment, 5, CELL_WAITING, &ticket) != 0 ||
        queue_push(segment, 6, CELL_COMMAND, &ticket) != 0)
        _exit(1);
    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ms = (uint32_t)now.tv_sec * 1000 + (uint32_t)(now.tv_nsec / 1000000);
    shm_store32(&segment->slots[5].since_ms, now_ms - 61000);
    shm_store32(&segment->slots[6].since_ms, now_ms - 125000);
    shm_store32(&segment->slots[WORKERS + 2].since_ms, now_ms - 3000);
    shm_store32(&segment->slots[WORKERS + 2].owner, 1 + 6);
    shm_store32(&segment->slots[WORKERS + 2].taker, 1 + 5);
    shm_store(&segment->slots[WORKERS + 2].mail, MAIL_TAKEN);
    for (uint32_t i = 1; i <= 1000; i++)
        shared_histogram_add(&segment->shards[i % HISTOGRAM_SHARDS].histograms[HISTOGRAM_wait],
                             i * 1000000, 1);
    shared_histogram_add(&segment->shards[0].histograms[HISTOGRAM_batch], 7, 3);
}

static void fill_pool(struct catalog_pool *pool, const char *name, uint32_t size)
{
    catalog_write_begin(pool);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    snprintf(pool->address, sizeof pool->address, "redis://%s.example:6379/0", name);
    pool->size = size;
    shm_store32(&pool->places, size);
    pool->segment_instance = INSTANCE;
    pool->wait_timeout_ms = 5000;
    if (size == SIZE)
        memcpy(pool->commands, "!FT.SEARCH +G.\x1b[2J", 19);
    catalog_write_end(pool);
    shm_store32(&pool->backend, BACKEND_UP);
    shm_store(&pool->counters[BROKER_COUNTER_opened], 12);
    shm_store(&pool->counters[BROKER_COUNTER_denied], 2);
    shm_store(&pool->closed[CLOSE_lost], 4);
    shm_store(&pool->closed[CLOSE_lifetime], 3);
    shm_store(&pool->revoked[REVOKE_died], 1);
    shm_store(&pool->dial_errors[DIAL_refused], 6);
    shm_store(&pool->departed[COUNTER_leases], 30);
}

static void fill_catalog(struct catalog *catalog, const char *socket_path, pid_t worker)
{
    snprintf(catalog->header->socket_path, sizeof catalog->header->socket_path, "%s", socket_path);
    memcpy(catalog->config, config, sizeof config);
    catalog->header->config_size = sizeof config - 1;
    fill_pool(&catalog->pools[0], "app", SIZE);
    fill_pool(&catalog->pools[3], "idle", 2);
    shm_store32(&catalog->pools[3].backend, BACKEND_DOWN);
    /* Bytes that would end a JSON text, or move a terminal's cursor. */
    memcpy(catalog->pools[3].last_error, "no \"route\"\n\x1b[2J\xff\xc3\xa9", 19);
    for (uint32_t i = 5; i <= 6; i++) {
        catalog->workers[i].pid = (uint32_t)worker;
        catalog->workers[i].uid = 33;
        catalog->workers[i].since_ms = UINT64_C(1700000000000);
        shm_store32(&catalog->workers[i].pool, 1);
    }
}

/* Leaves the header, with which the segment is found, as it is. */
static void corrupt(struct segment *segment, unsigned seed)
{
    unsigned char *bytes = (unsigned char *)segment->queue;
    size_t size = segment->size - sizeof(struct segment_header);

    srandom(seed);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(random() >> 8);
}

static void listen_at(const char *path, int *listener)
{
    struct sockaddr_un address = unix_address(path);

    unlink(path);
    *listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (*listener < 0 || bind(*listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(*listener, 1) < 0)
        _exit(1);
}

/* A catalog of a layout that nobody knows, but for the fields that never move. */
static void make_foreign_catalog(uint32_t abi_major)
{
    struct catalog_header header = {
        .magic = LENDIS_CATALOG_MAGIC, .abi_major = abi_major, .abi_minor = 4, .size = 1 << 16};
    int fd = memfd_create(CATALOG_MEMFD_NAME, MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, 1 << 16) < 0 || pwrite(fd, &header, sizeof header, 0) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        _exit(1);
}

_Noreturn static void be_broker(const struct setting *setting, const char *socket_path, pid_t test)
{
    struct segment app, idle;
    struct catalog catalog;
    pid_t broker = getpid();
    int fd, listener;

    die_with(test);
    if (!setting->passed_socket)
        listen_at(socket_path, &listener);
    if (setting->abi_major) {
        make_foreign_catalog(setting->abi_major);
    } else {
        if (catalog_new(INSTANCE, WORKERS, &fd, &catalog) != 0 ||
            segment_new(0, INSTANCE, SIZE, WORKERS, &fd, &app) != 0 ||
            segment_new(3, INSTANCE, 2, WORKERS, &fd, &idle) != 0)
            _exit(1);
        fill_catalog(&catalog, socket_path, getppid());
        if (setting->empty)
            memset(catalog.pools, 0, sizeof *catalog.pools * catalog.pool_max);
        fill_segment(&app);
        if (setting->corrupted)
            corrupt(&app, setting->seed);
        if (setting->two_claims)
            ((struct segment_header *)idle.base)->pool = 0;
    }
    /* A worker that holds the catalog's descriptor is not the broker. */
    if (fork() == 0) {
        die_with(broker);
        for (;;)
            pause();
    }
    for (;;)
        raise(SIGSTOP);
}

static void start(struct fixture *fixture, struct setting setting)
{
    pid_t test = getpid();
    int status;

    fixture->setting = setting;
    scratch_path(fixture->socket_path, "%s", "lendis.sock");
    if (setting.passed_socket)
        listen_at(fixture->socket_path, &fixture->listener);
    fixture->broker = fork();
    assert_true(fixture->broker >= 0);
    if (fixture->broker == 0)
        be_broker(&setting, fixture->socket_path, test);
    assert_int_equal(waitpid(fixture->broker, &status, WUNTRACED), fixture->broker);
    assert_true(WIFSTOPPED(status));
}

static int setup(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){.broker = -1, .listener = -1};
    fixture.output = malloc(OUTPUT);
    *state = &fixture;
    return fixture.output ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->broker > 0) {
        kill(fixture->broker, SIGKILL);
        waitpid(fixture->broker, NULL, 0);
    }
    if (fixture->listener >= 0)
        close(fixture->listener);
    unlink(fixture->socket_path);
    free(fixture->output);
    return 0;
}

/* ---- looking ---- */

/* Runs lendisctl with up to four words and compares its exit status; stdout and stderr are in
 * fixture->output. */
static void ctl(struct fixture *fixture, int status, const char *a, const char *b, const char *c,
                const char *d)
{
    const char *argv[] = {
        built_program("lendisctl"), "--socket", fixture->socket_path, a, b, c, d, NULL};
    int got = program_run(argv, fixture->output, OUTPUT, LIMIT_MS);

    if (got != status)
        fail_msg("lendisctl %s %s %s: exit status %d: %s", a, b ? b : "", c ? c : "", got,
                 fixture->output);
}

static void has(struct fixture *fixture, const char *text)
{
    if (!strstr(fixture->output, text))
        fail_msg("\"%s\" is not in: %s", text, fixture->output);
}

static void has_not(struct fixture *fixture, const char *text)
{
    if (strstr(fixture->output, text))
        fail_msg("\"%s\" is in: %s", text, fixture->output);
}

/* The output has a JSON value, after what was said on stderr, and nothing behind it. */
static void is_json(struct fixture *fixture)
{
    const char *at = fixture->output;

    while (strncmp(at, "lendisctl: ", 11) == 0)
        at += strcspn(at, "\n") + 1;
    if (!json_is_valid(at))
        fail_msg("not JSON: %s", fixture->output);
}

/* ---- tests ---- */

static void stopped_broker_is_shown(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "show", "pools", NULL, NULL);
    has(fixture, "is stopped");
    has(fixture, "POOL");
    has(fixture, "redis://app.example:6379/0");
    has(fixture,
        "app knows of commands (+ may block, - does not, ! exclusive): !FT.SEARCH +G.?[2J\n");
    has_not(fixture, "idle knows");
    has(fixture, "idle is down: no \"route\"??[2J?\xc3\xa9\n");
    has_not(fixture, "\x1b");
}

static void pools_have_all_figures_in_json(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "pools", "app");
    is_json(fixture);
    has(fixture, "\"pool\": \"app\"");
    has_not(fixture, "\"pool\": \"idle\"");
    has(fixture, "\"backend\": \"up\"");
    has(fixture, "\"size\": 8,");
    has(fixture, "\"commands\": \"!FT.SEARCH +G.?[2J\"");
    has(fixture, "\"open\": 6,");
    has(fixture, "\"idle\": 1,");
    has(fixture, "\"leased\": 1,");
    has(fixture, "\"handed\": 1,");
    has(fixture, "\"empty\": 1,");
    has(fixture, "\"opening\": 1,");
    has(fixture, "\"returned\": 1,");
    has(fixture, "\"checking\": 1,");
    has(fixture, "\"invalid\": 1,");
    has(fixture, "\"other\": 5,");
    has(fixture, "\"waiting\": 2,");
    has(fixture, "\"workers\": 2,");
    has(fixture, "\"leases_total\": 1230,"); /* 30 of those that have gone */
    has(fixture, "\"timeouts_total\": 3,");
    has(fixture, "\"opened_total\": 12,");
    has(fixture, "\"denied_total\": 2,");
    has(fixture, "\"closed_total\": 7,");
    has(fixture, "\"closed_lost_total\": 4,");
    has(fixture, "\"closed_lifetime_total\": 3,");
    has(fixture, "\"revoked_died_total\": 1,");
    has(fixture, "\"dial_errors_total\": 6,");
    has(fixture, "\"dial_errors_refused_total\": 6,");
    has(fixture, "\"wait_timeout_ms\": 5000,");
}

static void connections_name_their_holders(void **state)
{
    struct fixture *fixture = *state;
    char pid[32];

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "connections", NULL);
    is_json(fixture);
    has(fixture, "\"state\": \"leased\",\n         \"generation\": 4,\n         \"worker\": 5,");
    has(fixture, "\"state\": \"handed\",\n         \"generation\": 5,\n         \"worker\": 6,");
    has(fixture,
        "\"state\": \"invalid\",\n         \"generation\": 1,\n         \"worker\": null,");
    has(fixture, "\"uses\": 77,");
    has(fixture, "\"lease_age_ms\": 9");
    has_not(fixture, "\"state\": \"empty\"");
    snprintf(pid, sizeof pid, "\"pid\": %d,", (int)getpid());
    has(fixture, pid);
    ctl(fixture, EXIT_GOOD, "show", "connections", "app", NULL);
    has(fixture, "1m3");
    has_not(fixture, "\nidle ");
}

static void empty_places_are_shown_to_who_asks(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "show", "connections", NULL, NULL);
    has(fixture, "leased");
    has_not(fixture, "empty");
    ctl(fixture, EXIT_GOOD, "--all", "show", "connections", NULL);
    has(fixture, "leased");
    has(fixture, "empty");
    has(fixture, "\nidle ");
    ctl(fixture, EXIT_GOOD, "--json", "--all", "show", "connections");
    is_json(fixture);
    has(fixture, "\"pool\": \"idle\"");
}

/* The first of the two comes before the second. */
static void in_order(struct fixture *fixture, const char *first, const char *second)
{
    has(fixture, first);
    has(fixture, second);
    assert_true(strstr(fixture->output, first) < strstr(fixture->output, second));
}

static void statistics_are_reported_with_their_meaning(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "stats", "app");
    is_json(fixture);
    has(fixture, "\"name\": \"connections\",\n         \"value\": 7,");
    has(fixture, "\"name\": \"idle\",\n         \"value\": 1,");
    has(fixture, "\"name\": \"leased\",\n         \"value\": 2,");
    has(fixture, "\"name\": \"stale\",\n         \"value\": 3,");
    has(fixture, "\"name\": \"leases_total\",\n         \"value\": 1230,");
    has(fixture, "\"name\": \"closed_lost_total\",\n         \"value\": 4,");
    has(fixture, "\"name\": \"closed_idle_total\",\n         \"value\": 0,");
    has(fixture, "\"unit\": \"leases\",");
    ctl(fixture, EXIT_GOOD, "show", "stats", NULL, NULL);
    has(fixture, "dial_errors_refused_total");
    has(fixture, "Nothing listens there");
    has_not(fixture, "closed_idle_total"); /* a reason that there never was */
    has(fixture, "\nidle ");
}

static void latency_is_reported_in_quantiles(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "latency", "app");
    is_json(fixture);
    has(fixture,
        "\"name\": \"wait\",\n         \"unit\": \"nanoseconds\",\n         \"count\": 1000,\n"
        "         \"mean\": 500500000,");
    has(fixture, "\"max\": 1000000000,");
    has(fixture, "\"name\": \"batch\",\n         \"unit\": \"commands\",\n         \"count\": 3,\n"
                 "         \"mean\": 7,\n         \"p50\": 7,");
    has(fixture,
        "\"name\": \"lease\",\n         \"unit\": \"nanoseconds\",\n         \"count\": 0,\n"
        "         \"mean\": null,");
    ctl(fixture, EXIT_GOOD, "show", "latency", "app", NULL);
    has(fixture, "500ms"); /* the mean, and the middle of the median's bucket, 469 to 537 ms */
    has(fixture, "1.00s");
}

static void leases_and_waiters_come_oldest_first(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "leases", NULL);
    is_json(fixture);
    in_order(fixture, "\"state\": \"leased\"", "\"state\": \"handed\"");
    has(fixture, "\"uses\": 77,");
    has(fixture, "\"lease_age_ms\": 9");
    has(fixture, "\"command\": \"test_lendisctl\"");
    has_not(fixture, "\"idle\"");
    ctl(fixture, EXIT_GOOD, "--json", "show", "waiters", NULL);
    is_json(fixture);
    in_order(fixture, "\"waits_ms\": 125", "\"waits_ms\": 61");
    in_order(fixture, "\"waits_ms\": 61", "\"waits_ms\": 3");
    in_order(fixture, "\"waits_for\": \"reply\"", "\"waits_for\": \"connection\"");
    has(fixture, "\"served_by\": 5");
    ctl(fixture, EXIT_GOOD, "show", "waiters", NULL, NULL);
    in_order(fixture, "2m05s", "1m01s");
}

static void workers_are_named(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "--json", "show", "workers", NULL);
    is_json(fixture);
    has(fixture, "\"worker\": 5,");
    has(fixture, "\"worker\": 6,");
    has_not(fixture, "\"worker\": 9,");
    has(fixture, "\"uid\": 33,");
    has(fixture, "\"since_ms\": 1700000000000,");
    has(fixture, "\"command\": \"test_lendisctl\",");
    has(fixture, "\"held\": 1,");
    has(fixture, "\"leases_total\": 1000,");
    ctl(fixture, EXIT_GOOD, "--json", "show", "workers", "idle");
    is_json(fixture);
    has(fixture, "\"workers\": [");
    has_not(fixture, "\"worker\":");
}

static void config_is_shown(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_GOOD, "show", "config", NULL, NULL);
    has(fixture, "[broker]\nsocket = /x\n");
    has(fixture, "[pool idle]\nredis = unix:///r.sock\nsize = 2\n");
    ctl(fixture, EXIT_GOOD, "--json", "show", "config", NULL);
    is_json(fixture);
    has(fixture, "\"redis\": \"redis://\\\"h\\\"/0\"");
    ctl(fixture, EXIT_GOOD, "--json", "show", "config", "app");
    is_json(fixture);
    has(fixture, "\"pool app\": {");
    has_not(fixture, "socket");
    has_not(fixture, "pool idle");
}

static void no_pools_are_valid_json(void **state)
{
    static const char *const what[] = {"pools",   "connections", "workers", "stats",
                                       "latency", "leases",      "waiters"};
    struct fixture *fixture = *state;

    start(fixture, (struct setting){.empty = true});
    for (size_t i = 0; i < 3; i++) {
        ctl(fixture, EXIT_GOOD, "--json", "show", what[i], NULL);
        is_json(fixture);
    }
    ctl(fixture, EXIT_FAIL, "show", "pools", "app", NULL);
    has(fixture, "no pool is called app; there are: none\n");
}

static void unknown_words_are_reported(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){0});
    ctl(fixture, EXIT_FAIL, "show", "pools", "ap", NULL);
    has(fixture, "no pool is called ap; there are: app, idle\n");
    ctl(fixture, 64, "show", "nothing", NULL, NULL);
    has(fixture, "pools, connections, workers, stats, latency, leases, waiters, preload, config");
    ctl(fixture, 64, "show", NULL, NULL, NULL);
    ctl(fixture, 64, "list", "pools", NULL, NULL);
    ctl(fixture, 64, "show", "pools", "app", "idle");
    ctl(fixture, 64, "--nonsense", NULL, NULL, NULL);
    ctl(fixture, 64, "--pid", "x", "show", "pools");
    ctl(fixture, 64, "--pid", "4294967297", "show", "pools");
    ctl(fixture, EXIT_GOOD, "--version", NULL, NULL, NULL);
    has(fixture, "lendisctl 0.");
    ctl(fixture, EXIT_GOOD, "--help", NULL, NULL, NULL);
    has(fixture, "show connections");
}

static void no_broker_is_reported(void **state)
{
    struct fixture *fixture = *state;

    scratch_path(fixture->socket_path, "%s", "nobody.sock");
    ctl(fixture, EXIT_FAIL, "show", "pools", NULL, NULL);
    has(fixture, "no broker at ");
    has(fixture, "start lendisd");
    /* Something listens that is no lendisd. */
    listen_at(fixture->socket_path, &fixture->listener);
    ctl(fixture, EXIT_FAIL, "show", "pools", NULL, NULL);
    has(fixture, "something listens at ");
    ctl(fixture, EXIT_FAIL, "--pid", "1", "show", "pools");
    has(fixture, "process 1 is not a lendisd");
}

static void service_managers_socket_leads_to_the_broker(void **state)
{
    struct fixture *fixture = *state;
    struct fixture holder = {.listener = -1};
    char pid[16];

    start(fixture, (struct setting){.passed_socket = true});
    ctl(fixture, EXIT_GOOD, "show", "pools", NULL, NULL);
    has(fixture, "redis://app.example:6379/0");
    /* Another broker, of another socket, is not taken for it; by its pid it can be shown. */
    start(&holder, (struct setting){.passed_socket = true});
    ctl(fixture, EXIT_FAIL, "show", "pools", NULL, NULL);
    has(fixture, "several processes");
    snprintf(pid, sizeof pid, "%d", (int)holder.broker);
    ctl(fixture, EXIT_GOOD, "--pid", pid, "show", "pools");
    kill(holder.broker, SIGKILL);
    waitpid(holder.broker, NULL, 0);
    close(holder.listener);
}

static void full_backlog_does_not_block(void **state)
{
    struct fixture *fixture = *state;
    int clients[8];

    start(fixture, (struct setting){0});
    for (size_t i = 0; i < 8; i++)
        clients[i] = broker_socket_connect(fixture->socket_path);
    assert_int_equal(clients[7], -EAGAIN);
    ctl(fixture, EXIT_GOOD, "show", "pools", NULL, NULL);
    has(fixture, "redis://app.example:6379/0");
    for (size_t i = 0; i < 8; i++)
        if (clients[i] >= 0)
            close(clients[i]);
}

static void other_layout_is_reported(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){.abi_major = 99});
    ctl(fixture, EXIT_FAIL, "show", "pools", NULL, NULL);
    has(fixture, "99.4");
}

/* I5, for those who look on. */
static void corrupted_segment_is_survived(void **state)
{
    static const char *const what[] = {"pools", "connections", "workers"};
    struct fixture *fixture = *state;

    for (unsigned seed = 1; seed <= 5; seed++) {
        start(fixture, (struct setting){.corrupted = true, .seed = seed});
        for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
            ctl(fixture, EXIT_GOOD, "--json", "show", what[i], NULL);
            is_json(fixture);
            ctl(fixture, EXIT_GOOD, "show", what[i], NULL, NULL);
        }
        ctl(fixture, EXIT_GOOD, "--json", "show", "pools", "idle");
        has(fixture, "\"empty\": 2,");
        kill(fixture->broker, SIGKILL);
        waitpid(fixture->broker, NULL, 0);
        fixture->broker = -1;
    }
}

/* A worker of pool idle passes its segment off as pool app's: neither is believed. */
static void two_claims_are_no_claim(void **state)
{
    struct fixture *fixture = *state;

    start(fixture, (struct setting){.two_claims = true});
    ctl(fixture, EXIT_GOOD, "--json", "show", "pools", "app");
    is_json(fixture);
    has(fixture, "pool app: its shared memory was not found, or a worker wrote over it");
    has(fixture, "\"idle\": null,");
}

/* As another user: runs lendisctl in a child that gave up being root. */
static void lack_of_permission_is_reported(void **state)
{
    struct fixture *fixture = *state;
    char path[TESTBED_PATH_SIZE];
    int status, fd;
    ssize_t got;
    pid_t child;

    if (getuid() != 0)
        skip();
    start(fixture, (struct setting){0});
    scratch_share();
    chmod(fixture->socket_path, 0666);
    scratch_path(path, "%s", "denied.log");
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    child = fork();
    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(99);
        execl(built_program("lendisctl"), "lendisctl", "--socket", fixture->socket_path, "show",
              "pools", (char *)NULL);
        _exit(errno == EACCES ? 77 : 98);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    got = pread(fd, fixture->output, OUTPUT - 1, 0);
    close(fd);
    fixture->output[got > 0 ? got : 0] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* the program is in a folder that other users may not enter */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAIL);
    has(fixture, "run this as root or as the broker's user");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(stopped_broker_is_shown),
        TEST(pools_have_all_figures_in_json),
        TEST(connections_name_their_holders),
        TEST(empty_places_are_shown_to_who_asks),
        TEST(workers_are_named),
        TEST(statistics_are_reported_with_their_meaning),
        TEST(latency_is_reported_in_quantiles),
        TEST(leases_and_waiters_come_oldest_first),
        TEST(config_is_shown),
        TEST(no_pools_are_valid_json),
        TEST(unknown_words_are_reported),
        TEST(no_broker_is_reported),
        TEST(service_managers_socket_leads_to_the_broker),
        TEST(full_backlog_does_not_block),
        TEST(other_layout_is_reported),
        TEST(corrupted_segment_is_survived),
        TEST(two_claims_are_no_claim),
        TEST(lack_of_permission_is_reported),
    };

    return cmocka_run_group_tests_name("lendisctl", tests, NULL, NULL);
}
