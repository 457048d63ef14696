/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the hand-over's model share: the scenario that is explored, what a process is,
 * and what the processes (process.c) tell the explorer (world.c). One scenario at a time, one
 * thread.
 */
#ifndef HANDOVER_MODEL_H
#define HANDOVER_MODEL_H

#include "libclient/exec.h"
#include "lendis/queue.h"
#include "stage.h"
#include "system.h"

#define MODEL_CONNECTIONS 2u
#define MODEL_CELLS       8u
#define MODEL_SLOTS       (MODEL_WORKERS + 2) /* further ones at the end */
#define MODEL_GENERATIONS 6u                  /* of a connection, at most */

/* A command is known by a number: its worker, and which of the worker's commands it is. */
#define COMMANDS_EACH 4u
#define COMMANDS      (MODEL_WORKERS * COMMANDS_EACH)
#define REQUEST_SIZE  20u
#define REPLY_MAX     40u

/* How far a worker comes, alone, before the exploration begins. */
enum until {
    UNTIL_NOTHING,
    UNTIL_ASLEEP,
    UNTIL_SEND,    /* it has raised the number of batches, and stands before the write */
    UNTIL_RECEIVE, /* it has sent */
    UNTIL_LEASED,  /* it has a connection */
};

struct prelude {
    uint8_t worker;
    uint8_t until; /* enum until */
};
#define PRELUDES 4u

/* What workers do, and what may happen to them. Sets of workers are bits, 1 << number. */
struct scenario {
    const char *name;
    const char *text;
    uint32_t connections;
    uint32_t cells; /* of the ring, a power of two */
    uint32_t workers;
    uint32_t further; /* wait slots beyond the workers' own */
    struct prelude preludes[PRELUDES];
    uint8_t rounds[MODEL_WORKERS]; /* commands, one after the other */
    uint8_t reads;                 /* their commands only read */
    uint8_t large;                 /* their replies do not fit a combiner's buffer */
    uint8_t huge;                  /* theirs do not fit a chunk either */
    uint8_t alone;                 /* their commands may not share a connection */
    uint8_t impatient;             /* have a deadline, which may pass at any time */
    uint8_t give_ups;              /* so many of each pass */
    uint8_t crashes;               /* so many processes may be killed, at any step */
    uint8_t mortal;                /* the workers to kill; 0: any */
    bool idle_deaths;              /* also when they have done all their commands */
    uint8_t stops;                 /* so many may be stopped, until nothing else happens any more */
    uint8_t early_looks;           /* timed looks of each while others can run */
    uint8_t losses;                /* connections that Redis closes, at any time */
    uint8_t revokes;               /* leases that the broker takes back from living workers */
    uint8_t expulsions;            /* living workers that the broker expels, at any time */
    bool twins;           /* the place of 0, which lives, is given to 1 at any time but in the
                                      middle of a copy or a batch: it has rested for that long */
    bool wraps;           /* all counters begin shortly before they wrap */
    uint8_t slow;         /* times that Redis takes longer than a combiner's patience */
    uint8_t pieces;       /* reads that bring only a part of what there is */
    uint8_t torn;         /* writes that take only a part of what they are given */
    uint8_t chunks_taken; /* chunks that somebody else has */
    bool rested;          /* the connections were not used for a while */
    bool broker;
    bool broker_mortal; /* counts as one of `crashes` */
    bool timed_looks;   /* when nothing else happens; without them a lost wake-up shows */
    bool long_only;     /* not in the short run */
};

extern const struct scenario *scenario;
extern struct segment model_segment;
extern struct catalog model_catalog;

/* The generation of all connections at the start. */
static inline uint64_t model_generation(void)
{
    return scenario->wraps ? WORD_GENERATION_MAX : 1;
}

/* The worker index that a process has. */
static inline uint32_t model_place(uint32_t process)
{
    return scenario->twins && process == 1 ? 0 : process;
}

/* ---- told by workers ---- */

/* `command` begins. Its deadline in milliseconds; -1: none. */
int model_command_begins(uint32_t command);
/* It ended with `result`, and with `size` bytes of reply at `reply`. */
void model_command_ends(uint32_t command, int result, const char *reply, size_t size);

/* The request of `command`, REQUEST_SIZE bytes. */
void model_request(uint32_t command, char request[REQUEST_SIZE]);

/* ---- told by the broker ---- */

enum event_kind {
    EVENT_NONE,
    EVENT_DEATH,     /* of worker `argument` */
    EVENT_DOORBELL,  /* somebody rang */
    EVENT_DIALLED,   /* connection `argument` is open */
    EVENT_SWEEP,     /* some time passed since a hand-over was noted */
    EVENT_LOST,      /* Redis closed connection `argument` */
    EVENT_REVOKE,    /* the holder of connection `argument` is to lose it */
    EVENT_STALL,     /* nothing happened for longer than a combiner may be silent */
    EVENT_EXPEL,     /* worker `argument`, which lives, cannot be reached */
    EVENT_GIVE_AWAY, /* likewise, and its place rested for so long that it is given to its twin */
};

struct event {
    enum event_kind kind;
    uint32_t argument;
};

struct event model_wait_event(void);
void model_shutdown(uint32_t index, uint64_t generation);
void model_dialling(uint32_t index);
void model_sweep_later(void);
void model_look_later(void);
/* All that worker `worker` had is reclaimed. */
void model_reaped(uint32_t worker);
/* Its place is its twin's. */
void model_given_away(void);
/* It is expelled; an expelled one asks to be a worker again, and is. */
void model_expelled(uint32_t worker);
bool model_is_expelled(uint32_t worker);
bool model_readmit(struct attachment *attachment);
bool model_is_attached(uint32_t worker);

/* The programs, in process.c; a worker's returns when it is done, the broker's never. */
void worker_run(uint32_t worker, uint32_t commands);
void broker_run(void);

#endif
