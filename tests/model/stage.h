/* SPDX-License-Identifier: MIT */
/*
 * What every model has, whatever its processes do: the processes' stacks, what each is about to do,
 * and the first thing that was found wrong. A model's world.h adds the shared memory and the moves;
 * explorer.c searches.
 */
#ifndef MODEL_STAGE_H
#define MODEL_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_WORKERS   4u
#define MODEL_BROKER    MODEL_WORKERS /* the broker's process number */
#define MODEL_PROCESSES (MODEL_WORKERS + 1)

/* Live bytes of a process at rest, at most. */
#define STACK_SAVED 6144u

/* What a process is about to do, for traces. */
struct site {
    const char *function;
    const char *what;
    const volatile void *at;
    int line;
};

/* The stacks of a state. */
struct stage {
    struct site sites[MODEL_PROCESSES];
    size_t live[MODEL_PROCESSES];
    uint64_t stack_hash[MODEL_PROCESSES][2];
    _Alignas(16) unsigned char stacks[MODEL_PROCESSES][STACK_SAVED];
};

/* What is wrong: NULL, or a sentence with up to two numbers. */
struct violation {
    const char *text;
    uint64_t a, b;
};

struct hash {
    uint64_t a, b;
};

extern struct site sites[MODEL_PROCESSES];
extern struct violation violation;

/* Notes that something is wrong, if nothing was before. `text` has two %llu at most. */
void violate(const char *text, uint64_t a, uint64_t b);

/* The process that runs. */
uint32_t model_self(void);

/* No process has a stack. */
void stage_clear(void);
/* `process` begins at `entry`; or has come to its end. */
void stage_begin(uint32_t process, void (*entry)(void));
void stage_end(uint32_t process);
/* Runs `process` to its next step; it then stands before it, or rests. */
void stage_run(uint32_t process);

/* What steps.h makes of a step: notes where it is and what it touches. Each model's own. */
void model_site(const char *function, int line, const volatile void *at);
/* lendis/shm.h's: the process that runs stands before a step. */
void lendis_step(const char *where);

/* Called by a process that runs: it rests, as `site` says. */
void stage_rest(struct site site);

void stage_save(struct stage *stage);
void stage_restore(const struct stage *stage);

/* `bytes` is a multiple of 8. */
void hash_bytes(const void *data, size_t bytes, uint64_t hash[2]);
struct hash hash_end(const uint64_t hash[2]);

#endif
