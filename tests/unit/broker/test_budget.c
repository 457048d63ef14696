/* SPDX-License-Identifier: MIT */
/*
 * The budget of a wake-up of the broker, at the largest sizes that can be configured: 1024
 * connections, 16384 workers. What is counted is steps, accesses to shared memory, not time (the
 * library is built with LENDIS_STEPS). A loop over one table inside of a loop over another one
 * takes a thousand times as many as are allowed here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "broker/pool/internal.h"
#include "broker/workers/worker.h"
#include "lendis/mailbox.h"

#define GENERATION 5u
#define HOSTILE    7u /* the worker that holds all */
/* Passes over all tables together that one wake-up may make, and one for what is constant. */
#define PASSES 8u

static uint64_t steps;

void lendis_step(const char *where);
void lendis_step(const char *where)
{
    (void)where;
    steps++;
}

static struct {
    struct pool_config config;
    struct pool_environment environment;
    struct catalog catalog;
    struct fd_store store;
    struct dialler dialler;
    struct broker_pool pool;
    struct pool_parts parts;
    struct catalog previous;
    struct workers workers;
} world;

static void changed(void *context)
{
    (void)context;
}

static void inspect(void *workers, uint32_t worker, uint32_t thread, struct process_view *view)
{
    (void)workers;
    (void)worker;
    (void)thread;
    *view = (struct process_view){.state = PROCESS_STOPPED};
}

static struct segment *tables(void)
{
    return &world.pool.owner.segment;
}

/* Connection `index` is open, and held by `worker`; with no socket: none is needed. */
static void lend(uint32_t index, uint32_t worker)
{
    struct broker_connection *connection = &world.pool.connections[index];

    connection_init(connection, &world.pool.owner, index);
    connection->generation = GENERATION;
    connection->state = CONNECTION_OPEN;
    world.pool.owner.open++;
    shm_store(connection_word(connection), word_make(WORD_LEASED, worker, GENERATION));
    shm_store(&tables()->connections[index].stalled, 1 + GENERATION);
}

/* Every connection is out, and every slot's command was taken for one of them. */
static void lend_all(enum mail_state state)
{
    for (uint32_t i = 0; i < world.pool.places; i++)
        lend(i, HOSTILE);
    for (uint32_t i = 0; i < tables()->slot_max; i++) {
        struct wait_slot *slot = &tables()->slots[i];

        if (i >= tables()->worker_max)
            shm_store32(&slot->owner, 1 + HOSTILE);
        shm_store32(&slot->taker, 1 + HOSTILE);
        shm_store(&slot->mail,
                  mail_with(mail_taken(mail_next(0), i % world.pool.places, GENERATION, 1), state));
    }
}

static int setup(void **state)
{
    struct broker_pool *pool = &world.pool;
    int fd;

    (void)state;
    memset(&world, 0, sizeof world);
    world.config = (struct pool_config){.size = LENDIS_MAX_CONNECTIONS - LENDIS_SPARE_PLACES,
                                        .stall_timeout_ms = MAIL_STALL_LEAST_MS};
    snprintf(world.config.name, sizeof world.config.name, "p");
    assert_int_equal(catalog_new(1, LENDIS_MAX_WORKERS, &fd, &world.catalog), 0);
    close(fd);
    world.environment = (struct pool_environment){.catalog = &world.catalog,
                                                  .worker_max = LENDIS_MAX_WORKERS,
                                                  .changed = changed,
                                                  .inspect = inspect};
    assert_true(sd_event_new(&world.environment.event) >= 0);
    *pool = (struct broker_pool){.config = &world.config,
                                 .environment = &world.environment,
                                 .places = LENDIS_MAX_CONNECTIONS,
                                 .room = LENDIS_MAX_CONNECTIONS,
                                 .parts = &world.parts,
                                 .doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    pool->parts->health.holding = true; /* dials nothing */
    pool->owner.event = world.environment.event;
    pool->owner.dialler = &world.dialler;
    pool->owner.catalog = &world.catalog.pools[0];
    pool->owner.store = &world.store;
    pool->connections = calloc(pool->room, sizeof *pool->connections);
    assert_non_null(pool->connections);
    assert_int_equal(revocation_start(pool), 0);
    assert_int_equal(members_start(pool), 0);
    memset(pool->parts->members.attached.bits, 0xff, LENDIS_MAX_WORKERS / 8);
    pool->parts->members.attached.count = LENDIS_MAX_WORKERS;
    assert_int_equal(segment_new(0, 1, pool->room, LENDIS_MAX_WORKERS, &fd, tables()), 0);
    close(fd);
    assert_int_equal(passing_start(pool), 0);
    assert_int_equal(stalled_start(pool), 0);
    assert_int_equal(scan_start(pool), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scan_stop(&world.pool);
    stalled_stop(&world.pool);
    passing_stop(&world.pool);
    sd_event_unref(world.environment.event);
    segment_unmap(tables());
    catalog_unmap(&world.catalog);
    free(world.pool.connections);
    revocation_stop(&world.pool);
    members_stop(&world.pool);
    close(world.pool.doorbell);
    return 0;
}

/* So many steps are one pass over everything. */
static uint64_t pass(void)
{
    return world.pool.places + tables()->slot_max + tables()->cell_count;
}

/* What was deferred is of the same wake-up. */
static void finish(void)
{
    assert_int_not_equal(world.parts.deferred.work, 0);
    assert_true(sd_event_run(world.environment.event, 0) > 0);
    assert_int_equal(world.parts.deferred.work, 0);
}

static void inspect_all(void)
{
    deferred_want(&world.pool, DEFERRED_INSPECT);
    finish();
}

static void assert_within_budget(const char *what)
{
    print_message("# %s: %ju steps, %ju are a pass over all tables\n", what, (uintmax_t)steps,
                  (uintmax_t)pass());
    assert_true(steps <= PASSES * pass());
    steps = 0;
}

static void a_scan_of_all_words(void **state)
{
    (void)state;
    lend_all(MAIL_TAKEN);
    steps = 0;
    inspect_all();
    assert_within_budget("a scan of all words, all combiners reported");
}

/* One scan after the other, until all stopped combiners have lost their connections. */
static void combiners_that_stopped(void **state)
{
    uint32_t scans = 0;

    (void)state;
    lend_all(MAIL_TAKEN);
    inspect_all();
    while (world.pool.owner.open > 0 && scans++ < 1000) {
        steps = 0;
        assert_true(sd_event_run(world.environment.event, UINT64_C(2000000)) > 0);
        assert_true(steps <= PASSES * pass());
    }
    assert_int_equal(world.pool.owner.open, 0);
}

static void an_operator_takes_all(void **state)
{
    (void)state;
    lend_all(MAIL_TAKEN);
    steps = 0;
    assert_int_equal(pause_kill(&world.pool, PAUSE_ANY, PAUSE_ANY), world.pool.places);
    finish();
    assert_within_budget("lendisctl kill of all");
}

static void one_dies_that_held_all(void **state)
{
    (void)state;
    lend_all(MAIL_TAKEN);
    steps = 0;
    assert_int_equal(broker_pool_reclaim(&world.pool, HOSTILE, NULL), world.pool.places);
    finish();
    assert_within_budget("a death, everything was taken");
}

static void one_dies_to_whom_all_was_abandoned(void **state)
{
    (void)state;
    lend_all(MAIL_ABANDONED);
    steps = 0;
    broker_pool_reclaim(&world.pool, HOSTILE, NULL);
    finish();
    assert_within_budget("a death, everything was abandoned");
}

/* More than any process has: see proc(5), pid_max. */
#define NO_PROCESS (UINT32_C(1) << 22)

/* The catalog of a broker that had all places taken, by processes that are gone. */
static void leave_the_dead(void)
{
    int fd;

    assert_int_equal(catalog_new(1, LENDIS_MAX_WORKERS, &fd, &world.previous), 0);
    close(fd);
    snprintf(world.previous.pools[0].name, sizeof world.previous.pools[0].name, "p");
    for (uint32_t i = 0; i < LENDIS_MAX_WORKERS; i++)
        world.previous.workers[i] =
            (struct catalog_worker){.pool = 1, .pid = NO_PROCESS + 1, .tenant = 1 + i};
}

/* A host where everything died, the broker as well; each connection was another worker's. */
static void all_died_with_the_broker(void **state)
{
    uint64_t most = 0;
    uint32_t turns = 0;

    (void)state;
    lend_all(MAIL_TAKEN);
    for (uint32_t i = 0; i < world.pool.places; i++)
        shm_store(&tables()->connections[i].word, word_make(WORD_LEASED, i * 16, GENERATION));
    leave_the_dead();
    world.pool.adopted = true;
    assert_int_equal(
        workers_init(&world.workers, world.environment.event, &world.catalog, -1, &world.pool, 1),
        0);
    steps = 0;
    workers_adopt(&world.workers, &world.previous);
    assert_within_budget("a broker starts, all workers are dead");
    assert_int_equal(workers_count(&world.workers), LENDIS_MAX_WORKERS);
    /* A departure, and what was deferred by it. */
    while ((workers_count(&world.workers) > 0 || world.pool.owner.open > 0) &&
           turns++ < 4 * LENDIS_MAX_WORKERS) {
        steps = 0;
        assert_true(sd_event_run(world.environment.event, UINT64_C(2000000)) > 0);
        most = steps > most ? steps : most;
    }
    steps = most;
    assert_within_budget("the most that a wake-up took until all had departed");
    assert_int_equal(workers_count(&world.workers), 0);
    assert_int_equal(world.pool.owner.open, 0);
    workers_free(&world.workers);
    catalog_unmap(&world.previous);
}

/* Head is far behind, and whoever is found there leaves at once. */
static void a_queue_that_makes_no_sense(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < world.pool.places; i++) {
        lend(i, HOSTILE);
        shm_store(&tables()->connections[i].word, word_make(WORD_IDLE, 0, GENERATION));
    }
    for (uint32_t i = 0; i < tables()->cell_count; i++)
        shm_store(&tables()->cells[i], i % 32 == 31
                                           ? cell_make(CELL_WAITING, i % LENDIS_MAX_WORKERS, 0)
                                           : cell_make(CELL_FREE, 0, 1000));
    shm_store(&tables()->queue->tail, 1);
    steps = 0;
    queue_match(tables(), LENDIS_BROKER);
    assert_within_budget("a corrupted queue, and all idle");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_scan_of_all_words),
        TEST(combiners_that_stopped),
        TEST(an_operator_takes_all),
        TEST(one_dies_that_held_all),
        TEST(one_dies_to_whom_all_was_abandoned),
        TEST(all_died_with_the_broker),
        TEST(a_queue_that_makes_no_sense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
