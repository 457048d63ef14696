/* SPDX-License-Identifier: MIT */
/*
 * Handing commands over, between processes: the order of commands and leases, a combiner that is
 * stopped while nobody waits for what it has, what a limit that passes means, and that small
 * commands take no memory.
 *
 * Nothing here depends on time but limits: orders are told by Redis, which numbers what it
 * executes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/mailbox.h"
#include "tests/support/fixture.h"

/* Far longer than anything takes. */
#define LIMIT_MS 10000

static struct fixture fixture;

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void start(const char *settings)
{
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n%s",
                  fixture.redis.unix_url, settings);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
}

/* ---- workers that do one thing when they are told to ---- */

enum kind { READ, PUSH, PUSH_ON_LEASE };

struct pending {
    enum kind kind;
    int limit_ms; /* -1: the pool's */
    atomic_bool go;
    atomic_bool done;
    int result;
};

static int read_within(struct lendis_pool *pool, int limit_ms)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    void *reply = NULL;
    size_t size;
    int result = lendis_exec(pool, get, sizeof get - 1, limit_ms, &reply, &size);

    if (result == 0 && (size != 7 || memcmp(reply, "$1\r\nv\r\n", 7) != 0))
        result = -EBADMSG;
    lendis_free(reply);
    return result;
}

static int push(struct lendis_pool *pool, unsigned number)
{
    redisReply *reply = lendis_command(pool, "RPUSH order %u", number);
    int result = reply ? 0 : lendis_pool_error(pool, NULL);

    if (reply)
        freeReplyObject(reply);
    return result;
}

static int push_on_lease(struct lendis_pool *pool, unsigned number)
{
    struct lendis_lease *lease;
    redisReply *reply;
    int result = lendis_acquire(pool, -1, &lease);

    if (result != 0)
        return result;
    reply = lendis_lease_command(lease, "RPUSH order %u", number);
    if (!reply)
        result = lendis_pool_error(pool, NULL);
    else
        freeReplyObject(reply);
    return lendis_release(lease) != 0 ? -EIO : result;
}

static int run_pending(struct processes *processes, unsigned number)
{
    struct pending *pending = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");

    processes_ready(processes);
    while (!atomic_load(&pending->go))
        sleep_us(200);
    if (pending->kind == READ)
        pending->result = read_within(pool, pending->limit_ms);
    else if (pending->kind == PUSH)
        pending->result = push(pool, number);
    else
        pending->result = push_on_lease(pool, number);
    atomic_store(&pending->done, true);
    while (!processes_stopping(processes))
        sleep_us(1000);
    lendis_detach(pool);
    return 0;
}

static struct pending *pending_of(unsigned number)
{
    return processes_result(&fixture.processes, number);
}

static unsigned waiting(void)
{
    struct word_count count;

    observe_words(&fixture.observer, &count);
    return count.waiting;
}

/* Sends worker `number` on its way, until it is the last of `place` in the queue. */
static void queue_up(unsigned number, enum kind kind, int limit_ms, unsigned place)
{
    struct pending *pending = pending_of(number);

    pending->kind = kind;
    pending->limit_ms = limit_ms;
    atomic_store(&pending->go, true);
    assert_true(eventually(waiting() == place, LIMIT_MS));
}

static void expect_result(unsigned number, int result)
{
    struct pending *pending = pending_of(number);

    assert_true(eventually(atomic_load(&pending->done), LIMIT_MS));
    if (pending->result != result)
        fail_msg("worker %u: %s instead of %s", number, lendis_strerror(pending->result),
                 lendis_strerror(result));
}

static struct lendis_lease *hold(struct lendis_pool *pool)
{
    struct lendis_lease *lease;

    assert_int_equal(lendis_acquire(pool, LIMIT_MS, &lease), 0);
    return lease;
}

/* ---- one order ---- */

#define ORDER_MAX 24u

/* Commands and leases queue up one after the other; Redis executes them in that order. */
static void expect_order(const char *kinds)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    unsigned count = (unsigned)strlen(kinds);
    struct lendis_lease *lease = hold(pool);
    redisReply *order;

    freeReplyObject(redis_do(&fixture.redis, "DEL order"));
    processes_start(&fixture.processes, count, sizeof(struct pending), run_pending, NULL);
    processes_go(&fixture.processes);
    for (unsigned i = 0; i < count; i++)
        queue_up(i, kinds[i] == 'c' ? PUSH : PUSH_ON_LEASE, -1, i + 1);
    assert_int_equal(lendis_release(lease), 0);
    for (unsigned i = 0; i < count; i++)
        expect_result(i, 0);
    order = redis_do(&fixture.redis, "LRANGE order 0 -1");
    assert_int_equal(order->elements, count);
    for (unsigned i = 0; i < count; i++)
        if ((unsigned)atoi(order->element[i]->str) != i)
            fail_msg("%s: number %u was executed as number %s", kinds, i, order->element[i]->str);
    freeReplyObject(order);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    processes_end(&fixture.processes);
    lendis_detach(pool);
}

static void commands_and_leases_have_one_order(void **state)
{
    uint64_t random = 7;

    (void)state;
    start("");
    expect_order("clclclclclcl");
    expect_order("lcccccccccccl");
    expect_order("cllllllc");
    expect_order("llccllccccll");
    for (unsigned round = 0; round < 4; round++) {
        char kinds[ORDER_MAX + 1] = "";

        for (unsigned i = 0; i < ORDER_MAX; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            kinds[i] = random >> 60 & 1 ? 'c' : 'l';
        }
        expect_order(kinds);
    }
}

/* ---- nobody starves ---- */

#define MIXED_WORKERS 16u
#define MIXED_RING    4096u
#define MIXED_SAMPLES 200u /* of each kind */

/* What Redis' counter said to each of a worker's commands: when it was executed. */
struct mixed {
    atomic_ulong served;
    atomic_ulong when[MIXED_RING];
    atomic_bool failed;
};

static bool takes_leases(unsigned number)
{
    return number % 2 == 1;
}

static int run_mixed(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct mixed *mixed = processes_result(processes, number);

    processes_ready(processes);
    while (!processes_stopping(processes)) {
        unsigned long turn = atomic_load(&mixed->served) + 1;
        struct lendis_lease *lease = NULL;
        redisReply *reply = NULL;

        if (!takes_leases(number))
            reply = lendis_command(pool, "INCR sequence");
        else if (lendis_acquire(pool, -1, &lease) == 0)
            reply = lendis_lease_command(lease, "INCR sequence");
        if (!reply || reply->type != REDIS_REPLY_INTEGER)
            atomic_store(&mixed->failed, true);
        else
            atomic_store(&mixed->when[turn % MIXED_RING], (unsigned long)reply->integer);
        if (reply)
            freeReplyObject(reply);
        if (lease && lendis_release(lease) != 0)
            atomic_store(&mixed->failed, true);
        atomic_store(&mixed->served, turn);
    }
    lendis_detach(pool);
    return 0;
}

static bool is_queued(uint32_t slot)
{
    const struct segment *segment = &fixture.observer.segment;

    for (uint32_t i = 0; i < segment->cell_count; i++) {
        uint64_t cell = shm_load_relaxed(&segment->cells[i]);

        if (cell_state(cell) != CELL_FREE && cell_slot(cell) == slot)
            return true;
    }
    return false;
}

static unsigned long sequence(redisContext *redis)
{
    redisReply *reply = redisCommand(redis, "GET sequence");
    unsigned long value;

    assert_non_null(reply);
    value = reply->str ? strtoul(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    return value;
}

/*
 * Sees worker `number` in the queue and counts what Redis executes from then on until it is served.
 * Of each other worker that is at most one: what it sends after that is behind. -1: not seen.
 */
static long overtaken(redisContext *redis, unsigned number, uint32_t slot)
{
    struct mixed *mixed = processes_result(&fixture.processes, number);
    unsigned long served = atomic_load(&mixed->served), before, when;

    if (!is_queued(slot))
        return -1;
    before = sequence(redis);
    /* What we saw is its next one, and Redis was asked while that had not been answered. */
    if (atomic_load(&mixed->served) != served)
        return -1;
    assert_true(eventually(atomic_load(&mixed->served) > served, LIMIT_MS));
    when = atomic_load(&mixed->when[(served + 1) % MIXED_RING]);
    assert_true(atomic_load(&mixed->served) < served + MIXED_RING);
    return when > before ? (long)(when - before - 1) : -1;
}

static void neither_commands_nor_leases_starve(void **state)
{
    redisContext *redis;
    uint32_t slots[MIXED_WORKERS];
    unsigned samples[2] = {0};
    long worst[2] = {0};
    int64_t limit_ms;

    (void)state;
    start("");
    redis = redis_open(&fixture.redis);
    processes_start(&fixture.processes, MIXED_WORKERS, sizeof(struct mixed), run_mixed, NULL);
    processes_go(&fixture.processes);
    for (unsigned i = 0; i < MIXED_WORKERS; i++)
        slots[i] = (uint32_t)worker_of(&fixture.observer, fixture.processes.pids[i]);
    limit_ms = now_ms() + 6 * LIMIT_MS;
    for (unsigned i = 0; samples[0] < MIXED_SAMPLES || samples[1] < MIXED_SAMPLES; i++) {
        unsigned number = i % MIXED_WORKERS;
        long count = overtaken(redis, number, slots[number]);

        if (now_ms() > limit_ms)
            fail_msg("only %u commands and %u leases were seen waiting", samples[0], samples[1]);
        if (count < 0)
            continue;
        samples[takes_leases(number)]++;
        if (count > worst[takes_leases(number)])
            worst[takes_leases(number)] = count;
    }
    print_message("# of %u others, at most %ld were before a command, %ld before a lease\n",
                  MIXED_WORKERS - 1, worst[0], worst[1]);
    assert_true(worst[0] < MIXED_WORKERS && worst[1] < MIXED_WORKERS);
    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, LIMIT_MS));
    for (unsigned i = 0; i < MIXED_WORKERS; i++)
        assert_false(((struct mixed *)processes_result(&fixture.processes, i))->failed);
    assert_true(pool_counter(&fixture.observer, COUNTER_handed) > 0);
    redisFree(redis);
}

/* ---- a combiner that stops ---- */

enum { COMBINER, OWNER, LATER };

static enum mail_state mail_of(unsigned number)
{
    int slot = worker_of(&fixture.observer, fixture.processes.pids[number]);

    assert_true(slot >= 0);
    return mail_state(shm_load_relaxed(&fixture.observer.segment.slots[slot].mail));
}

/* Of three workers, the first has the second's command, sent, and is stopped, and so is Redis. */
static void stop_a_combiner(int limit_ms)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct lendis_lease *lease = hold(pool);
    int status;

    freeReplyObject(redis_do(&fixture.redis, "SET k v"));
    processes_start(&fixture.processes, 3, sizeof(struct pending), run_pending, NULL);
    processes_go(&fixture.processes);
    queue_up(COMBINER, READ, -1, 1);
    queue_up(OWNER, READ, limit_ms, 2);
    redis_pause(&fixture.redis);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(mail_of(OWNER) == MAIL_TAKEN, LIMIT_MS));
    processes_signal(&fixture.processes, COMBINER, SIGSTOP);
    assert_int_equal(waitpid(fixture.processes.pids[COMBINER], &status, WUNTRACED),
                     fixture.processes.pids[COMBINER]);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(mail_of(OWNER), MAIL_TAKEN);
    lendis_detach(pool);
}

/* With nobody waiting for what it has taken, its connection is taken from it all the same. */
static void expect_found(void)
{
    struct catalog_pool pool;

    redis_continue(&fixture.redis);
    pending_of(LATER)->limit_ms = -1;
    atomic_store(&pending_of(LATER)->go, true);
    expect_result(LATER, 0);
    observe_pool(&fixture.observer, &pool);
    assert_int_equal(atomic_load(&pool.revoked[REVOKE_stalled]), 1);
    processes_signal(&fixture.processes, COMBINER, SIGCONT);
    expect_result(COMBINER, 0); /* a read: sent again */
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
}

static void stopped_combiner_is_found_when_the_owner_gave_up(void **state)
{
    (void)state;
    start("stall_timeout = 600ms\n");
    stop_a_combiner(300);
    expect_result(OWNER, LENDIS_E_TIMEOUT);
    expect_found();
}

static void stopped_combiner_is_found_when_the_owner_died(void **state)
{
    (void)state;
    start("stall_timeout = 600ms\n");
    stop_a_combiner(-1);
    processes_signal(&fixture.processes, OWNER, SIGKILL);
    assert_true(processes_wait_one(&fixture.processes, OWNER, LIMIT_MS) != -1);
    expect_found();
}

/* Timeouts of others' commands do not make a lease, whose holder serves nobody, look stopped. */
static void a_long_lease_is_not_taken_for_stopped(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    struct catalog_pool entry;

    (void)state;
    start("stall_timeout = 600ms\n");
    stop_a_combiner(200);
    expect_result(OWNER, LENDIS_E_TIMEOUT);
    /* It goes on in time, and the next one keeps the connection for longer than a combiner may. */
    redis_continue(&fixture.redis);
    processes_signal(&fixture.processes, COMBINER, SIGCONT);
    expect_result(COMBINER, 0);
    pool = pool_attach(&fixture.broker, "p");
    lease = hold(pool);
    sleep_us(1500000);
    assert_int_equal(lendis_release(lease), 0);
    observe_pool(&fixture.observer, &entry);
    assert_int_equal(CATALOG_SUM(entry.revoked), 0);
    lendis_detach(pool);
}

/* ---- limits ---- */

static int exec_text(struct lendis_pool *pool, const char *request, int limit_ms)
{
    void *reply = NULL;
    size_t size;
    int result = lendis_exec(pool, request, strlen(request), limit_ms, &reply, &size);

    lendis_free(reply);
    return result;
}

/* Half of the reply came: a read did no harm, of a write nobody knows. */
static void limits_that_pass_in_the_middle_of_a_reply(void **state)
{
    struct lendis_pool *pool;

    (void)state;
    fake_start(&fixture.fake, FAKE_STALL);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nsize = 1\nmin_idle = 1\n",
                  fixture.fake.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    pool = pool_attach(&fixture.broker, "p");
    assert_int_equal(exec_text(pool, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", 100), LENDIS_E_TIMEOUT);
    assert_true(pool_fills(&fixture.observer, 1, LIMIT_MS));
    assert_int_equal(exec_text(pool, "*2\r\n$4\r\nINCR\r\n$3\r\nkey\r\n", 100), LENDIS_E_UNCERTAIN);
    lendis_detach(pool);
}

/* ---- memory ---- */

static int run_small(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    struct tally *tally = processes_result(processes, number);

    processes_ready(processes);
    for (unsigned long turn = 0; turn < 600; turn++)
        talk(pool, tally, number, turn);
    lendis_detach(pool);
    return 0;
}

/* Pages of the mailboxes that take memory: mincore(2). */
static unsigned mailbox_pages(void)
{
    const struct segment *segment = &fixture.observer.segment;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = segment->slot_max * sizeof(struct mailbox);
    uintptr_t from = (uintptr_t)segment->all_mailboxes / page * page;
    size_t count = ((uintptr_t)segment->all_mailboxes + size - from + page - 1) / page;
    unsigned char *resident = malloc(count);
    unsigned pages = 0;

    assert_non_null(resident);
    assert_int_equal(mincore((void *)from, count * page, resident), 0);
    /* The first and the last one have neighbours. */
    for (size_t i = 1; i + 1 < count; i++)
        pages += resident[i] & 1;
    free(resident);
    return pages;
}

static void small_commands_leave_the_mailboxes_alone(void **state)
{
    struct lendis_pool *pool;
    struct lendis_lease *lease;
    struct tally sum;
    char value[1024];

    (void)state;
    start("");
    processes_start(&fixture.processes, 40, sizeof(struct tally), run_small, NULL);
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 6 * LIMIT_MS));
    tally_processes(&fixture.processes, &sum);
    assert_int_equal(sum.good, 40 * 600);
    assert_true(pool_counter(&fixture.observer, COUNTER_handed) > 1000);
    assert_int_equal(mailbox_pages(), 0);
    processes_end(&fixture.processes);

    /* A larger one that is handed over takes its page, two if pages are not aligned with it. */
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    freeReplyObject(redis_do(&fixture.redis, "SET k %s", value));
    pool = pool_attach(&fixture.broker, "p");
    lease = hold(pool);
    processes_start(&fixture.processes, 2, sizeof(struct pending), run_pending, NULL);
    processes_go(&fixture.processes);
    queue_up(0, READ, -1, 1);
    queue_up(1, READ, -1, 2);
    assert_int_equal(lendis_release(lease), 0);
    expect_result(0, -EBADMSG); /* it is not "v" */
    expect_result(1, -EBADMSG);
    assert_in_range(mailbox_pages(), 1, 2);
    lendis_detach(pool);
}

/* ---- mailboxes that cannot be mapped ---- */

#define LARGE_TURNS 300

/* No more addresses: what it has is enough for all but mailboxes. */
static bool forbid_mappings(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) != 0)
        return false;
    limit.rlim_cur = 0;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

/* Those of odd numbers can map none. Their own commands are small, so they get
 * connections as combiners, and find the others' large ones in the queue. */
static int run_large(struct processes *processes, unsigned number)
{
    struct tally *tally = processes_result(processes, number);
    struct lendis_pool *pool = pool_attach(&fixture.broker, "p");
    char value[1024];

    if (number % 2 && !forbid_mappings())
        return 1;
    memset(value, 'v', sizeof value - 1);
    value[number % 2 ? 40 : sizeof value - 1] = '\0';
    processes_ready(processes);
    for (unsigned turn = 0; turn < LARGE_TURNS; turn++) {
        redisReply *reply;

        value[snprintf(value, 32, "%02u:%04u", number, turn)] = ':';
        reply = lendis_command(pool, "ECHO %s", value);
        if (reply && strcmp(reply->str, value) == 0)
            atomic_fetch_add(&tally->good, 1);
        else
            atomic_fetch_add(reply ? &tally->wrong : &tally->other, 1);
        if (reply)
            freeReplyObject(reply);
    }
    lendis_detach(pool);
    return 0;
}

static void who_cannot_map_mailboxes_is_served_and_serves(void **state)
{
    struct tally sum;

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* sanitizers map memory all the time */
#endif
    start("");
    processes_start(&fixture.processes, 12, sizeof(struct tally), run_large, NULL);
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 6 * LIMIT_MS));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    tally_processes(&fixture.processes, &sum);
    assert_int_equal(sum.wrong, 0);
    assert_int_equal(sum.good, 12 * LARGE_TURNS);
    assert_true(pool_counter(&fixture.observer, COUNTER_handed) > 100);
    assert_int_equal(chunks_in_use(&fixture.observer), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(commands_and_leases_have_one_order),
        TEST(neither_commands_nor_leases_starve),
        TEST(stopped_combiner_is_found_when_the_owner_gave_up),
        TEST(stopped_combiner_is_found_when_the_owner_died),
        TEST(a_long_lease_is_not_taken_for_stopped),
        TEST(limits_that_pass_in_the_middle_of_a_reply),
        TEST(small_commands_leave_the_mailboxes_alone),
        TEST(who_cannot_map_mailboxes_is_served_and_serves),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
