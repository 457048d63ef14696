/* SPDX-License-Identifier: MIT */
/*
 * The pool segment: shared memory that the broker and all workers of one pool read and write.
 *
 * A sealed memfd (F_SEAL_SHRINK, GROW, SEAL), made by the broker, one per pool:
 *
 *   struct segment_header           written once, before anyone else maps it
 *   struct segment_queue            head and tail of the wait queue
 *   struct chunk_owner[]            who uses a chunk
 *   struct connection[]             one per connection, 128 bytes
 *   struct wake_group[]             the futexes that waiters sleep on
 *   cells[]                         the ring of the wait queue, 8 bytes each
 *   struct histogram_shard[]        the pool's histograms
 *   struct wait_slot[]              256 bytes each; slot i < workers belongs to worker i for good
 *   struct worker_block[]           256 bytes each: the worker's own counters
 *   struct mailbox[]                2 KiB for each slot: a command or its reply on their way
 *   struct chunk[]                  64 KiB each: for what is too large for a mailbox
 *
 * Pages that nobody touched take no memory, so tables can be sized generously; workers map
 * mailboxes and chunks when they use them (mail_area.h). No pointers, only
 * indices; every size comes from the header, which is checked once when mapping and kept in private
 * memory (struct segment), so that a worker that corrupts the segment cannot move a bound
 * (I5).
 */
#ifndef LENDIS_SEGMENT_H
#define LENDIS_SEGMENT_H

#include <stddef.h>
#include "lendis/counters.h"
#include "lendis/histograms.h"
#include "lendis/mail_area.h"
#include "lendis/shm.h"
#include "lendis/word.h"

#define LENDIS_SEGMENT_MAGIC UINT64_C(0x314d47455344454c) /* "LEDSEGM1" */
/* Major: another layout or protocol; both sides refuse the other's. Minor: additions at the end. */
#ifndef LENDIS_ABI_MAJOR /* given by the flavour that tests an upgrade */
#define LENDIS_ABI_MAJOR 6u
#endif
#define LENDIS_ABI_MINOR 0u

/* Worker index that means the broker itself, where a worker index is expected. */
#define LENDIS_BROKER WORD_OWNER_MAX

#define LENDIS_MAX_CONNECTIONS 1024u
/* Of these, kept for connections that are open beside the ones that they replace. */
#define LENDIS_SPARE_PLACES 24u
#define LENDIS_MAX_WORKERS  16384u
#define LENDIS_MAX_SLOTS    (2u * LENDIS_MAX_WORKERS)

struct segment_header {
    uint64_t magic;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint64_t size;           /* bytes, whole segment */
    uint64_t instance;       /* random id of the segment: it can outlive the broker that made it */
    uint32_t pool;           /* index in the catalog */
    uint32_t connection_max; /* length of the tables below */
    uint32_t worker_max;
    uint32_t slot_max;
    uint32_t cell_count; /* power of two, >= slot_max */
    uint32_t tables;     /* bytes up to the mailboxes, before they are rounded up to a page */
    uint32_t reserved[2];
};
_Static_assert(sizeof(struct segment_header) == 64, "layout");

struct segment_queue {
    shm_u64 head;        /* a ticket at or before the oldest waiter's */
    shm_u64 tail;        /* a ticket at or before the next one */
    shm_u32 pollers_due; /* groups of pollers, a bit each, that the broker is to wake */
    shm_u32 turn;    /* behind the connection that was leased last, where that is done in turns */
    shm_u64 overdue; /* 1 + the ticket of one who has waited for reserve_after; 0: nobody says so */
    uint64_t reserved[4];
};
_Static_assert(sizeof(struct segment_queue) == 64, "layout");

/*
 * The receive time-out of a lent socket (SO_RCVTIMEO, socket(7)), which all its holders share: a
 * blocking recv(2) comes back after this at the latest, to check its deadline and to show that it
 * runs. One system call less than with poll(2). Whoever hands the descriptor to a caller clears it.
 */
#define CONNECTION_RECEIVE_MS 250

/* What a holder left behind on a connection that it gives back as UNCLEAN: connection.left. */
enum left {
    LEFT_MULTI = 1,     /* a transaction is open */
    LEFT_WATCH = 2,     /* keys are watched */
    LEFT_DB = 4,        /* another database */
    LEFT_NAME = 8,      /* another name */
    LEFT_OTHER = 16,    /* anything else in the session */
    LEFT_UNSEEN = 32,   /* whatever went through a hiredis context, in whole commands */
    LEFT_UNPROVEN = 64, /* whatever went through the bare descriptor, half a command perhaps */
    LEFT_LASTING = 256, /* what nothing undoes (COMMAND_LASTING): never given back for a reset */
    LEFT_SUSPECT = 128, /* whatever a command keeps there of which nobody knows (COMMAND_SUSPECT) */
};

/* How bytes get to the server: as they are, encrypted by the kernel, or through the broker, which
 * encrypts them. */
enum transport { TRANSPORT_PLAIN, TRANSPORT_KTLS, TRANSPORT_RELAY };

/* Of the name of a command, with its end. */
#define LOST_COMMAND_SIZE 24u

/*
 * leased_ms is CLOCK_MONOTONIC_COARSE of the holder, which can be another clock than its reader's
 * (time_namespaces(7)): a hint, to be checked against what the reader knows by itself.
 */
struct connection {
    _Alignas(64) shm_u64 word; /* word.h */
    shm_u64 uses;              /* leases so far in this generation; written by the holder */
    shm_u64 leased_ms;         /* when the last lease began, by its holder's clock: see below */
    shm_u64 batch;             /* batches of handed-over commands whose sending began; mailbox.h */
    shm_u64 beat;              /* changes while the combiner runs: see beat_make() in mailbox.h */
    shm_u64 stalled; /* 1 + the generation whose combiner is to be inspected by the broker */
    shm_u64 retire;  /* 1 + the generation that is to be returned, not passed on; the broker's, or
                     * of a holder to whom Redis said NOAUTH */
    shm_u64 left;    /* enum left; written by the holder before UNCLEAN */
    shm_u64 rung;    /* which lease, given back, a waiter rang for: libclient/handover/doorbell.c */
    shm_u64 ended;   /* 1 + the generation that the broker closed by itself; the broker's */
    shm_u64 said;    /* (1 + generation) << 8 | an error of the server about itself; 0: none */
    shm_u64 lost;    /* 1 + the generation that ended while a command was being answered */
    shm_u32 lost_by; /* 1 + the worker whose command that was; 0: one of several */
    char lost_command[LOST_COMMAND_SIZE]; /* its name; any bytes */
    shm_u32 transport;                    /* enum transport; for tools; the broker's */
};
_Static_assert(sizeof(struct connection) == 128, "layout");

struct wait_slot {
    _Alignas(64) shm_u32 wake; /* WAKE_NONE, WAKE_ASLEEP, or a hint, see queue.h */
    shm_u32 owner;             /* 1 + worker index; 0 free; fixed for slots below worker_max */
    shm_u64 mail;              /* the state of the slot's mailbox, mailbox.h */
    shm_u32 taker;             /* 1 + worker index of the one that took the command last */
    shm_u32 request_chunk;     /* 1 + the chunk with the request; 0: mail_room() */
    shm_u32 request_size;      /* bytes */
    shm_u32 replies;           /* how many replies the request gets */
    shm_u32 read_only;         /* 1: may be sent twice */
    shm_u32 reply_chunk;       /* 1 + the chunk with the reply, or what a take-over carries */
    shm_u32 reply_size;        /* bytes */
    shm_u32 ticket;   /* its owner waits with; the low bits: by it one knows where it sleeps */
    shm_u32 polls;    /* 1: its owner polls (poll_wakeup.h) and does not sleep on a futex */
    shm_u32 since_ms; /* when its owner began to wait: low bits of CLOCK_MONOTONIC; for tools */
    /* Of connections that its owner has: bit index % 32; others it must fetch. */
    shm_u32 descriptors;
    /* Of slots below worker_max: whose the place is, see wire_welcome; 0: nobody's. */
    shm_u32 tenant;
    char small[192]; /* a small command, then its reply: see mail_room() in mailbox.h */
};
_Static_assert(sizeof(struct wait_slot) == 256, "layout");

/* Waiters sleep on the futex of their ticket's group, see queue.h. */
#define WAKE_GROUPS 64u
struct wake_group {
    _Alignas(64) shm_u32 changes;
};

/* A command, then its reply, that is too large for its slot. Pages that nobody touched take no
 * memory; two share one, for what is handed over is mostly small, and every worker has a
 * mailbox. */
#define MAILBOX_SIZE 2048u
struct mailbox {
    _Alignas(64) char bytes[MAILBOX_SIZE];
};
_Static_assert(sizeof(struct mailbox) == MAILBOX_SIZE, "layout");

/* What does not fit a mailbox and is still handed over; anything larger is transferred by its
 * owner. */
#define CHUNK_SIZE 65536u
#define CHUNKS     64u
struct chunk {
    _Alignas(64) char bytes[CHUNK_SIZE];
};
struct chunk_owner {
    shm_u32 slot; /* 1 + wait slot that it belongs to; 0: free */
};

struct worker_block {
    _Alignas(128) shm_u64 counters[COUNTER_COUNT]; /* one writer: the worker; summed by readers */
};
_Static_assert(sizeof(struct worker_block) == 256, "layout");

/* A process' view of a mapped segment: checked bounds and pointers, in private memory. */
struct segment {
    void *base;
    size_t size;
    uint64_t instance;
    uint32_t connection_max;
    uint32_t worker_max;
    uint32_t slot_max;
    uint32_t cell_count;
    uint32_t cell_shift; /* log2(cell_count) */
    struct segment_queue *queue;
    struct connection *connections;
    shm_u64 *cells;
    struct wait_slot *slots;
    struct worker_block *workers;
    struct histogram_shard *shards;
    struct wake_group *groups;
    struct chunk_owner *chunk_owners;
    /* All of them, in the broker and in tools. In a worker they are NULL, and segment_mailbox() and
     * segment_chunk() get them from the area. */
    struct mailbox *all_mailboxes;
    struct chunk *all_chunks;
    struct mail_area *mail_area;

    /* Sends the poll wake-ups (poll_wakeup.h) of `groups`, a bit each. NULL: pollers find out by
     * themselves. Set by whoever mapped it. */
    void (*wake_pollers)(void *context, uint32_t groups);
    void *wake_context;

    /* Of the catalog: the pool lends nothing while this bit is set. Whoever maps the segment sets
     * it; NULL: the pool always lends. */
    const shm_u64 *paused_pools;
    uint64_t pause_bit;
    /* Likewise: how many of the connections are in use, the first ones. NULL: all. */
    const shm_u32 *places;
};

/* How many connections there are to inspect: the table has room for the pool to grow. */
static inline uint32_t segment_places(const struct segment *segment)
{
    uint32_t places = segment->places ? shm_load32(segment->places) : segment->connection_max;

    return places < segment->connection_max ? places : segment->connection_max;
}

/* The mailbox of slot `slot`, and the bytes of chunk `chunk`, both checked by the caller. NULL:
 * they cannot be mapped now, see mail_area.h. */
static inline struct mailbox *segment_mailbox(const struct segment *segment, uint32_t slot)
{
    if (segment->all_mailboxes)
        return &segment->all_mailboxes[slot];
    return (struct mailbox *)mail_area_at(segment->mail_area, slot * sizeof(struct mailbox));
}

char *segment_chunk(const struct segment *segment, uint32_t chunk);

#define WORD_NOBODY UINT32_MAX

/* The worker that wait slot `slot` belongs to, or WORD_NOBODY. Any number may come out of a
 * segment. */
static inline uint32_t slot_worker(const struct segment *segment, uint32_t slot)
{
    uint32_t worker = slot;

    if (slot >= segment->slot_max)
        return WORD_NOBODY;
    if (slot >= segment->worker_max)
        worker = shm_load32(&segment->slots[slot].owner) - 1;
    return worker < segment->worker_max ? worker : WORD_NOBODY;
}

/*
 * The worker that has a connection by `word`, or that it is on its way to, or that gave it back and
 * it is not seen to yet; WORD_NOBODY: there is none, or none that can be.
 */
static inline uint32_t word_holder(const struct segment *segment, uint64_t word)
{
    switch (word_state(word)) {
    case WORD_LEASED:
    case WORD_RETURNED:
    case WORD_UNCLEAN:
        return word_owner(word) < segment->worker_max ? word_owner(word) : WORD_NOBODY;
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        return slot_worker(segment, word_owner(word));
    default:
        return WORD_NOBODY;
    }
}

/*
 * True while the pool is paused or drained. A hint, which is why it needs no order: whoever has not
 * seen it yet finds no idle connection, for the broker closes them, and what it leases or passes
 * over nevertheless is waited for.
 */
static inline bool segment_is_closed(const struct segment *segment)
{
    return segment->paused_pools && (shm_load_relaxed(segment->paused_pools) & segment->pause_bit);
}

/*
 * Makes the segment of pool `pool` and maps it: a sealed memfd that is closed on exec. worker_max
 * gets worker_max / 4 + 64 wait slots on top, for further threads. Results: 0, *fd and *segment
 * belong to the caller; -errno.
 */
int segment_new(uint32_t pool, uint64_t instance, uint32_t connection_max, uint32_t worker_max,
                int *fd, struct segment *segment);

/*
 * Maps what `fd` is. `writable` false maps read-only, for tools. The descriptor stays the caller's.
 * Results: 0; -EPROTO, not a segment, or sizes that do not fit; -EPROTONOSUPPORT, another ABI;
 * -errno.
 */
int segment_map(int fd, bool writable, struct segment *segment);

/* The same for a worker: its tables alone, writable, and the rest when it is used. */
int segment_map_tables(int fd, struct segment *segment);

void segment_unmap(struct segment *segment);

/* Size in bytes of a segment with these tables; what segment_new() makes. */
uint64_t segment_size(uint32_t connection_max, uint32_t worker_max);

/* What of that is not mailboxes and chunks, of which only the used ones take memory. */
uint64_t segment_tables_size(uint32_t connection_max, uint32_t worker_max);

#endif
