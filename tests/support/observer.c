/* SPDX-License-Identifier: MIT */
/*
 * A look into a pool's segment, over the same wire as every worker. It reads with relaxed loads,
 * which are no step of the protocol (lendis/shm.h), so looking never meets a kill point; and it
 * maps read-only, so it cannot disturb what it inspects. queue_head() may move the head on, so
 * waiters are counted here.
 */
#include "broker/testbed/internal.h"
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lendis/queue.h"
#include "lendis/wire.h"

#define ANSWER_LIMIT_MS 5000

/* Sends a request and receives the answer, which is of `size` bytes, and its descriptor. */
static void ask(int socket, const void *request, enum wire_type type, void *answer, size_t size,
                int *fd)
{
    int result = wire_send(socket, request, -1);

    if (result != 0)
        give_up("observer: send: %s", strerror(-result));
    result = wire_receive(socket, answer, size, fd, ANSWER_LIMIT_MS);
    if (result < 0)
        give_up("observer: receive: %s", strerror(-result));
    if (!wire_is(answer, (size_t)result, type, size))
        give_up("observer: %s", result == 0 ? "the broker hung up" : "not the answer to this");
}

static void say_hello(struct observer *observer, const char *pool)
{
    struct wire_hello hello = {0};
    struct wire_welcome welcome;
    int none;

    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    snprintf(hello.pool, sizeof hello.pool, "%s", pool);
    ask(observer->socket, &hello, WIRE_WELCOME, &welcome, sizeof welcome, &none);
    if (welcome.result != 0)
        give_up("observer: pool %s: result %d: %.*s", pool, welcome.result,
                (int)sizeof welcome.text, welcome.text);
    observer->worker = welcome.worker;
    observer->pool = welcome.pool;
}

static int fetch(struct observer *observer, enum wire_what what)
{
    struct wire_fetch request = {.what = what};
    struct wire_descriptor answer;
    int fd;

    wire_header(&request.header, WIRE_FETCH, sizeof request);
    ask(observer->socket, &request, WIRE_DESCRIPTOR, &answer, sizeof answer, &fd);
    if (answer.result != 0 || fd < 0)
        give_up("observer: fetch %d: result %d, descriptor %d", what, answer.result, fd);
    return fd;
}

void segment_observe(struct observer *observer, const char *socket_path, const char *pool)
{
    int fd, result;

    *observer = (struct observer){.socket = lendisd_connect(socket_path)};
    if (observer->socket < 0)
        give_up("%s: %s", socket_path, strerror(-observer->socket));
    say_hello(observer, pool);
    fd = fetch(observer, WIRE_CATALOG);
    result = catalog_map(fd, &observer->catalog);
    close(fd);
    if (result != 0)
        give_up("observer: catalog: %s", strerror(-result));
    fd = fetch(observer, WIRE_SEGMENT);
    result = segment_map(fd, false, &observer->segment);
    close(fd);
    if (result != 0)
        give_up("observer: segment: %s", strerror(-result));
    /* What the table has beyond that is room to grow. */
    observer->segment.places = &observer->catalog.pools[observer->pool].places;
}

void observer_close(struct observer *observer)
{
    struct wire_goodbye goodbye;

    if (observer->segment.base)
        segment_unmap(&observer->segment);
    if (observer->catalog.header)
        catalog_unmap(&observer->catalog);
    /* Its place is to be free, though this process lives on. */
    wire_header(&goodbye.header, WIRE_GOODBYE, sizeof goodbye);
    if (observer->socket > 0)
        wire_send(observer->socket, &goodbye, -1);
    if (observer->socket > 0)
        close(observer->socket);
    *observer = (struct observer){.socket = -1};
}

static uint64_t word_at(const struct observer *observer, uint32_t index)
{
    return shm_load_relaxed(&observer->segment.connections[index].word);
}

static unsigned count_waiting(const struct segment *segment)
{
    unsigned waiting = 0;

    for (uint32_t i = 0; i < segment->cell_count; i++)
        waiting += cell_state(shm_load_relaxed(&segment->cells[i])) != CELL_FREE;
    return waiting;
}

/* False: no process following the rules writes this word. */
static bool word_possible(const struct segment *segment, uint64_t word)
{
    switch (word_state(word)) {
    case WORD_LEASED:
    case WORD_RETURNED:
    case WORD_UNCLEAN:
        return word_owner(word) < segment->worker_max;
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        return word_owner(word) < segment->slot_max;
    default:
        return word_state(word) < WORD_STATES;
    }
}

bool observe_words(const struct observer *observer, struct word_count *count)
{
    const struct segment *segment = &observer->segment;

    *count = (struct word_count){.total = segment_places(segment)};
    for (uint32_t i = 0; i < segment_places(segment); i++) {
        uint64_t word = word_at(observer, i);

        if (!word_possible(segment, word)) {
            print_words(observer);
            return false;
        }
        count->in[word_state(word)]++;
    }
    count->opened = count->total - count->in[WORD_EMPTY] - count->in[WORD_OPENING];
    count->waiting = count_waiting(segment);
    return true;
}

bool pool_is_full(const struct observer *observer, unsigned idle)
{
    struct word_count count;

    return observe_words(observer, &count) && count.in[WORD_IDLE] == count.opened &&
           count.in[WORD_OPENING] == 0 && count.in[WORD_IDLE] >= idle && count.waiting == 0;
}

bool pool_fills(const struct observer *observer, unsigned idle, int limit_ms)
{
    if (eventually(pool_is_full(observer, idle), limit_ms))
        return true;
    fprintf(stderr, "not full after %d ms, %u idle wanted:\n", limit_ms, idle);
    print_words(observer);
    return false;
}

unsigned chunks_in_use(const struct observer *observer)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < CHUNKS; i++)
        count += shm_load32_relaxed(&observer->segment.chunk_owners[i].slot) != 0;
    return count;
}

unsigned words_in(const struct observer *observer, enum word_state state)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < segment_places(&observer->segment); i++)
        count += word_state(word_at(observer, i)) == state;
    return count;
}

unsigned leased_by(const struct observer *observer, uint32_t worker)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < segment_places(&observer->segment); i++) {
        uint64_t word = word_at(observer, i);

        count += word_state(word) == WORD_LEASED && word_owner(word) == worker;
    }
    return count;
}

uint64_t pool_counter(const struct observer *observer, enum counter counter)
{
    struct catalog_pool pool;
    uint64_t sum;

    observe_pool(observer, &pool);
    sum = shm_load_relaxed(&pool.departed[counter]);
    /* The block of one who left keeps its counts, which are in `departed` by then. */
    for (uint32_t i = 0; i < observer->segment.worker_max && i < observer->catalog.worker_max; i++)
        if (atomic_load(&observer->catalog.workers[i].pool) == 1 + observer->pool)
            sum += shm_load_relaxed(&observer->segment.workers[i].counters[counter]);
    return sum;
}

void observe_pool(const struct observer *observer, struct catalog_pool *pool)
{
    int result = catalog_read_pool(&observer->catalog, observer->pool, pool);

    if (result != 0 && result != -EAGAIN)
        give_up("observer: pool %u: %s", observer->pool, strerror(-result));
}

void print_words(const struct observer *observer)
{
    const struct segment *segment = &observer->segment;

    for (uint32_t i = 0; i < segment_places(segment); i++) {
        uint64_t word = word_at(observer, i);

        if (word != 0)
            fprintf(stderr, "  connection %u: %s, owner %u, generation %llu\n", i,
                    word_state_name(word), word_owner(word),
                    (unsigned long long)word_generation(word));
    }
    for (uint32_t i = 0; i < segment->cell_count; i++) {
        uint64_t cell = shm_load_relaxed(&segment->cells[i]);

        if (cell_state(cell) == CELL_WAITING)
            fprintf(stderr, "  cell %u: slot %u waits, lap %llu\n", i, cell_slot(cell),
                    (unsigned long long)cell_lap(cell));
    }
    fprintf(stderr, "  head %llu, tail %llu\n",
            (unsigned long long)shm_load_relaxed(&segment->queue->head),
            (unsigned long long)shm_load_relaxed(&segment->queue->tail));
}
