/* SPDX-License-Identifier: MIT */
/*
 * The state that is explored. Three parts make a state: the shared words (struct shared), what the
 * explorer itself keeps (struct world: who lives, what was promised, what an observer saw), and the
 * live stack bytes of each process. world.c makes a move on the live state, check.c looks at what
 * it did, trace.c prints it; explorer.c decides which moves are made.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "model.h"

struct shared {
    uint64_t words[MODEL_CONNECTIONS];
    uint64_t cells[MODEL_CELLS];
    uint64_t head;
    uint64_t tail;
    uint64_t changes; /* of wake group 0; no scenario has so many tickets that there is another */
    uint32_t wakes[MODEL_PROCESSES];
    uint32_t tickets[MODEL_PROCESSES];
};

enum status {
    ABSENT,  /* not part of the scenario */
    READY,   /* stands before a step */
    ASLEEP,  /* in futex(2) */
    WAITING, /* the broker: for an event */
    DONE,
    DEAD,
};

struct process {
    uint64_t held;       /* the word of its lease, 0 for none */
    uint32_t bits;       /* asleep with these */
    uint8_t status;      /* enum status */
    uint8_t index;       /* of the connection held */
    uint8_t unsettled;   /* woken or born: runs on to its next step within the same transition */
    uint8_t options;     /* it stands before a choice of so many, 0 for none */
    uint8_t chosen;      /* what was chosen */
    uint8_t early_looks; /* left */
    uint8_t give_ups;    /* left */
    uint8_t passed;      /* its deadline did */
    uint8_t looked;      /* had its timed look since anything changed */
    uint8_t revoked;     /* the broker took its lease */
    uint8_t acquiring;
    uint8_t beginning; /* an acquire, with its next step */
    uint8_t before;    /* workers that were in the queue when it began and are to be served first */
    uint8_t granted;   /* has or is being handed a connection */
    uint8_t reaped;    /* dead, and the broker dealt with it */
    uint8_t timed_out; /* its sleep ended by itself */
    uint8_t pad[4];
};

struct world {
    struct process processes[MODEL_PROCESSES];
    uint64_t tainted[MODEL_CONNECTIONS]; /* generations below it were not proven clean */
    uint8_t crashes;                     /* left */
    uint8_t births;
    uint8_t losses;
    uint8_t revokes;
    uint8_t checks;
    uint8_t deaths;   /* workers whose death the broker has not seen */
    uint8_t dialling; /* connections */
    uint8_t doorbell; /* 1: rung */
    uint8_t sweep;    /* 1: due */
    uint8_t event;    /* what the broker was told last, enum event_kind */
    uint8_t argument;
    uint8_t pad[5];
};

enum move_kind {
    MOVE_STEP,     /* a process makes its step, with choice `argument` if it has one */
    MOVE_LOOK,     /* a sleeper's patience ends */
    MOVE_DEADLINE, /* a sleeper's deadline passes */
    MOVE_EVENT,    /* the broker gets event `process` with `argument` */
    MOVE_BIRTH,    /* a new worker in the place of a dead one */
    MOVE_CRASH,
};

struct move {
    uint8_t kind;
    uint8_t process;
    uint8_t argument;
};

#define MOVES_MAX 32u
struct snapshot {
    struct shared shared;
    struct world world;
    struct stage stage;
};

extern struct world world;

/* ---- world.c ---- */

/* Puts the first state of `scenario` in place. */
void world_start(void);

/*
 * What can happen next, in `moves`. *ended is true if nothing has to: all that may still happen is
 * up to an adversary (a crash) or an operator.
 */
uint32_t world_moves(struct move moves[MOVES_MAX], bool *ended);

/* Makes a move on the live state, and checks it. */
void world_make(struct move move);

void world_save(struct snapshot *snapshot);
void world_restore(const struct snapshot *snapshot);

struct hash snapshot_hash(const struct snapshot *snapshot);

/* The live shared words. */
void shared_read(struct shared *shared);

bool alive(uint32_t process);

/* ---- check.c ---- */

/* `process` is about to make the first step of an acquire: notes who is in the queue by now. */
void check_begin(uint32_t process);

/* `process` is served: who was there first must have been. */
void check_turn(uint32_t process);

/* `actor` made a move from `before` to the live state. */
void check_move(uint32_t actor, const struct shared *before);

/* Nothing has to happen any more. */
void check_end(void);

/* ---- trace.c ---- */

/* Prints move `move`, made in the live state, and what it changed since `before`. */
void trace_move(struct move move, const struct snapshot *before, uint32_t number);

/* Prints the shared words and what the processes are at. */
void trace_state(void);

#endif
