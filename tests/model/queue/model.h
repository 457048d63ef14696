/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the model share: the scenario that is explored, what a process is, and what the
 * processes (process.c) tell the explorer (explorer.c). One scenario at a time, one thread.
 */
#ifndef MODEL_H
#define MODEL_H

#include "lendis/queue.h"
#include "stage.h"

#define MODEL_CONNECTIONS 2u
#define MODEL_CELLS       8u
#define MODEL_GENERATION  1u /* of all connections at the start */

/* What worker processes do, and what may happen to them. Sets of workers are bits, 1 << number. */
struct scenario {
    const char *name;
    const char *text;
    uint32_t connections;
    uint32_t cells; /* of the ring, a power of two */
    uint32_t workers;
    uint8_t rounds[MODEL_WORKERS]; /* acquire and release, so often */
    uint8_t holders;               /* start with a connection, worker i with connection i */
    uint8_t keepers;               /* keep their last lease to the end */
    uint8_t unclean;               /* return their connections as unclean */
    uint8_t impatient;             /* may give up at any time, give_ups times */
    uint8_t give_ups;
    uint8_t crashes;     /* so many may be killed, at any step */
    uint8_t mortal;      /* the workers to kill; 0: any */
    uint8_t early_looks; /* timed looks of each while others can run */
    uint8_t births;      /* dead workers' indices given to new workers */
    uint8_t losses;      /* connections that Redis closes, in whichever state */
    uint8_t revokes;     /* leases the broker takes back from living workers */
    uint8_t checks;      /* connections the broker takes for a health check */
    bool broker;
    bool broker_mortal; /* counts as one of `crashes` */
    bool timed_looks;   /* when nothing else happens; without them a lost wake-up shows */
    bool threads;       /* all are threads of one process: worker 0 with several slots */
    bool in_order;      /* check first come, first served */
    bool long_only;     /* not in the short run */
};

extern const struct scenario *scenario;

/* The segment and this process' number, slot and worker index. */
extern struct segment model_segment;
uint32_t model_slot_of(uint32_t process);
uint32_t model_worker_of(uint32_t process);

/* ---- told by workers ---- */

void model_acquire_begins(void);
/* The caller takes `word` of connection `index` for its lease. */
void model_acquired(uint32_t index, uint64_t word);
/* It gave up. */
void model_acquire_ends(void);
/* It found no place in the queue. */
void model_no_place(void);
void model_release_begins(bool clean);
/* What queue_pass_on() or word_return() told: false, the broker had taken it. */
void model_released(bool ours);
void model_doorbell(void);

/* True if the deadline of this acquire passed; any time is possible if the worker is impatient. */
bool model_deadline_passed(void);

/* ---- told by the broker ---- */

enum event_kind {
    EVENT_NONE,
    EVENT_DEATH,    /* of worker `argument` */
    EVENT_DOORBELL, /* a connection was returned */
    EVENT_DIALLED,  /* connection `argument` is open */
    EVENT_SWEEP,    /* some time passed since a death */
    EVENT_LOST,     /* Redis closed connection `argument` */
    EVENT_REVOKE,   /* the lease of connection `argument` ran out */
    EVENT_CHECK,    /* connection `argument` is due for a health check */
};

struct event {
    enum event_kind kind;
    uint32_t argument;
};

struct event model_wait_event(void);
void model_dialling(uint32_t index);
void model_sweep_later(void);
/* All that worker `worker` had is reclaimed: its index may be given to a new worker. */
void model_reaped(uint32_t worker);

/* The programs, in process.c; they return when they are done (the broker never). */
struct task {
    uint32_t rounds;
    bool clean;
    bool keep;
    uint32_t index; /* of the connection that it starts with */
    uint64_t held;  /* its word; 0: it starts without */
};
void worker_run(const struct task *task);
void broker_run(void);

#endif
