/* SPDX-License-Identifier: MIT */
/*
 * The state that is explored: the shared memory, what the explorer itself keeps (struct world: who
 * lives, Redis' streams, what was executed and what was promised), and the live stack bytes of each
 * process. world.c makes a move on the live state and plays the kernel, redis.c plays Redis,
 * check.c looks at what was done, trace.c prints it; ../explorer.c decides which moves are made.
 */
#ifndef HANDOVER_WORLD_H
#define HANDOVER_WORLD_H

#include "model.h"

enum status {
    ABSENT,  /* not part of the scenario */
    READY,   /* stands before a step */
    ASLEEP,  /* in futex(2) */
    WAITING, /* the broker: for an event */
    STOPPED, /* like READY, but goes on only when nothing else happens any more */
    DONE,
    DEAD,
};

struct process {
    int64_t now_ns;      /* what its clock shows beyond everybody's */
    int64_t deadline_ns; /* of its command; 0: none */
    uint64_t held;       /* the word of its lease, 0 for none */
    uint32_t bits;       /* asleep with these */
    uint8_t status;      /* enum status */
    uint8_t index;       /* of the connection held */
    uint8_t slot;        /* 1 + the one that its command is in, 0 for none */
    uint8_t unsettled;   /* woken or born: runs on to its next step within the same transition */
    uint8_t options;     /* it stands before a choice of so many, 0 for none */
    uint8_t chosen;      /* what was chosen */
    uint8_t early_looks; /* left */
    uint8_t give_ups;    /* left */
    uint8_t looked;      /* had its timed look since anything changed */
    uint8_t revoked;     /* its lease was taken from it */
    uint8_t timed_out;   /* its sleep ended by itself */
    uint8_t reaped;      /* dead, and the broker dealt with it */
    uint8_t note;        /* a broken variant's */
    uint8_t fetching;    /* it asks the broker, who answers when it does nothing else */
    uint8_t expelled;    /* and not admitted again */
    uint8_t pad[5];
};

enum closed { OPEN, CLOSED_BY_REDIS, CLOSED_BY_BROKER };

/* A connection in one generation: what Redis has answered and nobody has read. */
struct stream {
    uint8_t closed; /* enum closed */
    uint8_t count;
    uint8_t offset; /* bytes of the first that were read */
    uint8_t torn;   /* a write took only a part: the rest of the batch is still to come */
    uint8_t commands[8];
};

enum outcome {
    OUTCOME_NONE,     /* under way, or not begun */
    OUTCOME_ANSWERED, /* with its reply */
    OUTCOME_NOT_SENT, /* or only a read */
    OUTCOME_UNCERTAIN,
};

struct world {
    struct process processes[MODEL_PROCESSES];
    struct stream streams[MODEL_CONNECTIONS][MODEL_GENERATIONS];
    uint8_t executed[COMMANDS]; /* how often */
    uint8_t outcome[COMMANDS];  /* enum outcome */
    uint8_t crashes;            /* left */
    uint8_t stops;
    uint8_t losses;
    uint8_t revokes;
    uint8_t expulsions;
    uint8_t slow;
    uint8_t pieces;
    uint8_t torn;
    uint8_t deaths;   /* workers whose death the broker has not seen */
    uint8_t lost;     /* connections whose end the broker has not seen */
    uint8_t dialling; /* connections */
    uint8_t doorbell; /* 1: rung */
    uint8_t sweep;    /* 1: due */
    uint8_t event;    /* what the broker was told last, enum event_kind */
    uint8_t argument;
    uint8_t later; /* 1: longer than any limit passed, for nothing else happened */
    uint8_t stall; /* 1: the broker is to look for stopped combiners when some time has passed */
    uint8_t twin_comes; /* 1: the broker has just given it its place */
    uint8_t pad[6];
};

enum move_kind {
    MOVE_STEP,     /* a process makes its step, with choice `argument` if it has one */
    MOVE_LOOK,     /* a sleeper's patience ends */
    MOVE_DEADLINE, /* a sleeper's deadline passes */
    MOVE_EVENT,    /* the broker gets event `process` with `argument` */
    MOVE_LOSS,     /* Redis closes connection `argument` */
    MOVE_STOP,
    MOVE_CONTINUE,
    MOVE_CRASH,
};

struct move {
    uint8_t kind;
    uint8_t process;
    uint8_t argument;
};

#define MOVES_MAX  48u
#define MEMORY_MAX 2048u

/* The explored parts of shared memory. */
struct memory {
    _Alignas(16) unsigned char bytes[MEMORY_MAX];
};

struct snapshot {
    struct memory memory;
    struct world world;
    struct stage stage;
};

extern struct world world;

/* ---- world.c ---- */

/* Puts the first state of `scenario` in place. */
void world_start(void);

/*
 * What can happen next, in `moves`. *ended is true if nothing has to: all that may still happen is
 * up to an adversary (a crash), or a stopped process that goes on after all.
 */
uint32_t world_moves(struct move moves[MOVES_MAX], bool *ended);

/* Makes a move on the live state, and checks it. */
void world_make(struct move move);

void world_save(struct snapshot *snapshot);
void world_restore(const struct snapshot *snapshot);
struct hash snapshot_hash(const struct snapshot *snapshot);

/* The live shared memory, and what `at`, of the live one, was in `memory`. NULL: no part of the
 * state. */
void memory_read(struct memory *memory);
const void *memory_then(const struct memory *memory, const volatile void *at);

bool alive(uint32_t process);
uint32_t model_worker_of(uint32_t slot); /* whose it is; MODEL_PROCESSES: nobody's */

/* ---- redis.c ---- */

/* `fd` says connection and generation. */
int stream_fd(uint32_t index, uint64_t generation);
uint32_t stream_index(int fd);
struct stream *stream_at(uint32_t index, uint64_t generation);

/* ---- check.c ---- */

/* `actor` made a move from `before` to the live state. */
void check_move(uint32_t actor, const struct memory *before);

/* `process` is about to write `size` bytes at `at`, in a slot or a chunk. */
void check_write(uint32_t process, const volatile void *at, size_t size);

/* Nothing has to happen any more. */
void check_end(void);

/* ---- trace.c ---- */

/* Prints move `move`, made in the live state, and what it changed since `before`. */
void trace_move(struct move move, const struct snapshot *before, uint32_t number);

/* Prints the shared words and what the processes are at. */
void trace_state(void);

#endif
