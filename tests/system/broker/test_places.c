/* SPDX-License-Identifier: MIT */
/*
 * A worker's place is its own as long as its process lives (broker/workers/worker.h): what happens
 * to those who lose their socket to the broker, who were refused by the next one, and to the
 * answers that came too late.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "lendis_hiredis.h"
#include "lendis/queue.h"
#include "tests/support/fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER true /* whose library has to be the first that is loaded */
#else
#define SANITIZER false
#endif

/* Longer than anything takes. */
#define LIMIT_MS 10000

/* What a worker does next; shared memory. */
enum order {
    ORDER_NONE,
    ORDER_ATTACH,
    ORDER_HANG_UP,
    ORDER_TALK,
    ORDER_HOLD,
    ORDER_RELEASE,
    ORDER_DETACH,
    ORDER_END
};

struct worker {
    atomic_int order;
    atomic_int done;   /* orders that were carried out */
    atomic_int result; /* of the last one */
    atomic_uint good, wrong;
    char sample[160];
};

static struct fixture fixture;

static struct worker *worker(unsigned number)
{
    return processes_result(&fixture.processes, number);
}

/* Ends the sockets to the broker, as a program does that closes all descriptors which it does not
 * know. */
static void hang_up(void)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_un peer;
        socklen_t size = sizeof peer;
        int type;
        socklen_t type_size = sizeof type;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_SEQPACKET &&
            getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
            strcmp(peer.sun_path, fixture.broker.socket_path) == 0)
            close(fd);
    }
}

/* In the middle of a call. */
static void on_signal(int number)
{
    (void)number;
    hang_up();
}

/* For a while: each reply has to be its own command's. */
static int talk_for_a_while(struct lendis_pool *pool, struct worker *self, unsigned number)
{
    int64_t until_ms = now_ms() + 700;

    for (unsigned turn = 0; now_ms() < until_ms; turn++) {
        char token[48];
        redisReply *reply;

        snprintf(token, sizeof token, "worker %u turn %u", number, turn);
        reply = lendis_command(pool, "ECHO %s", token);
        if (!reply)
            return lendis_pool_error(pool, NULL);
        if (reply->type == REDIS_REPLY_STRING && strcmp(reply->str, token) == 0)
            atomic_fetch_add(&self->good, 1);
        else if (atomic_fetch_add(&self->wrong, 1) == 0)
            snprintf(self->sample, sizeof self->sample, "asked for %s, got %.60s", token,
                     reply->str ? reply->str : "no text");
        freeReplyObject(reply);
    }
    return 0;
}

static int work(struct processes *of, unsigned number)
{
    struct worker *self = processes_result(of, number);
    struct lendis_lease *lease = NULL;
    struct lendis_pool *pool = NULL;
    int order, result;

    signal(SIGUSR1, on_signal);
    do {
        while ((order = atomic_exchange(&self->order, ORDER_NONE)) == ORDER_NONE)
            sleep_us(100);
        result = 0;
        if (order == ORDER_ATTACH)
            result = lendis_attach(fixture.broker.socket_path, "p", NULL, &pool);
        else if (order == ORDER_HANG_UP)
            hang_up();
        else if (order == ORDER_TALK)
            result = talk_for_a_while(pool, self, number);
        else if (order == ORDER_HOLD)
            result = lendis_acquire(pool, LIMIT_MS, &lease);
        else if (order == ORDER_RELEASE)
            result = lendis_release(lease);
        else if (order == ORDER_DETACH)
            lendis_detach(pool);
        atomic_store(&self->result, result);
        atomic_fetch_add(&self->done, 1);
    } while (order != ORDER_END);
    return 0;
}

static void begin_order(unsigned number, enum order order)
{
    atomic_store(&worker(number)->order, order);
}

static int end_order(unsigned number, int done)
{
    assert_true(eventually(atomic_load(&worker(number)->done) > done, LIMIT_MS));
    return atomic_load(&worker(number)->result);
}

/* Has it done, and returns what came of it. */
static int order(unsigned number, enum order what)
{
    int done = atomic_load(&worker(number)->done);

    begin_order(number, what);
    return end_order(number, done);
}

static void start_fixture(unsigned count, unsigned max_workers, const char *keys)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "max_workers = %u\n[pool p]\nredis = %s\n%s", max_workers,
                  fixture.redis.unix_url, keys);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    processes_start(&fixture.processes, count, sizeof(struct worker), work, NULL);
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static unsigned places_taken(void)
{
    return workers_attached(&fixture.observer);
}

/* Those whose process lives and who are not its workers any more. */
static unsigned resting(void)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < fixture.observer.catalog.worker_max; i++) {
        const struct catalog_worker *entry = &fixture.observer.catalog.workers[i];

        count += shm_load32(&entry->pool) != 0 && shm_load32(&entry->tenant) == 0;
    }
    return count;
}

/* ---- a socket that ends ---- */

/* One that lost its place works beside one who would have got it: nobody gets another's reply. */
static void nobody_gets_the_place_of_the_living(void **state)
{
    int done[5];

    (void)state;
    start_fixture(5, 7, "size = 1\n");
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(0, ORDER_TALK), 0);
    assert_int_equal(order(0, ORDER_HANG_UP), 0);
    assert_true(eventually(resting() == 1, LIMIT_MS));
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(order(i, ORDER_ATTACH), 0);
    assert_int_equal(places_taken(), 6);
    for (unsigned i = 0; i < 5; i++) {
        done[i] = atomic_load(&worker(i)->done);
        begin_order(i, ORDER_TALK);
    }
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(end_order(i, done[i]), 0);
        if (atomic_load(&worker(i)->wrong) > 0)
            fail_msg("worker %u: %s", i, worker(i)->sample);
        assert_true(atomic_load(&worker(i)->good) > 0);
    }
    /* It has its own place again. */
    assert_int_equal(resting(), 0);
    assert_int_equal(places_taken(), 6);
}

/* A full table is said to be so, and why; the place is free when its process is dead. */
static void a_place_rests_until_its_process_ends(void **state)
{
    (void)state;
    start_fixture(3, 3, "size = 2\n");
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(1, ORDER_ATTACH), 0);
    assert_int_equal(order(0, ORDER_HANG_UP), 0);
    assert_true(eventually(resting() == 1, LIMIT_MS));
    assert_int_equal(order(2, ORDER_ATTACH), LENDIS_E_BUSY);
    assert_true(lendisd_logged(&fixture.broker, "1 of them hung up"));
    processes_signal(&fixture.processes, 0, SIGKILL);
    assert_true(eventually(places_taken() == 2, LIMIT_MS));
    assert_int_equal(order(2, ORDER_ATTACH), 0);
    assert_int_equal(order(2, ORDER_TALK), 0);
}

/* Who says goodbye needs no place any more, though its process lives. */
static void a_goodbye_frees_the_place(void **state)
{
    (void)state;
    start_fixture(2, 2, "size = 2\n");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(order(i % 2, ORDER_ATTACH), 0);
        assert_int_equal(order(i % 2, ORDER_DETACH), 0);
        assert_true(eventually(places_taken() == 1, LIMIT_MS));
        assert_int_equal(resting(), 0);
    }
}

/* What it holds is taken from it at once, and it finds that out. */
static void the_expelled_lose_their_leases(void **state)
{
    (void)state;
    start_fixture(2, 4, "size = 1\n");
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(1, ORDER_ATTACH), 0);
    assert_int_equal(order(0, ORDER_HOLD), 0);
    assert_int_equal(order(0, ORDER_HANG_UP), 0);
    assert_int_equal(order(1, ORDER_HOLD), 0);
    assert_int_equal(order(0, ORDER_RELEASE), LENDIS_E_REVOKED);
    assert_int_equal(order(1, ORDER_RELEASE), 0);
    assert_int_equal(order(0, ORDER_TALK), 0);
    assert_int_equal(atomic_load(&worker(0)->wrong), 0);
}

/* One that waits when it is expelled does not wait in vain: it queues up again, as a worker
 * again. */
static void the_expelled_go_on_waiting(void **state)
{
    int done;

    (void)state;
    start_fixture(2, 4, "size = 1\n");
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(1, ORDER_ATTACH), 0);
    assert_int_equal(order(0, ORDER_HOLD), 0);
    done = atomic_load(&worker(1)->done);
    begin_order(1, ORDER_HOLD);
    assert_true(eventually(queue_maybe_waiting(&fixture.observer.segment), LIMIT_MS));
    processes_signal(&fixture.processes, 1, SIGUSR1);
    assert_int_equal(order(0, ORDER_RELEASE), 0);
    assert_int_equal(end_order(1, done), 0);
    assert_int_equal(order(1, ORDER_RELEASE), 0);
}

/* ---- a crowd ---- */

/* Slots of the table of descriptors, which never shrinks: proc(5), FDSize. */
static unsigned descriptor_table(pid_t pid)
{
    char path[64], line[256];
    unsigned size = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (size == 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "FDSize: %u", &size) != 1)
            size = 0;
    fclose(file);
    return size;
}

/*
 * 500 workers came at once to a host that was overloaded, and some were not served for half a
 * minute: the kernel let the broker wait whenever its table of descriptors grew (expand_fdtable()
 * in fs/file.c waits for all processors if there is another thread). It is as large as it gets
 * before the first worker comes.
 */
static void a_crowd_does_not_make_the_table_grow(void **state)
{
    struct lendis_pool *pools[40];
    unsigned size;

    (void)state;
    start_fixture(0, 300, "size = 2\n");
    size = descriptor_table(fixture.broker.pid);
    assert_true(size >= 2 * 300);
    for (int i = 0; i < 40; i++)
        pools[i] = pool_attach(&fixture.broker, "p");
    assert_int_equal(descriptor_table(fixture.broker.pid), size);
    for (int i = 0; i < 40; i++)
        lendis_detach(pools[i]);
}

/* ---- answers that come late ---- */

/* The broker stands still while a descriptor is fetched: the call goes without, the answer is
 * dropped when it comes, and the next one is not taken for it. */
static void a_late_answer_is_dropped(void **state)
{
    struct lendis_options hasty = {.size = sizeof hasty, .attach_timeout_ms = 100};
    struct lendis_lease *first, *second;
    struct lendis_pool *pool;
    redisReply *reply;
    int64_t id;

    (void)state;
    start_fixture(1, 4, "size = 2\nmin_idle = 2\n");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "p", &hasty, &pool), 0);
    assert_int_equal(kill(fixture.broker.pid, SIGSTOP), 0);
    assert_int_not_equal(lendis_acquire(pool, 300, &first), 0);
    assert_int_equal(kill(fixture.broker.pid, SIGCONT), 0);
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &first), 0);
    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &second), 0);
    assert_int_not_equal(lendis_lease_fd(first), lendis_lease_fd(second));
    reply = lendis_lease_command(first, "CLIENT ID");
    assert_non_null(reply);
    id = reply->integer;
    freeReplyObject(reply);
    reply = lendis_lease_command(second, "CLIENT ID");
    assert_non_null(reply);
    assert_true(reply->integer != id);
    freeReplyObject(reply);
    lendis_release(first);
    lendis_release(second);
    /* It is still the same worker: nobody hung up. */
    assert_int_equal(resting(), 0);
    assert_int_equal(places_taken(), 2);
    lendis_detach(pool);
}

/* ---- whose death cannot be seen ---- */

/*
 * The broker is in a PID namespace of its own, so a process outside has no number for it. Once it
 * has died, the next one cannot tell whether those who do not come back live: they are expelled
 * after a time, and after another one their place is given away. Both are minutes, in a broker that
 * is not made hasty.
 */
static void start_elsewhere(unsigned count, unsigned max_workers)
{
    static const char *arguments[] = {"--supervise", NULL};
    const char *probe[] = {"unshare", "--pid", "--fork", "true", NULL};
    char script[TESTBED_PATH_SIZE], output[256], timers[TESTBED_PATH_SIZE];
    FILE *file;

    if (SANITIZER || program_run(probe, output, sizeof output, LIMIT_MS) != 0)
        skip();
    scratch_path(script, "lendisd-elsewhere");
    snprintf(timers, sizeof timers, "%s", built_program("tests/support/hasty_timers.so"));
    file = fopen(script, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\nLD_PRELOAD=%s exec unshare --pid --fork --kill-child %s \"$@\"\n",
            timers, built_program("lendisd"));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(script, 0700), 0);
    assert_int_equal(setenv("LENDISD", script, 1), 0);
    fixture.broker.arguments = arguments;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "max_workers = %u\n[pool p]\nredis = %s\nsize = 1\n",
                  max_workers, fixture.redis.unix_url);
    processes_start(&fixture.processes, count, sizeof(struct worker), work, NULL);
}

static int end_elsewhere(void **state)
{
    unsetenv("LENDISD");
    return end(state);
}

/* The only child; 0: there is none. */
static pid_t child_of(pid_t parent)
{
    char path[64];
    pid_t child = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    file = parent > 0 ? fopen(path, "re") : NULL;
    if (file && fscanf(file, "%d", &child) != 1)
        child = 0;
    if (file)
        fclose(file);
    return child;
}

/* Below unshare(1) and the supervisor. */
static pid_t broker_elsewhere(void)
{
    return child_of(child_of(fixture.broker.pid));
}

static void replace_broker(void)
{
    pid_t before = broker_elsewhere();

    assert_true(before > 0);
    assert_int_equal(kill(before, SIGKILL), 0);
    assert_true(eventually(broker_elsewhere() > 0 && broker_elsewhere() != before, LIMIT_MS));
    assert_true(lendisd_logged(&fixture.broker, "workers of the previous broker; 0 of them"));
}

static const struct catalog_worker *entry_of(uint32_t index)
{
    return &fixture.observer.catalog.workers[index];
}

static bool rests(uint32_t index)
{
    return shm_load32(&entry_of(index)->pool) != 0 && shm_load32(&entry_of(index)->tenant) == 0;
}

static void expect_right(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (atomic_load(&worker(i)->wrong) > 0)
            fail_msg("worker %u: %s", i, worker(i)->sample);
}

/* It comes back while its place rests: nobody had it meanwhile, and it is a worker again. */
static void who_is_absent_for_long_finds_its_place(void **state)
{
    int done;

    (void)state;
    start_elsewhere(3, 3);
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(1, ORDER_ATTACH), 0);
    assert_int_equal(order(0, ORDER_TALK), 0);
    replace_broker();
    assert_int_equal(order(1, ORDER_TALK), 0);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(eventually(rests(0), LIMIT_MS));
    assert_int_equal(order(2, ORDER_ATTACH), LENDIS_E_BUSY);
    done = atomic_load(&worker(1)->done);
    begin_order(1, ORDER_TALK);
    assert_int_equal(order(0, ORDER_TALK), 0);
    assert_int_equal(end_order(1, done), 0);
    expect_right(3);
    assert_int_not_equal(shm_load32(&entry_of(0)->tenant), 0);
    assert_int_equal(places_taken(), 3);
}

/* It stands still in the middle of a call, for longer than its place rests: another one has that
 * now, and neither gets what is the other's. */
static void who_stands_still_for_too_long_gets_another_place(void **state)
{
    int done, continued, result;

    (void)state;
    start_elsewhere(4, 4);
    assert_int_equal(order(0, ORDER_ATTACH), 0);
    assert_int_equal(order(1, ORDER_ATTACH), 0);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_int_equal(order(1, ORDER_HOLD), 0);
    begin_order(0, ORDER_TALK);
    assert_true(eventually(queue_maybe_waiting(&fixture.observer.segment), LIMIT_MS));
    processes_signal(&fixture.processes, 0, SIGSTOP);
    observer_close(&fixture.observer);
    /* Its goodbye is heard before that. */
    assert_int_equal(order(3, ORDER_ATTACH), 0);
    assert_int_equal(order(3, ORDER_DETACH), 0);
    replace_broker();
    assert_int_equal(order(1, ORDER_RELEASE), 0);
    assert_int_equal(order(1, ORDER_TALK), 0);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_int_equal(order(3, ORDER_ATTACH), 0);
    assert_true(eventually(rests(0), LIMIT_MS));
    assert_int_equal(order(2, ORDER_ATTACH), LENDIS_E_BUSY);
    assert_true(eventually(order(2, ORDER_ATTACH) == 0, 3 * LIMIT_MS));
    assert_int_not_equal(shm_load32(&entry_of(0)->tenant), 0);
    done = atomic_load(&worker(2)->done);
    begin_order(2, ORDER_TALK);
    continued = atomic_load(&worker(0)->done);
    processes_signal(&fixture.processes, 0, SIGCONT);
    assert_int_equal(end_order(2, done), 0);
    result = end_order(0, continued);
    /* The table is full; or its command was sent for it, and the answer went with its place. */
    if (result != LENDIS_E_BUSY && result != LENDIS_E_TIMEOUT && result != LENDIS_E_UNCERTAIN)
        fail_msg("it ended with %d: %s", result, lendis_strerror(result));
    expect_right(4);
    assert_int_equal(order(3, ORDER_DETACH), 0);
    assert_true(eventually(order(0, ORDER_TALK) == 0, LIMIT_MS));
    expect_right(4);
}

/* ---- who is refused ---- */

/* The next broker does not want it: it does not go on with the connections of the one before. */
static void who_is_refused_lends_nothing(void **state)
{
    struct lendis_pool *pool;
    redisReply *reply = NULL;

    (void)state;
    start_fixture(1, 4, "size = 2\n");
    pool = pool_attach(&fixture.broker, "p");
    reply = lendis_command(pool, "PING");
    assert_non_null(reply);
    freeReplyObject(reply);
    lendisd_kill(&fixture.broker);
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\nsize = 2\nallow_users = nobody\n",
                      fixture.redis.unix_url);
    lendisd_launch(&fixture.broker, true);
    assert_true(eventually(
        !(reply = lendis_command(pool, "PING")) || (freeReplyObject(reply), false), LIMIT_MS));
    assert_int_equal(lendis_pool_error(pool, NULL), LENDIS_E_DENIED);
    lendis_detach(pool);
}

int main(int argc, char **argv)
{
#define TEST(test)      cmocka_unit_test_teardown(test, end)
#define ELSEWHERE(test) cmocka_unit_test_teardown(test, end_elsewhere)
    const struct CMUnitTest tests[] = {
        TEST(nobody_gets_the_place_of_the_living),
        TEST(a_place_rests_until_its_process_ends),
        TEST(a_goodbye_frees_the_place),
        TEST(the_expelled_lose_their_leases),
        TEST(the_expelled_go_on_waiting),
        TEST(a_late_answer_is_dropped),
        TEST(who_is_refused_lends_nothing),
        TEST(a_crowd_does_not_make_the_table_grow),
        ELSEWHERE(who_is_absent_for_long_finds_its_place),
        ELSEWHERE(who_stands_still_for_too_long_gets_another_place),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
