/* SPDX-License-Identifier: MIT */
/*
 * Handing a command over: the state of a mailbox, and its moves.
 *
 * A waiter whose command may share a connection writes it into its slot's mailbox and queues up
 * like any other waiter. A combiner, the holder of some connection, takes queued commands in their
 * order, sends them in one write, and delivers each reply. The mail word of the slot is the only
 * truth about who has the command:
 *
 *   state (4 bits) | connection (10) | generation (13) | batch (12) | sequence (25)
 *
 *   from        to          who
 *   FREE        OWNED       the owner of the slot; the sequence goes up by one
 *   OWNED       QUEUED      the owner: the command is in the mailbox
 *   QUEUED      TAKEN       a combiner, for a batch on its connection
 *   TAKEN       DONE        the combiner: the reply is in the mailbox
 *   TAKEN       TAKEOVER    the combiner: the owner shall read on (a large reply, or time is up)
 *   TAKEN       RETRY       the combiner, or the broker for a dead one: it was not sent
 *   TAKEN       FAILED      likewise: it was sent, and the connection is lost
 *   TAKEN       ABANDONED   the owner: deadline, or a lost connection; not its own mailbox now
 *   ABANDONED   FREE        the combiner, or the broker for a dead one: it touches it no more
 *   QUEUED, DONE, TAKEOVER,
 *   RETRY, FAILED  OWNED    the owner: took what there is, and clears up
 *   the same, OWNED  FREE   the owner: there is nothing to clear up (any more)
 *   all but FREE,
 *   ABANDONED   FREE        the broker, for a dead owner; TAKEN becomes ABANDONED
 *
 * Upholds I4: between TAKEN and what follows, the mailbox belongs to the combiner, and a late one,
 * stopped for however long, finds that the word is no longer what it put there. An abandoned
 * mailbox is not used again before its combiner says so or is dead.
 *
 * A slot is no identity: its owner can have lost its place to another process and not know it yet
 * (broker/workers/worker.h). So the owner moves the word by compare-and-swap as well, from FREE on,
 * and goes by the sequence that it put there: a mailbox with another sequence is somebody else's.
 * It takes a reply out of the mailbox first and moves the word that it saw afterwards; if that
 * fails, what it took is not its reply.
 *
 * Whether a taken command was sent is told by connection.batch: the number of batches whose sending
 * began. The combiner raises it right before the write, and looks once more for abandoned commands
 * after that; the owner abandons first and reads it afterwards. So what an owner was told was not
 * sent never is.
 */
#ifndef LENDIS_MAILBOX_H
#define LENDIS_MAILBOX_H

#include "lendis/queue.h"

enum mail_state {
    MAIL_FREE = 0,
    MAIL_QUEUED = 1,
    MAIL_TAKEN = 2,
    MAIL_DONE = 3,
    MAIL_TAKEOVER = 4,
    MAIL_RETRY = 5,
    MAIL_FAILED = 6,
    MAIL_ABANDONED = 7,
    MAIL_OWNED = 8,
};

/*
 * A combiner shows that it runs by changing connection.beat every CONNECTION_RECEIVE_MS. Only
 * whether it changes means anything: who looks compares it with what it found before, and counts
 * the time between by its own clock, for another process' clock can be another one
 * (time_namespaces(7)). The writer's thread is in it, for the broker, which looks what that one is
 * doing before it takes it for stopped.
 */
#define BEAT_THREAD_BITS 22 /* the kernel has no larger numbers: pid_max in proc_sys_kernel(5) */

static inline uint64_t beat_make(uint64_t now_ms, uint32_t thread)
{
    return now_ms << BEAT_THREAD_BITS | (thread & ((1u << BEAT_THREAD_BITS) - 1));
}

static inline uint32_t beat_thread(uint64_t beat)
{
    return (uint32_t)beat & ((1u << BEAT_THREAD_BITS) - 1);
}

/* A combiner whose beat has not changed for the pool's stall_timeout may have stopped. The least
 * that can be set: twice the time between two beats, and a tick. */
#define MAIL_STALL_LEAST_MS 600u
_Static_assert(2 * CONNECTION_RECEIVE_MS < MAIL_STALL_LEAST_MS,
               "a combiner that waits must not pass for stopped");

/* wait_slot.reply_size with MAIL_RETRY: the reply is too large to be handed over now. */
#define REPLY_TOO_LARGE UINT32_MAX
/* With MAIL_FAILED: the connection ended while the command was being answered. */
#define REPLY_LOST (UINT32_MAX - 1)

static inline enum mail_state mail_state(uint64_t mail)
{
    return (enum mail_state)(mail & 15);
}

static inline uint32_t mail_connection(uint64_t mail)
{
    return (uint32_t)(mail >> 4) & 1023;
}

/* The low bits of the connection's generation. */
static inline uint32_t mail_generation(uint64_t mail)
{
    return (uint32_t)(mail >> 14) & 8191;
}

static inline uint32_t mail_batch(uint64_t mail)
{
    return (uint32_t)(mail >> 27) & 4095;
}

/* Which command of the slot it is. */
static inline uint32_t mail_sequence(uint64_t mail)
{
    return (uint32_t)(mail >> 39);
}

/* The same command in another state. */
static inline uint64_t mail_with(uint64_t mail, enum mail_state state)
{
    return (mail & ~UINT64_C(15)) | (uint64_t)state;
}

/* `mail`, free, as its slot's owner takes it for its next command. */
static inline uint64_t mail_next(uint64_t mail)
{
    return ((mail >> 39) + 1) << 39 | MAIL_OWNED;
}

/* `mail`, queued, as taken for batch `batch` on connection `index` in `generation`. */
static inline uint64_t mail_taken(uint64_t mail, uint32_t index, uint64_t generation,
                                  uint64_t batch)
{
    return (mail >> 39) << 39 | (batch & 4095) << 27 | (generation & 8191) << 14 |
           (uint64_t)index << 4 | MAIL_TAKEN;
}

/* True if it was taken for connection `index` in `generation`. */
static inline bool mail_is_for(uint64_t mail, uint32_t index, uint64_t generation)
{
    return mail_connection(mail) == index && mail_generation(mail) == (generation & 8191);
}

/* True while connection `word` is still what the command was taken for. */
static inline bool mail_fits(uint64_t mail, uint64_t word)
{
    return mail_generation(mail) == (word_generation(word) & 8191) &&
           (word_state(word) == WORD_LEASED || word_state(word) == WORD_TRANSFERRED);
}

/* True if the batch of a taken command began to be sent. */
bool mail_was_sent(const struct segment *segment, uint64_t mail);

/* A combiner's last word on a command that its owner abandoned; frees its chunks, the one that the
 * combiner may be filling included. */
void mail_acknowledge(const struct segment *segment, uint32_t slot, uint64_t taken);

/*
 * Where a request or a reply of `size` bytes of `slot` is: beside the slot's own words, which
 * whoever reads them has in its cache and its TLB anyway, or in the mailbox. NULL: in neither, it
 * takes a chunk; or the mailbox cannot be mapped. The reply may lie over the request, which was
 * sent by then; who sends a command again has it in its own memory.
 */
static inline char *mail_room(const struct segment *segment, uint32_t slot, size_t size)
{
    struct mailbox *mailbox;

    if (size <= sizeof segment->slots[slot].small)
        return segment->slots[slot].small;
    mailbox = size <= MAILBOX_SIZE ? segment_mailbox(segment, slot) : NULL;
    return mailbox ? mailbox->bytes : NULL;
}

/* ---- chunks ---- */

/* A free chunk for `slot`, which segment_chunk() has; or -1. */
int chunk_claim(const struct segment *segment, uint32_t slot);

/* Frees chunk `chunk` if it is `slot`'s. Any number is allowed. */
void chunk_free(const struct segment *segment, uint32_t chunk, uint32_t slot);

/*
 * Frees all that are `slot`'s, for who has its mailbox to itself: also one that a combiner had
 * claimed when it died, and said to nobody.
 */
void chunks_free_all(const struct segment *segment, uint32_t slot);

/*
 * ---- the broker, for the dead ----
 *
 * One pass over the slots, whatever number of connections is concerned: that is the budget of a
 * wake-up of the broker. So connections are told of by a table of as many words as the segment has
 * connections: `lost[index]` is the word by which connection `index` was taken from its holder; 0:
 * it was not.
 */

/*
 * `worker` is dead and held the connections `lost`. What it had taken fails or is tried
 * again, what had been abandoned to it becomes free, and the owners are woken.
 */
void mail_taker_died(const struct segment *segment, uint32_t worker, const uint64_t *lost);

/* `slot`'s owner is dead: its command is withdrawn, or left to its combiner as abandoned. */
void mail_owner_died(const struct segment *segment, uint32_t slot);

/*
 * The connections `lost` were taken from the living. If that was LEASED, what is under way on it is
 * its holder's to end, who is put down as its taker, and with `wake` the owners are woken, for the
 * holder may have stopped. If it was TRANSFERRED it had no holder: who transferred it has forgotten
 * it, and nobody came for it. Then its commands are ended here.
 */
void mail_revoked(const struct segment *segment, const uint64_t *lost, bool wake);

#endif
