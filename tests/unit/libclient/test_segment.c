/* SPDX-License-Identifier: MIT */
/* Making, mapping and refusing the pool segment and the catalog; what their seals hold; what they
 * cost. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "lendis/catalog.h"
#include "lendis/queue.h"

#define INSTANCE UINT64_C(0x1122334455667788)

/* ---- the pool segment ---- */

static void new_segment_is_empty_and_bounded(void **state)
{
    struct segment segment;
    int fd;

    (void)state;
    assert_int_equal(segment_new(5, INSTANCE, 32, 200, &fd, &segment), 0);
    assert_int_equal(segment.connection_max, 32);
    assert_int_equal(segment.worker_max, 200);
    assert_int_equal(segment.slot_max, 200 + 200 / 4 + 64);
    assert_true(segment.cell_count >= segment.slot_max);
    assert_int_equal(segment.cell_count, 1u << segment.cell_shift);
    assert_int_equal(segment.instance, INSTANCE);
    assert_int_equal(segment.size, segment_size(32, 200));
    assert_int_equal(((struct segment_header *)segment.base)->pool, 5);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(word_state(shm_load(&segment.connections[i].word)), WORD_EMPTY);
    for (uint32_t i = 0; i < segment.slot_max; i++)
        assert_int_equal(shm_load32(&segment.slots[i].owner), i < 200 ? 1 + i : 0);
    assert_false(queue_maybe_waiting(&segment));
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    segment_unmap(&segment);
    assert_null(segment.base);
    segment_unmap(&segment); /* once more does nothing */
    close(fd);
}

static void tables_do_not_overlap(void **state)
{
    static const uint32_t sizes[][2] = {{1, 1},     {1, 16384},
                                        {1024, 1},  {3, 100},
                                        {32, 1024}, {LENDIS_MAX_CONNECTIONS, LENDIS_MAX_WORKERS}};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct segment segment;
        int fd;

        assert_int_equal(segment_new(0, 1, sizes[i][0], sizes[i][1], &fd, &segment), 0);
        assert_true((char *)segment.queue >= (char *)segment.base + sizeof(struct segment_header));
        assert_true((char *)segment.chunk_owners >= (char *)(segment.queue + 1));
        assert_true((char *)segment.connections >= (char *)(segment.chunk_owners + CHUNKS));
        assert_true((char *)segment.groups >=
                    (char *)(segment.connections + segment.connection_max));
        assert_int_equal((uintptr_t)segment.groups % 64, 0);
        assert_true((char *)segment.cells >= (char *)(segment.groups + WAKE_GROUPS));
        assert_true((char *)segment.shards >= (char *)(segment.cells + segment.cell_count));
        assert_int_equal((uintptr_t)segment.shards % 64, 0);
        assert_true((char *)segment.slots >= (char *)(segment.shards + HISTOGRAM_SHARDS));
        assert_true((char *)segment.workers >= (char *)(segment.slots + segment.slot_max));
        assert_true((char *)segment.all_mailboxes >=
                    (char *)(segment.workers + segment.worker_max));
        assert_int_equal((uintptr_t)segment.all_mailboxes % sysconf(_SC_PAGESIZE), 0);
        assert_true((char *)segment.all_chunks >=
                    (char *)(segment.all_mailboxes + segment.slot_max));
        assert_int_equal((char *)(segment.all_chunks + CHUNKS) - (char *)segment.base,
                         segment.size);
        assert_int_equal((uintptr_t)segment.connections % 64, 0);
        assert_int_equal((uintptr_t)segment.slots % 64, 0);
        assert_int_equal((uintptr_t)segment.workers % 128, 0);
        segment_unmap(&segment);
        close(fd);
    }
}

static void writers_see_each_other(void **state)
{
    struct segment broker, worker;
    uint64_t word;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, 4, 10, &fd, &broker), 0);
    assert_int_equal(segment_map(fd, true, &worker), 0);
    assert_int_equal(worker.instance, INSTANCE);
    shm_store(&broker.connections[3].word, word_make(WORD_IDLE, 0, 1));
    assert_true(word_lease(&worker.connections[3].word, 7, &word));
    assert_int_equal(shm_load(&broker.connections[3].word), word_make(WORD_LEASED, 7, 1));
    segment_unmap(&worker);
    segment_unmap(&broker);
    close(fd);
}

static void tools_cannot_write(void **state)
{
    struct segment broker, tool;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, 4, 10, &fd, &broker), 0);
    assert_int_equal(segment_map(fd, false, &tool), 0);
    shm_store(&broker.connections[0].uses, 42);
    assert_int_equal(shm_load(&tool.connections[0].uses), 42);
    /* What a write into a read-only mapping would do, asked of a system call: read(2) says EFAULT.
     */
    {
        int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

        assert_int_equal(read(zero, (void *)&tool.connections[0].uses, 8), -1);
        assert_int_equal(errno, EFAULT);
        close(zero);
    }
    assert_int_equal(shm_load(&tool.connections[0].uses), 42);
    segment_unmap(&tool);
    segment_unmap(&broker);
    close(fd);
}

static void segment_cannot_be_resized(void **state)
{
    struct segment segment;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, 4, 10, &fd, &segment), 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)segment.size + 4096), -1);
    assert_int_equal(errno, EPERM);
    /* Nor can another seal be put on it, which would take the right to write from everyone. */
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
    segment_unmap(&segment);
    close(fd);
}

/* A segment whose header is `header`, in a file of `size` bytes. */
static int forged(const void *header, size_t header_size, off_t size)
{
    int fd = memfd_create("forged", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(pwrite(fd, header, header_size, 0), header_size);
    return fd;
}

static int map_forged(const struct segment_header *header, off_t size)
{
    int fd = forged(header, sizeof *header, size);
    struct segment segment;
    int result = segment_map(fd, true, &segment);

    if (result == 0)
        segment_unmap(&segment);
    close(fd);
    return result;
}

/* The header of a good segment of 4 connections and 10 workers. */
static struct segment_header good_header(void)
{
    struct segment_header header;
    struct segment segment;
    int fd;

    assert_int_equal(segment_new(0, INSTANCE, 4, 10, &fd, &segment), 0);
    memcpy(&header, segment.base, sizeof header);
    segment_unmap(&segment);
    close(fd);
    assert_int_equal(map_forged(&header, (off_t)header.size), 0);
    return header;
}

static void other_magic_is_refused(void **state)
{
    struct segment_header header = good_header();

    (void)state;
    header.magic ^= 1;
    assert_int_equal(map_forged(&header, (off_t)header.size), -EPROTO);
    header.magic = LENDIS_CATALOG_MAGIC;
    assert_int_equal(map_forged(&header, (off_t)header.size), -EPROTO);
}

static void other_abi_is_refused(void **state)
{
    struct segment_header header = good_header();

    (void)state;
    header.abi_major++;
    assert_int_equal(map_forged(&header, (off_t)header.size), -EPROTONOSUPPORT);
    header.abi_major = 0;
    assert_int_equal(map_forged(&header, (off_t)header.size), -EPROTONOSUPPORT);
    /* A later minor version only adds. */
    header = good_header();
    header.abi_minor++;
    assert_int_equal(map_forged(&header, (off_t)header.size), 0);
}

static void truncated_segment_is_refused(void **state)
{
    struct segment_header header = good_header();
    off_t size = (off_t)header.size;
    struct segment segment;
    int fd;

    (void)state;
    assert_int_equal(map_forged(&header, size - 1), -EPROTO);
    assert_int_equal(map_forged(&header, size + 1), -EPROTO);
    assert_int_equal(map_forged(&header, sizeof header), -EPROTO);
    for (size_t length = 0; length < sizeof header; length += 8) {
        fd = forged(&header, length, (off_t)length);
        assert_int_equal(segment_map(fd, true, &segment), -EPROTO);
        close(fd);
    }
}

static void not_a_file_is_an_error(void **state)
{
    struct segment segment;
    struct catalog catalog;
    int ends[2];

    (void)state;
    assert_int_equal(segment_map(-1, true, &segment), -EBADF);
    assert_int_equal(catalog_map(-1, &catalog), -EBADF);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(segment_map(ends[0], true, &segment), -ESPIPE);
    assert_int_equal(catalog_map(ends[0], &catalog), -ESPIPE);
    close(ends[0]);
    close(ends[1]);
}

/* Every field that bounds something, with every kind of wrong value. */
static void corrupted_header_is_refused(void **state)
{
    static const size_t fields[] = {offsetof(struct segment_header, connection_max),
                                    offsetof(struct segment_header, worker_max),
                                    offsetof(struct segment_header, slot_max),
                                    offsetof(struct segment_header, cell_count),
                                    offsetof(struct segment_header, tables),
                                    offsetof(struct segment_header, size),
                                    offsetof(struct segment_header, size) + 4};
    static const uint32_t values[] = {
        0,         1,     2,     3,        63,       65,        127,      1023,
        1025,      16385, 65536, 1u << 20, 1u << 28, INT32_MAX, 1u << 31, UINT32_MAX - 1,
        UINT32_MAX};
    const struct segment_header good = good_header();

    (void)state;
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            struct segment_header header = good;

            memcpy((char *)&header + fields[f], &values[v], sizeof values[v]);
            if (memcmp(&header, &good, sizeof good) == 0)
                continue;
            assert_int_equal(map_forged(&header, (off_t)good.size), -EPROTO);
        }
}

/* What is mapped stays within bounds when a worker rewrites the header afterwards. */
static void later_corruption_moves_no_bound(void **state)
{
    struct segment broker;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, 4, 10, &fd, &broker), 0);
    memset(broker.base, 0xff, sizeof(struct segment_header));
    assert_int_equal(broker.connection_max, 4);
    assert_int_equal(broker.cell_count, 128);
    queue_match(&broker, LENDIS_BROKER);
    segment_unmap(&broker);
    close(fd);
}

/* ---- what it costs: the budget of shared memory ---- */

static void sizes_are_within_the_budget(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= LENDIS_MAX_WORKERS / 2; workers *= 2) {
        uint64_t small = segment_tables_size(16, workers);
        uint64_t connections = segment_tables_size(116, workers) - small;
        uint64_t double_size = segment_tables_size(16, 2 * workers) - small;

        assert_true(connections <= 100 * 128);
        /* The ring grows in powers of two, so see how much twice the workers take. */
        assert_true(double_size / workers + sizeof(struct catalog_worker) <= 1024);
        assert_true(small <= 16 * 128 + workers * (1024 - sizeof(struct catalog_worker)) + 65536);
    }
    assert_true(sizeof(struct catalog_pool) + segment_tables_size(1, 1) - 128 - 1024 < 65536);
    /* What of the catalog grows neither with workers nor with pools: once for all pools. */
    assert_true(sizeof(struct catalog_header) + CATALOG_CONFIG_SIZE < 65536);
}

static void untouched_pages_take_no_memory(void **state)
{
    struct segment segment;
    struct stat stat, after;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, LENDIS_MAX_CONNECTIONS, 1024, &fd, &segment), 0);
    assert_int_equal(fstat(fd, &stat), 0);
    /* The header's page and those of the slots, whose owner is written. */
    assert_true((uint64_t)stat.st_blocks * 512 <=
                2 * 4096 + 1024 * sizeof(struct wait_slot) + 2 * 4096);
    /* A mailbox takes its page when it is used. */
    segment.all_mailboxes[7].bytes[0] = 'x';
    assert_int_equal(fstat(fd, &after), 0);
    assert_true((after.st_blocks - stat.st_blocks) * 512 <= 4096);
    segment_unmap(&segment);
    close(fd);
}

/* ---- the catalog ---- */

static void set_pool(struct catalog_pool *pool, const char *name, uint32_t size)
{
    catalog_write_begin(pool);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->size = size;
    pool->min_idle = size;
    catalog_write_end(pool);
}

static void catalog_is_read_by_others(void **state)
{
    struct catalog broker, worker;
    struct catalog_pool pool;
    int fd;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &broker), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(catalog_map(fd, &worker), 0);
    assert_int_equal(worker.instance, INSTANCE);
    assert_int_equal(worker.worker_max, 100);
    assert_int_equal(worker.pool_max, CATALOG_MAX_POOLS);
    assert_int_equal(worker.header->broker_pid, getpid());
    assert_int_equal(catalog_find_pool(&worker, "app"), -ENOENT);
    assert_int_equal(catalog_read_pool(&worker, 2, &pool), -ENOENT);
    set_pool(&broker.pools[2], "app", 16);
    assert_int_equal(catalog_find_pool(&worker, "app"), 2);
    assert_int_equal(catalog_find_pool(&worker, "ap"), -ENOENT);
    assert_int_equal(catalog_find_pool(&worker, ""), -ENOENT);
    assert_int_equal(catalog_read_pool(&worker, 2, &pool), 0);
    assert_string_equal(pool.name, "app");
    assert_int_equal(pool.size, 16);
    assert_int_equal(catalog_read_pool(&worker, CATALOG_MAX_POOLS, &pool), -ENOENT);
    assert_int_equal(catalog_read_pool(&worker, UINT32_MAX, &pool), -ENOENT);
    catalog_unmap(&worker);
    catalog_unmap(&worker);
    catalog_unmap(&broker);
    close(fd);
}

static void broker_that_is_gone_shows(void **state)
{
    struct catalog broker, worker;
    int fd;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &broker), 0);
    assert_int_equal(catalog_map(fd, &worker), 0);
    assert_false(catalog_broker_gone(&worker));
    shm_store32(&broker.header->broker, 1234 | CATALOG_OWNER_DIED);
    assert_true(catalog_broker_gone(&worker));
    shm_store32(&broker.header->broker, 1234);
    assert_false(catalog_broker_gone(&worker));
    shm_store32(&broker.header->draining, 1);
    assert_true(catalog_broker_gone(&worker));
    catalog_unmap(&worker);
    catalog_unmap(&broker);
    close(fd);
}

/* Whoever receives the catalog's descriptor can change nothing, by no way that there is. */
static void catalog_cannot_be_written_by_a_receiver(void **state)
{
    struct catalog broker;
    char path[64];
    int fd, again;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &broker), 0);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)broker.size * 2), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    assert_int_equal(errno, EPERM);
    {
        void *readable = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

        assert_ptr_not_equal(readable, MAP_FAILED);
        assert_int_equal(mprotect(readable, 4096, PROT_READ | PROT_WRITE), -1);
        assert_int_equal(errno, EACCES);
        munmap(readable, 4096);
    }
    /* Opened anew through /proc it is as sealed as before. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
                         MAP_FAILED);
        assert_int_equal(pwrite(again, "x", 1, 0), -1);
        close(again);
    }
    /* The broker's own mapping goes on. */
    broker.header->config_size = 3;
    catalog_unmap(&broker);
    close(fd);
}

static int map_forged_catalog(const struct catalog_header *header, off_t size)
{
    int fd = forged(header, sizeof *header, size);
    struct catalog catalog;
    int result = catalog_map(fd, &catalog);

    if (result == 0)
        catalog_unmap(&catalog);
    close(fd);
    return result;
}

static void wrong_catalog_is_refused(void **state)
{
    static const uint32_t values[] = {0, 1, 63, 65, 99, 101, 16385, INT32_MAX, UINT32_MAX};
    static const size_t fields[] = {
        offsetof(struct catalog_header, pool_max), offsetof(struct catalog_header, worker_max),
        offsetof(struct catalog_header, size), offsetof(struct catalog_header, size) + 4};
    struct catalog_header good, header;
    struct catalog catalog;
    int fd;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &catalog), 0);
    memcpy(&good, catalog.header, sizeof good);
    catalog_unmap(&catalog);
    close(fd);
    assert_int_equal(map_forged_catalog(&good, (off_t)good.size), 0);
    assert_int_equal(map_forged_catalog(&good, (off_t)good.size - 1), -EPROTO);
    assert_int_equal(map_forged_catalog(&good, sizeof good), -EPROTO);
    header = good;
    header.magic = LENDIS_SEGMENT_MAGIC;
    assert_int_equal(map_forged_catalog(&header, (off_t)good.size), -EPROTO);
    header = good;
    header.abi_major++;
    assert_int_equal(map_forged_catalog(&header, (off_t)good.size), -EPROTONOSUPPORT);
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            header = good;
            memcpy((char *)&header + fields[f], &values[v], sizeof values[v]);
            if (memcmp(&header, &good, sizeof good) != 0)
                assert_int_equal(map_forged_catalog(&header, (off_t)good.size), -EPROTO);
        }
}

static void half_written_entry_is_reported(void **state)
{
    struct catalog broker;
    struct catalog_pool pool;
    int fd;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &broker), 0);
    set_pool(&broker.pools[0], "app", 16);
    catalog_write_begin(&broker.pools[0]); /* and then the broker died */
    assert_int_equal(catalog_read_pool(&broker, 0, &pool), -EAGAIN);
    assert_string_equal(pool.name, "app");
    catalog_write_end(&broker.pools[0]);
    assert_int_equal(catalog_read_pool(&broker, 0, &pool), 0);
    catalog_unmap(&broker);
    close(fd);
}

/* A process that never stops changing an entry's `size` and `min_idle` to the same value. */
static pid_t start_writer(struct catalog_pool *pool)
{
    pid_t writer = fork();

    assert_true(writer >= 0);
    if (writer > 0)
        return writer;
    for (uint32_t i = 1;; i++)
        set_pool(pool, "app", i);
}

static void entry_is_read_whole_while_it_changes(void **state)
{
    struct timespec pause = {.tv_nsec = 100000};
    uint32_t changes = 0, last = 0;
    struct catalog broker, reader;
    pid_t writer;
    int fd;

    (void)state;
    assert_int_equal(catalog_new(INSTANCE, 100, &fd, &broker), 0);
    assert_int_equal(catalog_map(fd, &reader), 0);
    set_pool(&broker.pools[0], "app", 0);
    writer = start_writer(&broker.pools[0]);
    /* Ten seconds at most, on a machine where the writer hardly ever runs. */
    for (int tries = 0; tries < 100000 && changes < 1000; tries++) {
        struct catalog_pool pool;

        if (catalog_read_pool(&reader, 0, &pool) != 0) {
            nanosleep(&pause, NULL); /* the writer lost its processor in the middle: let it run */
            continue;
        }
        assert_int_equal(pool.size, pool.min_idle);
        changes += pool.size != last;
        last = pool.size;
        if (tries % 64 == 0)
            nanosleep(&pause, NULL);
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    assert_true(changes > 10);
    catalog_unmap(&reader);
    catalog_unmap(&broker);
    close(fd);
}

/* Whatever a worker wrote: who has it is one that can be, or nobody. */
static void holder_of_a_word_is_bounded(void **state)
{
    struct segment segment;
    uint32_t further;
    int fd;

    (void)state;
    assert_int_equal(segment_new(0, INSTANCE, 4, 8, &fd, &segment), 0);
    further = segment.worker_max + 1;
    shm_store32(&segment.slots[further].owner, 1 + 3);
    shm_store32(&segment.slots[further + 1].owner, 1 + segment.worker_max);
    shm_store32(&segment.slots[5].owner, 1 + 2); /* overwritten: it is worker 5's for good */

    assert_int_equal(word_holder(&segment, word_make(WORD_LEASED, 7, 1)), 7);
    assert_int_equal(word_holder(&segment, word_make(WORD_RETURNED, 7, 1)), 7);
    assert_int_equal(word_holder(&segment, word_make(WORD_UNCLEAN, 7, 1)), 7);
    assert_int_equal(word_holder(&segment, word_make(WORD_PASSED, 5, 1)), 5);
    assert_int_equal(word_holder(&segment, word_make(WORD_TRANSFERRED, further, 1)), 3);

    assert_int_equal(word_holder(&segment, word_make(WORD_IDLE, 7, 1)), WORD_NOBODY);
    assert_int_equal(word_holder(&segment, word_make(WORD_LEASED, 8, 1)), WORD_NOBODY);
    assert_int_equal(word_holder(&segment, word_make(WORD_PASSED, further + 1, 1)), WORD_NOBODY);
    assert_int_equal(word_holder(&segment, word_make(WORD_PASSED, further + 2, 1)), WORD_NOBODY);
    assert_int_equal(word_holder(&segment, word_make(WORD_PASSED, segment.slot_max, 1)),
                     WORD_NOBODY);
    assert_int_equal(word_holder(&segment, UINT64_MAX), WORD_NOBODY);
    segment_unmap(&segment);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_segment_is_empty_and_bounded),
        cmocka_unit_test(tables_do_not_overlap),
        cmocka_unit_test(writers_see_each_other),
        cmocka_unit_test(tools_cannot_write),
        cmocka_unit_test(segment_cannot_be_resized),
        cmocka_unit_test(other_magic_is_refused),
        cmocka_unit_test(other_abi_is_refused),
        cmocka_unit_test(truncated_segment_is_refused),
        cmocka_unit_test(not_a_file_is_an_error),
        cmocka_unit_test(corrupted_header_is_refused),
        cmocka_unit_test(later_corruption_moves_no_bound),
        cmocka_unit_test(holder_of_a_word_is_bounded),
        cmocka_unit_test(sizes_are_within_the_budget),
        cmocka_unit_test(untouched_pages_take_no_memory),
        cmocka_unit_test(catalog_is_read_by_others),
        cmocka_unit_test(broker_that_is_gone_shows),
        cmocka_unit_test(catalog_cannot_be_written_by_a_receiver),
        cmocka_unit_test(wrong_catalog_is_refused),
        cmocka_unit_test(half_written_entry_is_reported),
        cmocka_unit_test(entry_is_read_whole_while_it_changes),
    };

    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
