/* SPDX-License-Identifier: MIT */
/* Making, mapping and reading the catalog: see lendis/catalog.h. */
#include "lendis/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libclient/shared/descriptor.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* <linux/fcntl.h>, Linux 5.1 */
#endif

/* Places the tables of `catalog` from its bounds; returns the size that they need together. */
static size_t place_tables(struct catalog *catalog)
{
    /* A number: where only the size is wanted, there is no base to add to. */
    uintptr_t base = (uintptr_t)catalog->header;
    size_t at = sizeof(struct catalog_header);

    catalog->pools = (void *)(base + at);
    at += sizeof(struct catalog_pool) * catalog->pool_max;
    catalog->workers = (void *)(base + at);
    at += sizeof(struct catalog_worker) * catalog->worker_max;
    catalog->config = (void *)(base + at);
    at += CATALOG_CONFIG_SIZE;
    return at;
}

/* The bounds and the size that `header`, which is that of `fd`, tells; checked. Results as
 * catalog_map(). */
static int read_bounds(int fd, const struct catalog_header *header, struct catalog *catalog)
{
    struct catalog bounds = {.pool_max = header->pool_max,
                             .worker_max = header->worker_max,
                             .instance = header->instance};
    struct stat stat;

    if (bounds.pool_max != CATALOG_MAX_POOLS || bounds.worker_max < 1 ||
        bounds.worker_max > LENDIS_MAX_WORKERS)
        return -EPROTO;
    if (fstat(fd, &stat) < 0)
        return -errno;
    bounds.size = place_tables(&bounds);
    if (header->size != bounds.size || (uint64_t)stat.st_size != bounds.size)
        return -EPROTO;
    *catalog = bounds;
    return 0;
}

/* Maps the first catalog->size bytes of `fd`. */
static int map(int fd, int protection, struct catalog *catalog)
{
    void *base = mmap(NULL, catalog->size, protection, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return -errno;
    catalog->header = base;
    place_tables(catalog);
    return 0;
}

/* Maps `fd`, whose header is `header`. Results as catalog_map(). */
static int map_checked(int fd, int protection, const struct catalog_header *header,
                       struct catalog *catalog)
{
    struct catalog mapped;
    int result = read_bounds(fd, header, &mapped);

    if (result == 0)
        result = map(fd, protection, &mapped);
    if (result == 0)
        *catalog = mapped;
    return result;
}

int catalog_new(uint64_t instance, uint32_t worker_max, int *fd, struct catalog *catalog)
{
    struct catalog_header header = {
        .magic = LENDIS_CATALOG_MAGIC,
        .abi_major = LENDIS_ABI_MAJOR,
        .abi_minor = LENDIS_ABI_MINOR,
        .instance = instance,
        .pool_max = CATALOG_MAX_POOLS,
        .worker_max = worker_max,
        .broker_pid = (uint32_t)getpid(),
    };
    struct catalog sizes = {.pool_max = header.pool_max, .worker_max = worker_max};
    int made, result = 0;

    header.size = place_tables(&sizes);
    made = descriptor_lift(memfd_create(CATALOG_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (made < 0)
        return -errno;
    if (ftruncate(made, (off_t)header.size) < 0)
        result = -errno;
    else if (pwrite(made, &header, sizeof header, 0) != sizeof header)
        result = -ENOSPC;
    if (result == 0)
        result = map_checked(made, PROT_READ | PROT_WRITE, &header, catalog);
    /* Our own mapping stays writable; nobody, not we either, can make another. */
    if (result == 0 && fcntl(made, F_ADD_SEALS,
                             F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
        result = -errno;
        catalog_unmap(catalog);
    }
    if (result != 0) {
        close(made);
        return result;
    }
    *fd = made;
    return 0;
}

/* As segment_map() begins: the two headers are types of their own and may part ways. */
static int read_header(int fd, struct catalog_header *header)
{
    ssize_t got = pread(fd, header, sizeof *header, 0);

    if (got < 0)
        return -errno;
    if (got != sizeof *header || header->magic != LENDIS_CATALOG_MAGIC)
        return -EPROTO;
    return header->abi_major != LENDIS_ABI_MAJOR ? -EPROTONOSUPPORT : 0;
}

int catalog_map(int fd, struct catalog *catalog)
{
    struct catalog_header header;
    int result = read_header(fd, &header);

    return result == 0 ? map_checked(fd, PROT_READ, &header, catalog) : result;
}

int catalog_map_pool(int fd, uint32_t index, struct catalog *catalog)
{
    struct catalog_header header;
    struct catalog mapped = {0};
    int result = read_header(fd, &header);

    if (result == 0)
        result = read_bounds(fd, &header, &mapped);
    if (result == 0 && index >= mapped.pool_max)
        result = -EPROTO;
    if (result != 0)
        return result;
    mapped.pool_max = index + 1;
    mapped.size = sizeof header + mapped.pool_max * sizeof(struct catalog_pool);
    result = map(fd, PROT_READ, &mapped);
    if (result != 0)
        return result;
    mapped.workers = NULL;
    mapped.config = NULL;
    *catalog = mapped;
    return 0;
}

/* All of what `catalog` is of, with the size of it; placed at `header`. */
static struct catalog place_whole(const struct catalog *catalog, void *header)
{
    struct catalog whole = {
        .header = header, .pool_max = CATALOG_MAX_POOLS, .worker_max = catalog->worker_max};

    whole.size = place_tables(&whole);
    return whole;
}

const struct catalog_worker *catalog_workers(const struct catalog *catalog)
{
    /* To know where it is mapped is no change of a catalog. */
    _Atomic(void *) *known = &((struct catalog *)catalog)->whole;
    /* Acquire: with the compare-and-swap of who mapped it. */
    void *header = atomic_load_explicit(known, memory_order_acquire), *others = NULL;
    struct catalog whole;

    if (catalog->workers)
        return catalog->workers;
    if (header)
        return place_whole(catalog, header).workers;
    /* Once more the file of the mapping, which is shared, and all of it: mremap(2). */
    whole = place_whole(catalog, NULL);
    header = mremap(catalog->header, 0, whole.size, MREMAP_MAYMOVE);
    if (header == MAP_FAILED)
        return NULL;
    if (!atomic_compare_exchange_strong_explicit(known, &others, header, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        munmap(header, whole.size); /* another thread was faster */
        header = others;
    }
    return place_whole(catalog, header).workers;
}

void catalog_unmap(struct catalog *catalog)
{
    void *whole = atomic_load_explicit(&catalog->whole, memory_order_relaxed);

    if (whole)
        munmap(whole, place_whole(catalog, whole).size);
    if (catalog->header)
        munmap(catalog->header, catalog->size);
    *catalog = (struct catalog){0};
}

void catalog_continue(struct catalog_pool *pool, const struct catalog_pool *previous)
{
    const size_t first = offsetof(struct catalog_pool, counters);
    const size_t end = offsetof(struct catalog_pool, departed) + sizeof pool->departed;

    memcpy((char *)pool + first, (const char *)previous + first, end - first);
    memcpy(pool->commands, previous->commands, sizeof pool->commands);
    shm_store32(&pool->commands_size, previous->commands_size);
}

void catalog_write_begin(struct catalog_pool *pool)
{
    /* Odd before any field changes: the fence keeps the fields' plain stores behind it. */
    atomic_fetch_add_explicit(&pool->version, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

void catalog_write_end(struct catalog_pool *pool)
{
    /* Pairs with the acquire load in catalog_read_pool(). */
    atomic_fetch_add_explicit(&pool->version, 1, memory_order_release);
}

/* The first `size` bytes of entry `index`, as they were at one moment: catalog_read_pool(). */
static int read_entry(const struct catalog *catalog, uint32_t index, void *copy, size_t size)
{
    const struct catalog_pool *shared;

    if (index >= catalog->pool_max)
        return -ENOENT;
    shared = &catalog->pools[index];
    /* The broker writes an entry in well under a microsecond; 1000 tries outlast any live writer.
     */
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t before = atomic_load_explicit(&shared->version, memory_order_acquire);
        bool named = shared->name[0] != 0;

        memcpy(copy, shared, size);
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1) == 0 &&
            before == atomic_load_explicit(&shared->version, memory_order_relaxed))
            return named ? 0 : -ENOENT;
    }
    return -EAGAIN;
}

int catalog_read_pool(const struct catalog *catalog, uint32_t index, struct catalog_pool *pool)
{
    return read_entry(catalog, index, pool, sizeof *pool);
}

int catalog_check_pool(const struct catalog *catalog, uint32_t index)
{
    char nothing;

    return read_entry(catalog, index, &nothing, 0);
}

int catalog_find_pool(const struct catalog *catalog, const char *name)
{
    for (uint32_t i = 0; i < catalog->pool_max; i++)
        if (catalog->pools[i].name[0] &&
            strncmp(catalog->pools[i].name, name, CATALOG_NAME_SIZE) == 0)
            return (int)i;
    return -ENOENT;
}
