/* SPDX-License-Identifier: MIT */
/*
 * I5: no worker and no client can make the broker crash, loop, wait, leak, or harm another pool,
 * whatever it writes into its pool's memory, does to the descriptors that it was given, or says on
 * the broker's socket. The broker is the one with sanitizers, build/asan/lendisd, where there is
 * one; then its exit status and its log show it, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis/queue.h"
#include "lendis/wire.h"
#include "lendis_hiredis.h"
#include "tests/support/fixture.h"

#define GOOD_WORKERS    4
#define HOSTILE_WORKERS 3
#define CORRUPT_MS      5000

static struct fixture fixture;
static struct processes good; /* fixture.processes are the hostile ones */

static int choose_broker(void **state)
{
    const char *named = getenv("LENDISD");
    char path[4096];

    (void)state;
    snprintf(path, sizeof path, "%s", built_program("asan/lendisd"));
    if ((!named || !*named) && access(path, X_OK) == 0)
        setenv("LENDISD", path, 1);
    return 0;
}

static int start(void **state)
{
    (void)state;
    redis_start(&fixture.redis);
    lendisd_start(&fixture.broker,
                  "[pool good]\nredis = %s\nsize = 2\nmin_idle = 2\n"
                  "[pool bad]\nredis = %s\nsize = 8\nmin_idle = 2\n",
                  fixture.redis.unix_url, fixture.redis.unix_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "good");
    return 0;
}

static int end(void **state)
{
    (void)state;
    processes_end(&good);
    fixture_end(&fixture);
    return 0;
}

/* ---- the good pool ---- */

static void expect_good_pool_works(void)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "good");
    struct tally tally = {0};

    for (unsigned long turn = 0; turn < 30; turn++)
        talk(pool, &tally, 1000, turn);
    lendis_detach(pool);
    assert_int_equal(tally.good, 30);
}

static void expect_no_sanitizer_report(void)
{
    assert_false(lendisd_log_has(&fixture.broker, "AddressSanitizer"));
    assert_false(lendisd_log_has(&fixture.broker, "LeakSanitizer"));
    assert_false(lendisd_log_has(&fixture.broker, "runtime error:"));
}

/* It is alive, and ends as it ought to. */
static void expect_clean_end(void)
{
    assert_false(program_ended(fixture.broker.pid));
    expect_no_sanitizer_report();
    observer_close(&fixture.observer);
    assert_int_equal(lendisd_stop(&fixture.broker), 0);
    expect_no_sanitizer_report();
}

static int talk_until_stopped(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "good");
    struct tally *tally = processes_result(processes, number);

    processes_ready(processes);
    for (unsigned long turn = 0; !processes_stopping(processes); turn++)
        talk(pool, tally, number, turn);
    lendis_detach(pool);
    return 0;
}

/* ---- speaking to the broker without liblendis ---- */

static int ask(int socket, const void *request, void *answer, size_t size, int *fd)
{
    int result = wire_send(socket, request, -1);

    return result < 0 ? result : wire_receive(socket, answer, size, fd, 10000);
}

static int hello(int socket, const char *pool)
{
    struct wire_hello request = {0};
    struct wire_welcome answer;

    wire_header(&request.header, WIRE_HELLO, sizeof request);
    snprintf(request.pool, sizeof request.pool, "%s", pool);
    if (ask(socket, &request, &answer, sizeof answer, NULL) != (int)sizeof answer)
        return -EPROTO;
    return answer.result;
}

static struct wire_fetch fetch_request(uint32_t what, uint32_t index, uint64_t generation)
{
    struct wire_fetch request = {.what = what, .index = index, .generation = generation};

    wire_header(&request.header, WIRE_FETCH, sizeof request);
    return request;
}

/* Results: the broker's, and *fd; -EPROTO, it hung up. */
static int fetch(int socket, uint32_t what, uint32_t index, uint64_t generation, int *fd)
{
    struct wire_fetch request = fetch_request(what, index, generation);
    struct wire_descriptor answer;

    *fd = -1;
    if (ask(socket, &request, &answer, sizeof answer, fd) != (int)sizeof answer)
        return -EPROTO;
    return answer.result;
}

static int attached_client(const char *pool)
{
    int client = lendisd_connect(fixture.broker.socket_path);

    if (client < 0 || hello(client, pool) != 0)
        give_up("cannot attach to pool %s", pool);
    return client;
}

/* Has `body` done by a process of its own, so that its places are free when it is done. True: it
 * went well. */
static bool in_a_process(bool (*body)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(body() ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* ---- a worker that corrupts its segment ---- */

struct corrupter {
    int socket;
    int doorbell;
    struct segment segment;
    uint64_t random;
};

static uint64_t next_random(struct corrupter *corrupter)
{
    /* xorshift64*: Vigna, 2014. */
    corrupter->random ^= corrupter->random >> 12;
    corrupter->random ^= corrupter->random << 25;
    corrupter->random ^= corrupter->random >> 27;
    return corrupter->random * UINT64_C(2685821657736338717);
}

static void corrupt_everywhere(struct corrupter *corrupter)
{
    uint64_t *words = corrupter->segment.base;

    for (size_t i = 0; i < corrupter->segment.size / sizeof *words; i++)
        words[i] = next_random(corrupter);
}

static void corrupt_here_and_there(struct corrupter *corrupter)
{
    uint64_t *words = corrupter->segment.base;

    for (int i = 0; i < 1000; i++)
        words[next_random(corrupter) % (corrupter->segment.size / sizeof *words)] =
            next_random(corrupter);
}

/* Words that could be true: an owner that exists, this or the next generation. */
static void corrupt_words(struct corrupter *corrupter)
{
    const struct segment *segment = &corrupter->segment;

    for (uint32_t i = 0; i < segment->connection_max; i++) {
        uint64_t word = shm_load_relaxed(&segment->connections[i].word);

        shm_store_relaxed(&segment->connections[i].word,
                          word_make((enum word_state)(next_random(corrupter) % 16),
                                    (uint32_t)next_random(corrupter) % (segment->slot_max + 2),
                                    word_generation(word) + next_random(corrupter) % 3 - 1));
    }
}

static void corrupt_queue(struct corrupter *corrupter)
{
    const struct segment *segment = &corrupter->segment;
    uint64_t head = shm_load_relaxed(&segment->queue->head);
    static const uint64_t far[] = {0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX / 2, UINT64_C(1) << 40};

    shm_store_relaxed(&segment->queue->head, next_random(corrupter) % 2
                                                 ? head + next_random(corrupter) % 7
                                                 : far[next_random(corrupter) % 6]);
    shm_store_relaxed(&segment->queue->tail, next_random(corrupter) % 2
                                                 ? head + next_random(corrupter) % 200
                                                 : far[next_random(corrupter) % 6]);
}

/* Everybody waits, in laps around the present one. */
static void corrupt_cells(struct corrupter *corrupter)
{
    const struct segment *segment = &corrupter->segment;
    uint64_t lap = queue_lap(segment, shm_load_relaxed(&segment->queue->head));

    for (uint32_t i = 0; i < segment->cell_count; i++)
        shm_store_relaxed(&segment->cells[i],
                          cell_make((enum cell_state)(next_random(corrupter) % 4),
                                    (uint32_t)next_random(corrupter) % (segment->slot_max + 2),
                                    lap + next_random(corrupter) % 3 - 1));
}

static void corrupt_slots(struct corrupter *corrupter)
{
    const struct segment *segment = &corrupter->segment;
    uint64_t *words = (uint64_t *)segment->slots;

    for (size_t i = 0; i < segment->slot_max * sizeof(struct wait_slot) / sizeof *words; i++)
        words[i] =
            next_random(corrupter) % 3 ? next_random(corrupter) % 64 : next_random(corrupter);
}

static void corrupt_one_value(struct corrupter *corrupter)
{
    memset(corrupter->segment.base, next_random(corrupter) % 2 ? 0xff : 0, corrupter->segment.size);
}

static void ring_wildly(struct corrupter *corrupter)
{
    uint64_t value = next_random(corrupter) % 4 ? 1 : UINT64_MAX - 1;

    for (int i = 0; i < 20; i++)
        if (write(corrupter->doorbell, &value, sizeof value) < 0)
            break;
}

/* Asks for connections that it may or may not have, and corrupts them. */
static void fetch_wildly(struct corrupter *corrupter)
{
    const struct segment *segment = &corrupter->segment;
    uint32_t index = (uint32_t)next_random(corrupter) % 16; /* its places, and some beyond */
    uint64_t word =
        index < segment->connection_max ? shm_load_relaxed(&segment->connections[index].word) : 0;
    int fd;

    if (corrupter->socket < 0 ||
        fetch(corrupter->socket, WIRE_CONNECTION, index, word_generation(word), &fd) != 0)
        return;
    if (send(fd, "*9\r\n$", 5, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        shutdown(fd, SHUT_RDWR);
    close(fd);
}

static int corrupt(struct processes *processes, unsigned number)
{
    static void (*const ways[])(struct corrupter *) = {
        corrupt_everywhere,     corrupt_words, corrupt_cells,     corrupt_queue, corrupt_slots,
        corrupt_here_and_there, corrupt_words, corrupt_one_value, corrupt_queue, corrupt_cells,
    };
    struct corrupter corrupter = {.socket = attached_client("bad"),
                                  .random = 88172645463325252u + number};
    atomic_ulong *rounds = processes_result(processes, number);
    int fd;

    if (fetch(corrupter.socket, WIRE_SEGMENT, 0, 0, &fd) != 0 ||
        segment_map(fd, true, &corrupter.segment) != 0 ||
        fetch(corrupter.socket, WIRE_DOORBELL, 0, 0, &corrupter.doorbell) != 0)
        return 1;
    processes_ready(processes);
    for (unsigned long round = 0; !processes_stopping(processes); round++) {
        ways[round / 50 % (sizeof ways / sizeof *ways)](&corrupter);
        ring_wildly(&corrupter);
        if (round % 10 == number)
            fetch_wildly(&corrupter);
        atomic_store(rounds, round);
    }
    /* Some leave in good order, some die. */
    if (number % 2 == 0)
        raise(SIGKILL);
    return 0;
}

/* A good worker's place in the bad pool: whatever happens to it there, it must come back. */
static int64_t attach_ns(void)
{
    int64_t before_ns = now_ns();
    struct lendis_pool *pool = pool_attach(&fixture.broker, "good");
    int64_t took_ns = now_ns() - before_ns;

    lendis_detach(pool);
    return took_ns;
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void expect_prompt_attaches(int64_t until_ms)
{
    static int64_t took_ns[10000];
    size_t count = 0;

    do {
        took_ns[count++] = attach_ns();
        sleep_us(10000);
    } while (now_ms() < until_ms && count < 10000);
    qsort(took_ns, count, sizeof *took_ns, compare);
    fprintf(stderr, "%zu attaches: median %lld us, 9 of 10 below %lld us, worst %lld us\n", count,
            (long long)took_ns[count / 2] / 1000, (long long)took_ns[count * 9 / 10] / 1000,
            (long long)took_ns[count - 1] / 1000);
    assert_true(took_ns[count / 2] < 100000000);
    assert_true(took_ns[count - 1] < 2000000000);
}

static void corruption_reaches_no_other_pool(void **state)
{
    struct tally tally;
    unsigned long rounds = 0;

    (void)state;
    processes_start(&good, GOOD_WORKERS, sizeof tally, talk_until_stopped, NULL);
    processes_go(&good);
    processes_start(&fixture.processes, HOSTILE_WORKERS, sizeof(atomic_ulong), corrupt, NULL);
    processes_go(&fixture.processes);
    expect_prompt_attaches(now_ms() + CORRUPT_MS);

    processes_stop(&good);
    assert_true(processes_wait(&good, 20000));
    assert_int_equal(processes_failures(&good), 0);
    tally_processes(&good, &tally);
    tally_print("the good pool", &tally);
    assert_int_equal(tally_failed(&tally) + tally.wrong + tally.missing, 0);
    assert_true(tally.good > 1000);
    assert_true(tally.worst_us < 2000000);

    processes_stop(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    for (unsigned i = 0; i < HOSTILE_WORKERS; i++)
        rounds += atomic_load((atomic_ulong *)processes_result(&fixture.processes, i));
    fprintf(stderr, "%lu rounds of corruption\n", rounds);
    assert_true(rounds > 100);
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 10000));
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    expect_good_pool_works();
    /* Nor does the broker keep busy when they are gone. */
    assert_true(eventually(process_cpu_ms(fixture.broker.pid, 500) <= 50, 10000));
    expect_clean_end();
}

/* ---- what can be done with the descriptors ---- */

/* The catalog cannot be changed, and neither can the size of a segment: the broker would get SIGBUS
 * (mmap(2)). */
static void memory_is_sealed(void **state)
{
    int client = attached_client("bad"), catalog, segment, again;
    char path[64];

    (void)state;
    assert_int_equal(fetch(client, WIRE_CATALOG, 0, 0, &catalog), 0);
    assert_int_equal(fetch(client, WIRE_SEGMENT, 0, 0, &segment), 0);
    assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, catalog, 0) == MAP_FAILED);
    assert_true(pwrite(catalog, "x", 1, 0) < 0);
    assert_true(ftruncate(catalog, 0) < 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", catalog);
    again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        assert_true(pwrite(again, "x", 1, 0) < 0);
        assert_true(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
        assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
        close(again);
    }
    assert_true(ftruncate(segment, 0) < 0);
    assert_true(ftruncate(segment, 1 << 30) < 0);
    assert_true(fcntl(segment, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0);
    assert_true(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0) != MAP_FAILED);
    /* Allowed: it is writing zeros. */
    fallocate(segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
    expect_good_pool_works();
    close(catalog);
    close(segment);
    close(client);
    expect_clean_end();
}

/*
 * O_NONBLOCK belongs to the open file description, which the broker shares: it must not rely on it.
 * One worker rings, the others try to take the ring between the broker's epoll_wait(2) and its
 * read(2).
 */
static int steal_rings(struct processes *processes, unsigned number)
{
    int client = attached_client("bad"), doorbell;
    uint64_t value = 1;

    if (fetch(client, WIRE_DOORBELL, 0, 0, &doorbell) != 0 || fcntl(doorbell, F_SETFL, 0) < 0)
        return 1;
    processes_ready(processes);
    while (!processes_stopping(processes)) {
        ssize_t done = number == 0 ? write(doorbell, &value, sizeof value)
                                   : read(doorbell, &value, sizeof value);

        if (done < 0)
            return 2;
        value = 1;
        if (number == 0)
            sched_yield();
    }
    return 0;
}

static void a_doorbell_that_blocks_holds_nobody_up(void **state)
{
    (void)state;
    processes_start(&fixture.processes, 3, 0, steal_rings, NULL);
    processes_go(&fixture.processes);
    expect_prompt_attaches(now_ms() + 1500);
    processes_stop(&fixture.processes);
    for (unsigned i = 0; i < 3; i++)
        processes_signal(&fixture.processes, i, SIGKILL);
    assert_true(processes_wait(&fixture.processes, 10000));
    expect_good_pool_works();
    expect_clean_end();
}

/* With SO_LINGER the last close(2) of a TCP socket waits until all is sent: tcp(7), socket(7). */
static int leave_it_lingering(struct processes *processes, unsigned number)
{
    struct lendis_pool *pool = pool_attach(&fixture.broker, "slow");
    struct linger forever = {.l_onoff = 1, .l_linger = 60};
    struct lendis_lease *lease;
    static char nonsense[1 << 16];
    int fd;

    (void)number;
    if (lendis_acquire(pool, 10000, &lease) != 0)
        return 1;
    fd = lendis_lease_fd(lease);
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &forever, sizeof forever) < 0)
        return 2;
    while (send(fd, nonsense, sizeof nonsense, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    processes_ready(processes);
    return lendis_release(lease);
}

static void a_socket_that_lingers_holds_nobody_up(void **state)
{
    (void)state;
    lendisd_kill(&fixture.broker);
    fake_start(&fixture.fake, FAKE_ANSWER);
    lendisd_start(&fixture.broker,
                  "[pool good]\nredis = %s\nsize = 2\nmin_idle = 2\n"
                  "[pool slow]\nredis = %s\nsize = 2\nmin_idle = 2\n",
                  fixture.redis.unix_url, fixture.fake.tcp_url);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "slow");
    assert_true(pool_fills(&fixture.observer, 2, 10000));
    assert_int_equal(kill(fixture.fake.pid, SIGSTOP), 0);
    processes_start(&fixture.processes, 2, 0, leave_it_lingering, NULL);
    processes_go(&fixture.processes);
    assert_true(processes_wait(&fixture.processes, 20000));
    assert_int_equal(processes_failures(&fixture.processes), 0);
    expect_prompt_attaches(now_ms() + 500);
    expect_good_pool_works();
    kill(fixture.fake.pid, SIGCONT);
    expect_clean_end();
}

/* ---- clients that do not keep to the protocol ---- */

/* The broker hangs up, and passes nothing before it does. */
static void expect_hung_up(int client)
{
    char message[512];
    int fd = -1, got = wire_receive(client, message, sizeof message, &fd, 10000);

    assert_int_equal(fd, -1);
    if (got > 0)
        fail_msg("%d bytes instead of the end", got);
    assert_true(got == 0 || got == -ECONNRESET);
    close(client);
}

static void send_bytes(int client, const void *bytes, size_t size)
{
    assert_int_equal(send(client, bytes, size, MSG_NOSIGNAL), size);
}

static void send_nonsense(int (*connected)(void))
{
    static char bytes[100000];
    static const size_t sizes[] = {0, 1, 15, 16, 17, 79, 81, 168, 169, 512, 513, 4096, 100000};
    struct wire_hello request = {0};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int client = connected();

        memset(bytes, (int)i, sizeof bytes);
        send_bytes(client, bytes, sizes[i]);
        expect_hung_up(client);
    }
    for (int i = 0; i < 6; i++) {
        int client = connected();

        wire_header(&request.header, WIRE_HELLO, sizeof request);
        memset(request.pool, 0, sizeof request.pool);
        memcpy(request.pool, "good", 4);
        switch (i) {
        case 0:
            request.header.magic++;
            break;
        case 1:
            request.header.type = 99;
            break;
        case 2:
            request.header.type = WIRE_WELCOME;
            break;
        case 3:
            request.header.size--;
            break;
        case 4:
            request.header.type = 0;
            break;
        default:
            memset(request.pool, 'p', sizeof request.pool); /* no end */
            break;
        }
        send_bytes(client, &request, sizeof request);
        expect_hung_up(client);
    }
}

static int connected_only(void)
{
    int client = lendisd_connect(fixture.broker.socket_path);

    assert_true(client >= 0);
    return client;
}

static int connected_and_attached(void)
{
    return attached_client("bad");
}

/* All that a client did is gone with it: descriptors, places, memory. */
static void expect_all_released(int descriptors)
{
    if (!eventually(count_fds(fixture.broker.pid) == descriptors, 10000)) {
        print_fds(fixture.broker.pid);
        fail_msg("%d descriptors instead of %d", count_fds(fixture.broker.pid), descriptors);
    }
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 10000));
    expect_good_pool_works();
}

/* The number of descriptors that it has when nothing is being opened or closed. */
static int descriptors_at_rest(void)
{
    struct observer bad;
    int64_t since_ms;
    int count, now;

    assert_true(pool_fills(&fixture.observer, 2, 10000));
    segment_observe(&bad, fixture.broker.socket_path, "bad");
    assert_true(pool_fills(&bad, 2, 10000));
    observer_close(&bad);
    assert_true(eventually(workers_attached(&fixture.observer) == 1, 10000));
    count = count_fds(fixture.broker.pid);
    for (since_ms = now_ms(); now_ms() - since_ms < 100; sleep_us(1000)) {
        now = count_fds(fixture.broker.pid);
        if (now != count)
            since_ms = now_ms();
        count = now;
    }
    return count;
}

static void nonsense_is_hung_up_on(void **state)
{
    int descriptors = descriptors_at_rest();

    (void)state;
    send_nonsense(connected_only);
    send_nonsense(connected_and_attached);
    expect_all_released(descriptors);
    expect_clean_end();
}

static void other_versions_are_reported(void **state)
{
    _Alignas(8) char larger[256] = {0};
    struct wire_hello request = {0};
    struct wire_welcome answer;
    int client = connected_only();

    (void)state;
    wire_header(&request.header, WIRE_HELLO, sizeof request);
    request.header.abi_major = LENDIS_ABI_MAJOR + 1;
    assert_int_equal(ask(client, &request, &answer, sizeof answer, NULL), sizeof answer);
    assert_int_equal(answer.result, LENDIS_E_ABI);
    assert_true(strnlen(answer.text, sizeof answer.text) > 10);
    expect_hung_up(client);

    /* Its HELLO may be of another size. */
    client = connected_only();
    wire_header((struct wire_header *)larger, WIRE_HELLO, sizeof larger);
    ((struct wire_header *)larger)->abi_major = 77;
    assert_int_equal(ask(client, larger, &answer, sizeof answer, NULL), sizeof answer);
    assert_int_equal(answer.result, LENDIS_E_ABI);
    expect_hung_up(client);

    /* Another minor is no reason. */
    client = connected_only();
    wire_header(&request.header, WIRE_HELLO, sizeof request);
    request.header.abi_minor = LENDIS_ABI_MINOR + 7;
    memcpy(request.pool, "good", 5);
    assert_int_equal(ask(client, &request, &answer, sizeof answer, NULL), sizeof answer);
    assert_int_equal(answer.result, 0);
    close(client);
    expect_clean_end();
}

static void things_in_the_wrong_order(void **state)
{
    struct wire_fetch request = fetch_request(WIRE_CATALOG, 0, 0);
    int descriptors = descriptors_at_rest(), client;

    (void)state;
    client = connected_only();
    send_bytes(client, &request, sizeof request);
    expect_hung_up(client);

    client = attached_client("bad");
    assert_int_not_equal(hello(client, "bad"), 0);
    close(client);
    client = attached_client("bad");
    assert_int_not_equal(hello(client, "good"), 0);
    close(client);
    expect_all_released(descriptors);
    expect_clean_end();
}

static void what_does_not_exist_cannot_be_fetched(void **state)
{
    static const uint32_t whats[] = {0, 99, 1000, UINT32_MAX};
    /* The first one is behind the pool's places: size, and those for replacements. */
    static const uint32_t indexes[] = {10, 11, 1024, 65536, INT32_MAX, UINT32_MAX};
    static const uint64_t generations[] = {1000, UINT32_MAX, WORD_GENERATION_MAX, UINT64_MAX};
    int client = attached_client("bad"), fd;

    (void)state;
    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++) {
        assert_int_equal(fetch(client, whats[i], 0, 0, &fd), -EINVAL);
        assert_int_equal(fd, -1);
    }
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        assert_int_equal(fetch(client, WIRE_CONNECTION, indexes[i], 0, &fd), -EINVAL);
        assert_int_equal(fd, -1);
    }
    for (size_t i = 0; i < sizeof generations / sizeof *generations; i++) {
        assert_int_equal(fetch(client, WIRE_CONNECTION, 0, generations[i], &fd), -ESTALE);
        assert_int_equal(fd, -1);
    }
    /* After all that it is still a worker like any other. */
    assert_int_equal(fetch(client, WIRE_DOORBELL, 0, 0, &fd), 0);
    close(fd);
    close(client);
    expect_clean_end();
}

/* Sends `size` bytes with `count` times descriptor `fd`. */
static void send_with_descriptors(int client, const void *bytes, size_t size, int fd, size_t count)
{
    union {
        char space[CMSG_SPACE(253 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr packet = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.space,
                            .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);

    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; i++)
        memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof fd);
    assert_true(sendmsg(client, &packet, MSG_NOSIGNAL) >= 0);
}

static void descriptors_are_not_taken(void **state)
{
    static const size_t counts[] = {1, 2, 253};
    struct wire_fetch request = fetch_request(WIRE_CATALOG, 0, 0);
    int descriptors = descriptors_at_rest(), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct wire_hello greeting = {0};

    (void)state;
    wire_header(&greeting.header, WIRE_HELLO, sizeof greeting);
    memcpy(greeting.pool, "bad", 4);
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            int greeter = connected_only(), fetcher = attached_client("bad"),
                talker = connected_only(), circle = attached_client("bad");

            send_with_descriptors(greeter, &greeting, sizeof greeting, null, counts[i]);
            send_with_descriptors(fetcher, &request, sizeof request, null, counts[i]);
            send_with_descriptors(talker, "nonsense", 8, null, counts[i]);
            /* Its own end, so that the two keep each other alive. */
            send_with_descriptors(circle, &request, sizeof request, circle, counts[i]);
            close(greeter);
            close(fetcher);
            close(talker);
            close(circle);
        }
    close(null);
    expect_all_released(descriptors);
    expect_clean_end();
}

/* Asks again and again, and reads nothing. True: the broker hung up. */
static bool ask_without_reading(int client, uint32_t what)
{
    struct wire_fetch request = fetch_request(what, 0, 0);
    int64_t until_ms = now_ms() + 10000;

    while (now_ms() < until_ms)
        if (send(client, &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
            errno != EAGAIN)
            return errno == EPIPE || errno == ECONNRESET;
    return false;
}

static bool read_nothing(void)
{
    struct wire_descriptor answer;
    int fd, count = 0;

    for (uint32_t what = 0; what <= WIRE_CONNECTION; what++) {
        int client = attached_client("bad");

        if (!ask_without_reading(client, what))
            return false;
        /* One answer at most was on its way. */
        while (wire_receive(client, &answer, sizeof answer, &fd, 0) > 0) {
            count++;
            if (fd >= 0)
                close(fd);
        }
        if (count > (int)what + 1)
            return false;
        close(client);
    }
    return true;
}

static void who_does_not_read_is_disconnected(void **state)
{
    int descriptors = descriptors_at_rest();

    (void)state;
    assert_true(in_a_process(read_nothing));
    expect_all_released(descriptors);
    expect_clean_end();
}

static void a_crowd_that_says_nothing(void **state)
{
    struct lendis_options patient = {.size = sizeof patient, .attach_timeout_ms = 20000};
    int descriptors = descriptors_at_rest(), clients[200];
    int64_t before_ms = now_ms();
    struct lendis_pool *pool;

    (void)state;
    for (int i = 0; i < 200; i++) {
        clients[i] = lendisd_connect(fixture.broker.socket_path);
        assert_true(clients[i] >= 0);
    }
    assert_int_equal(lendis_attach(fixture.broker.socket_path, "good", &patient, &pool), 0);
    fprintf(stderr, "attached behind the crowd after %lld ms\n", (long long)(now_ms() - before_ms));
    lendis_detach(pool);
    for (int i = 0; i < 200; i++)
        close(clients[i]);
    expect_all_released(descriptors);
    expect_clean_end();
}

/* Comes and goes at any point, but says no goodbye. */
static bool vanish(void)
{
    struct wire_fetch request = fetch_request(WIRE_SEGMENT, 0, 0);
    struct wire_hello greeting = {0};

    wire_header(&greeting.header, WIRE_HELLO, sizeof greeting);
    memcpy(greeting.pool, "bad", 4);
    for (int i = 0; i < 30; i++) {
        int client = connected_only();

        if (i % 5 > 0)
            send_bytes(client, &greeting, sizeof greeting);
        if (i % 5 > 1)
            shutdown(client, i % 5 == 2 ? SHUT_RD : SHUT_WR);
        close(client);
        client = i % 2 ? attached_client("bad") : connected_only();
        if (send(client, &request, sizeof request, MSG_NOSIGNAL) > 0 && i % 3 == 0)
            send(client, &request, sizeof request, MSG_NOSIGNAL);
        close(client);
    }
    return true;
}

static void who_vanishes_leaves_nothing(void **state)
{
    int descriptors = descriptors_at_rest();

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(in_a_process(vanish));
    expect_all_released(descriptors);
    expect_clean_end();
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, start, end)
    const struct CMUnitTest tests[] = {
        TEST(corruption_reaches_no_other_pool),
        TEST(memory_is_sealed),
        TEST(a_doorbell_that_blocks_holds_nobody_up),
        TEST(a_socket_that_lingers_holds_nobody_up),
        TEST(nonsense_is_hung_up_on),
        TEST(other_versions_are_reported),
        TEST(things_in_the_wrong_order),
        TEST(what_does_not_exist_cannot_be_fetched),
        TEST(descriptors_are_not_taken),
        TEST(who_does_not_read_is_disconnected),
        TEST(a_crowd_that_says_nothing),
        TEST(who_vanishes_leaves_nothing),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("hostile", tests, choose_broker, NULL);
}
