/* SPDX-License-Identifier: MIT */
/* Mailboxes and chunks that a worker maps when it uses them: lendis/mail_area.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lendis/catalog.h"
#include "lendis/mailbox.h"

#define WORKERS 1000u

static struct segment broker, worker;
static int segment_fd; /* the worker's, of its area */

static int start(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, 1, 16, WORKERS, &fd, &broker), 0);
    segment_fd = dup(fd);
    assert_true(segment_fd >= 0);
    assert_int_equal(segment_map_tables(segment_fd, &worker), 0);
    close(fd);
    return 0;
}

static int end(void **state)
{
    (void)state;
    segment_unmap(&worker);
    segment_unmap(&broker);
    return 0;
}

/* kB of addresses that this process has of segments: both mappings. */
static unsigned long mapped_kb(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to, bytes = 0;
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        if (strstr(line, SEGMENT_MEMFD_NAME) && sscanf(line, "%lx-%lx", &from, &to) == 2)
            bytes += to - from;
    fclose(maps);
    return bytes / 1024;
}

static void a_worker_maps_what_it_uses(void **state)
{
    unsigned long before = mapped_kb(), tables = worker.size / 1024;

    (void)state;
    assert_int_equal(before, broker.size / 1024 + tables);
    assert_true(tables < 1024);
    assert_ptr_equal(mail_room(&worker, 7, 10), worker.slots[7].small);
    assert_int_equal(mapped_kb(), before);
    assert_non_null(mail_room(&worker, 7, 1000));
    assert_int_equal(mapped_kb(), before + MAIL_PIECE / 1024);
    assert_non_null(mail_room(&worker, 8, 1000));
    assert_int_equal(mapped_kb(), before + MAIL_PIECE / 1024);
}

/* To the last byte of the last one. */
static void it_has_what_others_have(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < worker.slot_max; slot++) {
        char *own = mail_room(&worker, slot, MAILBOX_SIZE);

        own[0] = (char)slot;
        own[MAILBOX_SIZE - 1] = (char)(slot >> 8);
    }
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
        char *own = segment_chunk(&worker, chunk);

        memset(own, (int)(1 + chunk), CHUNK_SIZE);
    }
    for (uint32_t slot = 0; slot < worker.slot_max; slot++) {
        const char *other = mail_room(&broker, slot, MAILBOX_SIZE);

        assert_int_equal(other[0], (char)slot);
        assert_int_equal(other[MAILBOX_SIZE - 1], (char)(slot >> 8));
    }
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
        const char *other = segment_chunk(&broker, chunk);

        assert_int_equal(other[0], (char)(1 + chunk));
        assert_int_equal(other[CHUNK_SIZE - 1], (char)(1 + chunk));
    }
    assert_int_equal(mapped_kb(), (broker.size + broker.size) / 1024);
}

static void *use_all(void *context)
{
    char **first = context;

    for (uint32_t slot = 0; slot < worker.slot_max; slot++)
        first[slot] = mail_room(&worker, slot, MAILBOX_SIZE);
    return NULL;
}

static void threads_share_a_piece(void **state)
{
    static char *seen[4][2 * WORKERS];
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_all, seen[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 1; i < 4; i++)
        assert_memory_equal(seen[0], seen[i], worker.slot_max * sizeof seen[0][0]);
}

/* The program has closed all descriptors, and the number is a file's of its own. */
static void a_lost_descriptor_is_not_used(void **state)
{
    char *mapped = mail_room(&worker, 0, 1000);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), other;

    (void)state;
    other = dup2(null, segment_fd);
    close(null);
    assert_int_equal(other, segment_fd);
    assert_ptr_equal(mail_room(&worker, 0, 1000), mapped);
    assert_null(mail_room(&worker, worker.slot_max - 1, 1000));
    assert_null(segment_chunk(&worker, 0));
    assert_int_equal(chunk_claim(&worker, 3), -1);
    assert_int_equal(shm_load32(&worker.chunk_owners[3].slot), 0);
    segment_unmap(&worker);
    assert_int_equal(fcntl(other, F_GETFD), 0); /* not ours to close */
    close(other);
}

static void it_closes_its_descriptor(void **state)
{
    (void)state;
    assert_true(fcntl(segment_fd, F_GETFD) >= 0);
    segment_unmap(&worker);
    assert_int_equal(fcntl(segment_fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_worker_maps_what_it_uses), TEST(it_has_what_others_have),
        TEST(threads_share_a_piece),      TEST(a_lost_descriptor_is_not_used),
        TEST(it_closes_its_descriptor),
    };

    return cmocka_run_group_tests_name("mail_area", tests, NULL, NULL);
}
