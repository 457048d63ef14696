/* SPDX-License-Identifier: MIT */
/* Making and mapping pool segments: see lendis/segment.h. All bounds are computed and checked here,
 * once. */
#include "lendis/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lendis/catalog.h"
#include "libclient/shared/descriptor.h"

/* Pages that nobody touched take no memory: mailboxes and chunks are so large that using one
 * touches few that are not its own. */
#define PAGE 4096
_Static_assert(PAGE % sizeof(struct mailbox) == 0 && sizeof(struct chunk) % PAGE == 0 &&
                   sizeof(struct wake_group) * WAKE_GROUPS % PAGE == 0,
               "mailboxes must fill pages, chunks be pages");

/* What one page of a page table covers on most machines: 512 entries of 4 KiB. */
#define TABLE_SPAN (UINT64_C(512) * PAGE)

static uint32_t slots_for(uint32_t worker_max)
{
    return worker_max + worker_max / 4 + 64;
}

static uint32_t cells_for(uint32_t slot_max)
{
    uint32_t cells = 64;

    while (cells < slot_max)
        cells *= 2;
    return cells;
}

/* Places the tables of `segment` from its bounds; returns the size that they need together. */
static size_t place_tables(struct segment *segment)
{
    /* A number: where only the size is wanted, there is no base to add to. */
    uintptr_t base = (uintptr_t)segment->base;
    size_t at = sizeof(struct segment_header);

    segment->queue = (void *)(base + at);
    at += sizeof(struct segment_queue);
    segment->chunk_owners = (void *)(base + at);
    at += sizeof(struct chunk_owner) * CHUNKS;
    at = (at + PAGE - 1) & ~(size_t)(PAGE - 1);
    segment->groups = (void *)(base + at);
    at += sizeof(struct wake_group) * WAKE_GROUPS;
    segment->connections = (void *)(base + at);
    at += sizeof(struct connection) * segment->connection_max;
    segment->cells = (void *)(base + at);
    at += sizeof(shm_u64) * segment->cell_count;
    segment->slots = (void *)(base + at);
    at += sizeof(struct wait_slot) * segment->slot_max;
    at = (at + 127) & ~(size_t)127;
    segment->workers = (void *)(base + at);
    at += sizeof(struct worker_block) * segment->worker_max;
    segment->shards = (void *)(base + at);
    at += sizeof(struct histogram_shard) * HISTOGRAM_SHARDS;
    /* Behind all that every worker uses, which is then in reach of one page of the page table: that
     * page is each worker's own, and counts like any other memory. */
    segment->mailboxes = (void *)(base + at);
    at += sizeof(struct mailbox) * segment->slot_max;
    segment->chunks = (void *)(base + at);
    at += sizeof(struct chunk) * CHUNKS;
    segment->cell_shift = (uint32_t)__builtin_ctz(segment->cell_count);
    return at;
}

uint64_t segment_size(uint32_t connection_max, uint32_t worker_max)
{
    struct segment segment = {
        .connection_max = connection_max,
        .worker_max = worker_max,
        .slot_max = slots_for(worker_max),
        .cell_count = cells_for(slots_for(worker_max)),
    };

    return place_tables(&segment);
}

uint64_t segment_mail_size(uint32_t worker_max)
{
    return (uint64_t)sizeof(struct mailbox) * slots_for(worker_max) + sizeof(struct chunk) * CHUNKS;
}

int segment_new(uint32_t pool, uint64_t instance, uint32_t connection_max, uint32_t worker_max,
                int *fd, struct segment *segment)
{
    uint64_t size = segment_size(connection_max, worker_max);
    struct segment_header header = {
        .magic = LENDIS_SEGMENT_MAGIC,
        .abi_major = LENDIS_ABI_MAJOR,
        .abi_minor = LENDIS_ABI_MINOR,
        .size = size,
        .instance = instance,
        .pool = pool,
        .connection_max = connection_max,
        .worker_max = worker_max,
        .slot_max = slots_for(worker_max),
        .cell_count = cells_for(slots_for(worker_max)),
    };
    int made, result;

    made = descriptor_lift(memfd_create(SEGMENT_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (made < 0)
        return -errno;
    if (ftruncate(made, (off_t)size) < 0 ||
        pwrite(made, &header, sizeof header, 0) != sizeof header ||
        fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        result = errno ? -errno : -ENOSPC;
        close(made);
        return result;
    }
    result = segment_map(made, true, segment);
    if (result != 0) {
        close(made);
        return result;
    }
    for (uint32_t i = 0; i < worker_max; i++)
        shm_store32(&segment->slots[i].owner, 1 + i);
    *fd = made;
    return 0;
}

/*
 * Maps it from a multiple of TABLE_SPAN on: the tables and the mailboxes of the first hundreds of
 * workers are then covered by one page of the page table, which each worker has for itself,
 * wherever the kernel puts it otherwise.
 */
static void *map_aligned(size_t size, int protection, int fd)
{
    size_t whole = (size + PAGE - 1) & ~(size_t)(PAGE - 1), before;
    char *room = mmap(NULL, whole + TABLE_SPAN, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *base;

    if (room == MAP_FAILED)
        return MAP_FAILED;
    before = (TABLE_SPAN - (uintptr_t)room % TABLE_SPAN) % TABLE_SPAN;
    base = mmap(room + before, size, protection, MAP_SHARED | MAP_FIXED, fd, 0);
    if (base == MAP_FAILED) {
        int error = errno;

        munmap(room, whole + TABLE_SPAN);
        errno = error;
        return MAP_FAILED;
    }
    if (before > 0)
        munmap(room, before);
    if (before < TABLE_SPAN)
        munmap(room + before + whole, TABLE_SPAN - before);
    return base;
}

int segment_map(int fd, bool writable, struct segment *segment)
{
    struct segment_header header;
    struct segment mapped = {0};
    struct stat stat;
    ssize_t got;

    got = pread(fd, &header, sizeof header, 0);
    if (got < 0)
        return -errno;
    if (got != sizeof header || header.magic != LENDIS_SEGMENT_MAGIC)
        return -EPROTO;
    if (header.abi_major != LENDIS_ABI_MAJOR)
        return -EPROTONOSUPPORT;
    if (header.connection_max < 1 || header.connection_max > LENDIS_MAX_CONNECTIONS ||
        header.worker_max < 1 || header.worker_max > LENDIS_MAX_WORKERS ||
        header.slot_max < header.worker_max || header.slot_max > LENDIS_MAX_SLOTS ||
        header.cell_count != cells_for(header.slot_max))
        return -EPROTO;
    if (fstat(fd, &stat) < 0)
        return -errno;

    mapped.connection_max = header.connection_max;
    mapped.worker_max = header.worker_max;
    mapped.slot_max = header.slot_max;
    mapped.cell_count = header.cell_count;
    mapped.instance = header.instance;
    mapped.size = place_tables(&mapped);
    if (header.size != mapped.size || (uint64_t)stat.st_size != mapped.size)
        return -EPROTO;

    mapped.base = map_aligned(mapped.size, PROT_READ | (writable ? PROT_WRITE : 0), fd);
    if (mapped.base == MAP_FAILED)
        return -errno;
    place_tables(&mapped);
    *segment = mapped;
    return 0;
}

void segment_unmap(struct segment *segment)
{
    if (segment->base)
        munmap(segment->base, segment->size);
    *segment = (struct segment){0};
}
