/* SPDX-License-Identifier: MIT */
/* Taking over what makes no sense: a chunk is shared memory, which any worker of the pool can write
 * (I5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/handover/combiner.h"
#include "libclient/lease.h"
#include "lendis.h"
#include "lendis/mailbox.h"

#define SLOT       1u
#define CONNECTION 2u
#define GENERATION 5u

/* What a worker has, as far as a take-over inspects it. */
static struct worker {
    struct lendis_pool pool;
    struct local local;
    struct catalog_pool settings;
    struct attachment attachment;
    struct lendis_lease lease;
    int sockets[2];
} worker;

static int setup(void **state)
{
    int fd;

    (void)state;
    memset(&worker, 0, sizeof worker);
    worker.pool.local = &worker.local;
    worker.local.current = &worker.attachment;
    pthread_mutex_init(&worker.local.lock, NULL);
    worker.attachment.pool = &worker.pool;
    worker.attachment.catalog.pools = &worker.settings;
    worker.attachment.worker = SLOT;
    worker.attachment.doorbell = -1;
    worker.attachment.users = 1;
    assert_int_equal(segment_new(0, 1, 4, 100, &fd, &worker.attachment.segment), 0);
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, worker.sockets), 0);
    worker.lease.attachment = &worker.attachment;
    worker.lease.index = CONNECTION;
    worker.lease.fd = worker.sockets[0];
    worker.lease.word = word_make(WORD_LEASED, SLOT, GENERATION);
    worker.lease.held = true;
    shm_store(&worker.attachment.segment.connections[CONNECTION].word, worker.lease.word);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    segment_unmap(&worker.attachment.segment);
    close(worker.sockets[0]);
    close(worker.sockets[1]);
    return 0;
}

static int take(void *context, const char *data, size_t size)
{
    (void)context;
    (void)data;
    (void)size;
    return 0;
}

static void restart(void *context)
{
    (void)context;
}

/* The command was sent by another, who left `fill` in every byte of the chunk. */
static void take_over(int fill)
{
    static const char request[] = "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n";
    static const struct reply_sink sink = {.take = take, .restart = restart};
    struct segment *segment = &worker.attachment.segment;
    struct call call;

    assert_int_equal(call_init(&call, request, sizeof request - 1, &sink), 0);
    call.deadline_ns = INT64_MAX;
    memset(segment->all_chunks[0].bytes, fill, CHUNK_SIZE);
    shm_store32(&segment->chunk_owners[0].slot, 1 + SLOT);
    shm_store32(&segment->slots[SLOT].reply_chunk, 1);
    assert_int_equal(combiner_continue(&worker.lease, &call, SLOT), LENDIS_E_UNCERTAIN);
    /* The broker closes it, for nobody knows what is still to come. */
    assert_int_equal(word_state(shm_load(&segment->connections[CONNECTION].word)), WORD_RETURNED);
    assert_false(worker.lease.held);
}

/* More items than a batch has, in slots that there are not. */
static void a_carry_of_ones_is_refused(void **state)
{
    (void)state;
    take_over(0xff);
}

/* No items at all. */
static void a_carry_of_zeros_is_refused(void **state)
{
    (void)state;
    take_over(0);
}

/* Every number is 16,843,009. */
static void a_carry_of_equal_bytes_is_refused(void **state)
{
    (void)state;
    take_over(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_carry_of_ones_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_carry_of_zeros_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_carry_of_equal_bytes_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
