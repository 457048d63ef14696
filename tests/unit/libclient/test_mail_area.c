/* SPDX-License-Identifier: MIT */
/* What a worker maps, and when: mailboxes and chunks (lendis/mail_area.h), its part of the
 * catalog. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "lendis/catalog.h"
#include "lendis/mailbox.h"

#define WORKERS 1000u

static struct segment broker, worker;
static int segment_fd; /* what the worker mapped, and closed */

/* valgrind 3.19 refuses an old size of 0: mremap(2). */
static void maps_once_more(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *again;

    assert_ptr_not_equal(page, MAP_FAILED);
    again = mremap(page, 0, 4096, MREMAP_MAYMOVE);
    munmap(page, 4096);
    if (again == MAP_FAILED)
        skip();
    munmap(again, 4096);
}

static int start(void **state)
{
    (void)state;
    assert_int_equal(segment_new(0, 1, 16, WORKERS, &segment_fd, &broker), 0);
    assert_int_equal(segment_map_tables(segment_fd, &worker), 0);
    close(segment_fd);
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
    maps_once_more();
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
    maps_once_more();
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
    maps_once_more();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_all, seen[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 1; i < 4; i++)
        assert_memory_equal(seen[0], seen[i], worker.slot_max * sizeof seen[0][0]);
}

/* The program may close all descriptors, as "daemonize" steps do, and a forked child has none more
 * for it. */
static void it_needs_no_descriptor(void **state)
{
    (void)state;
    maps_once_more();
    assert_int_equal(fcntl(segment_fd, F_GETFD), -1);
    assert_non_null(mail_room(&worker, worker.slot_max - 1, 1000));
    assert_non_null(segment_chunk(&worker, CHUNKS - 1));
}

/* Of addresses, which the process has no more of. */
static void what_cannot_be_mapped_is_not_there(void **state)
{
    char *mapped = mail_room(&worker, 0, 1000);
    struct rlimit before, none = {.rlim_cur = 0};

    (void)state;
    maps_once_more();
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    assert_ptr_equal(mail_room(&worker, 0, 1000), mapped);
    assert_null(mail_room(&worker, worker.slot_max - 1, 1000));
    assert_null(segment_chunk(&worker, 0));
    assert_int_equal(chunk_claim(&worker, 3), -1);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(shm_load32(&worker.chunk_owners[3].slot), 0);
    assert_non_null(mail_room(&worker, worker.slot_max - 1, 1000));
}

static void it_leaves_nothing_mapped(void **state)
{
    unsigned long before = mapped_kb() - worker.size / 1024;

    (void)state;
    maps_once_more();
    for (uint32_t slot = 0; slot < worker.slot_max; slot++)
        assert_non_null(mail_room(&worker, slot, 1000));
    segment_unmap(&worker);
    assert_int_equal(mapped_kb(), before);
}

/* Of the catalog: a worker maps no more than it uses, and the table of workers when it asks for
 * it. */
static void of_the_catalog_it_maps_its_pool(void **state)
{
    struct catalog whole, part;
    const struct catalog_worker *workers;
    struct catalog_pool pool;
    int fd;

    (void)state;
    maps_once_more();
    assert_int_equal(catalog_new(7, 100, &fd, &whole), 0);
    snprintf(whole.pools[2].name, sizeof whole.pools[2].name, "app");
    shm_store32(&whole.workers[99].tenant, 7);
    assert_int_equal(catalog_map_pool(fd, CATALOG_MAX_POOLS, &part), -EPROTO);
    assert_int_equal(catalog_map_pool(fd, 2, &part), 0);
    close(fd);
    assert_true(part.size < whole.size / 8);
    assert_int_equal(part.instance, 7);
    assert_int_equal(catalog_read_pool(&part, 2, &pool), 0);
    assert_string_equal(pool.name, "app");
    assert_int_equal(catalog_check_pool(&part, 2), 0);
    assert_int_equal(catalog_check_pool(&part, 1), -ENOENT);
    assert_int_equal(catalog_check_pool(&part, 3), -ENOENT);
    workers = catalog_workers(&part);
    assert_non_null(workers);
    assert_int_equal(shm_load32((shm_u32 *)&workers[99].tenant), 7);
    shm_store32(&whole.workers[0].tenant, 8);
    assert_ptr_equal(catalog_workers(&part), workers);
    assert_int_equal(shm_load32((shm_u32 *)&workers[0].tenant), 8);
    assert_ptr_equal(catalog_workers(&whole), whole.workers);
    catalog_unmap(&part);
    assert_int_equal(msync((void *)((uintptr_t)workers & ~(uintptr_t)4095), 4096, MS_ASYNC), -1);
    assert_int_equal(errno, ENOMEM); /* nothing is mapped there */
    catalog_unmap(&whole);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_worker_maps_what_it_uses),
        TEST(it_has_what_others_have),
        TEST(threads_share_a_piece),
        TEST(it_needs_no_descriptor),
        TEST(what_cannot_be_mapped_is_not_there),
        TEST(it_leaves_nothing_mapped),
        cmocka_unit_test(of_the_catalog_it_maps_its_pool),
    };

    return cmocka_run_group_tests_name("mail_area", tests, NULL, NULL);
}
