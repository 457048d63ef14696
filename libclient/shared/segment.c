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

/* Mailboxes and chunks begin at pages: they are mapped by themselves. A chunk is in one piece. */
#define PAGE 4096
_Static_assert(PAGE % sizeof(struct mailbox) == 0 && MAIL_PIECE % sizeof(struct mailbox) == 0 &&
                   MAIL_PIECE % sizeof(struct chunk) == 0 && MAIL_PIECE % PAGE == 0,
               "mailboxes must fill pages, and both must fill pieces");

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

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* Bytes from the first mailbox to the first chunk. */
static size_t mailboxes_size(uint32_t slot_max)
{
    return round_up(sizeof(struct mailbox) * slot_max, sizeof(struct chunk));
}

static size_t mail_size(uint32_t slot_max)
{
    return mailboxes_size(slot_max) + sizeof(struct chunk) * CHUNKS;
}

/*
 * Places the tables of `segment` from its bounds; returns the size that they need together, without
 * mailboxes and chunks, which come behind them.
 *
 * In this order: what every lease reads and writes is in the first page or two.
 */
static size_t place_tables(struct segment *segment)
{
    /* A number: where only the size is wanted, there is no base to add to. */
    uintptr_t base = (uintptr_t)segment->base;
    size_t at = sizeof(struct segment_header);

    segment->queue = (void *)(base + at);
    at += sizeof(struct segment_queue);
    segment->chunk_owners = (void *)(base + at);
    at = round_up(at + sizeof(struct chunk_owner) * CHUNKS, _Alignof(struct connection));
    segment->connections = (void *)(base + at);
    at += sizeof(struct connection) * segment->connection_max;
    segment->groups = (void *)(base + at);
    at += sizeof(struct wake_group) * WAKE_GROUPS;
    segment->cells = (void *)(base + at);
    at = round_up(at + sizeof(shm_u64) * segment->cell_count, _Alignof(struct histogram_shard));
    segment->shards = (void *)(base + at);
    at += sizeof(struct histogram_shard) * HISTOGRAM_SHARDS;
    segment->slots = (void *)(base + at);
    at = round_up(at + sizeof(struct wait_slot) * segment->slot_max, _Alignof(struct worker_block));
    segment->workers = (void *)(base + at);
    at += sizeof(struct worker_block) * segment->worker_max;
    segment->cell_shift = (uint32_t)__builtin_ctz(segment->cell_count);
    return at;
}

uint64_t segment_tables_size(uint32_t connection_max, uint32_t worker_max)
{
    struct segment segment = {
        .connection_max = connection_max,
        .worker_max = worker_max,
        .slot_max = slots_for(worker_max),
        .cell_count = cells_for(slots_for(worker_max)),
    };

    return place_tables(&segment);
}

uint64_t segment_size(uint32_t connection_max, uint32_t worker_max)
{
    return round_up(segment_tables_size(connection_max, worker_max), PAGE) +
           mail_size(slots_for(worker_max));
}

char *segment_chunk(const struct segment *segment, uint32_t chunk)
{
    if (segment->all_chunks)
        return segment->all_chunks[chunk].bytes;
    return mail_area_at(segment->mail_area,
                        mailboxes_size(segment->slot_max) + chunk * sizeof(struct chunk));
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
        .tables = (uint32_t)segment_tables_size(connection_max, worker_max),
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

/* Reads and checks the header: the bounds and the size of *mapped, and the instance. Results as
 * segment_map(). */
static int read_bounds(int fd, struct segment *mapped)
{
    struct segment_header header;
    struct stat stat;
    size_t tables;
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
    *mapped = (struct segment){.connection_max = header.connection_max,
                               .worker_max = header.worker_max,
                               .slot_max = header.slot_max,
                               .cell_count = header.cell_count,
                               .instance = header.instance};
    tables = place_tables(mapped);
    mapped->size = round_up(tables, PAGE) + mail_size(mapped->slot_max);
    return header.tables == tables && header.size == mapped->size &&
                   (uint64_t)stat.st_size == mapped->size
               ? 0
               : -EPROTO;
}

int segment_map(int fd, bool writable, struct segment *segment)
{
    struct segment mapped = {0};
    size_t tables;
    int result = read_bounds(fd, &mapped);

    if (result != 0)
        return result;
    mapped.base =
        mmap(NULL, mapped.size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (mapped.base == MAP_FAILED)
        return -errno;
    tables = round_up(place_tables(&mapped), PAGE);
    mapped.all_mailboxes = (void *)((char *)mapped.base + tables);
    mapped.all_chunks = (void *)((char *)mapped.all_mailboxes + mailboxes_size(mapped.slot_max));
    *segment = mapped;
    return 0;
}

int segment_map_tables(int fd, struct segment *segment)
{
    struct segment mapped = {0};
    int result = read_bounds(fd, &mapped);

    if (result != 0)
        return result;
    mapped.size = round_up(place_tables(&mapped), PAGE);
    mapped.base = mmap(NULL, mapped.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped.base == MAP_FAILED)
        return -errno;
    place_tables(&mapped);
    result = mail_area_new((char *)mapped.base + mapped.size - PAGE, PAGE,
                           mail_size(mapped.slot_max), &mapped.mail_area);
    if (result != 0) {
        munmap(mapped.base, mapped.size);
        return result;
    }
    *segment = mapped;
    return 0;
}

void segment_unmap(struct segment *segment)
{
    mail_area_free(segment->mail_area);
    if (segment->base)
        munmap(segment->base, segment->size);
    *segment = (struct segment){0};
}
