/* SPDX-License-Identifier: MIT */
/* The processes' stacks: see stage.h. */
#include "stage.h"

#include <string.h>
#include "coroutine.h"

struct site sites[MODEL_PROCESSES];
struct violation violation;

static struct coroutine coroutines[MODEL_PROCESSES];
static size_t live[MODEL_PROCESSES];
static uint64_t stack_hash[MODEL_PROCESSES][2];
static uint32_t running;

void violate(const char *text, uint64_t a, uint64_t b)
{
    if (!violation.text)
        violation = (struct violation){text, a, b};
}

uint32_t model_self(void)
{
    return running;
}

/* ---- hashing: multiply and fold, two lanes ---- */

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

void hash_bytes(const void *data, size_t bytes, uint64_t hash[2])
{
    const unsigned char *at = data;
    uint64_t a = hash[0], b = hash[1];

    for (; bytes > 0; bytes -= bytes < 16 ? 8 : 16, at += 16) {
        uint64_t first, second = 0;

        memcpy(&first, at, 8);
        if (bytes >= 16)
            memcpy(&second, at + 8, 8);
        a = fold(a ^ first, second ^ UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0x2545f4914f6cdd1d);
        b = fold(b + second, first ^ UINT64_C(0xd6e8feb86659fd93)) ^ UINT64_C(0xa0761d6478bd642f);
    }
    hash[0] = a;
    hash[1] = b;
}

struct hash hash_end(const uint64_t hash[2])
{
    return (struct hash){fold(hash[0], UINT64_C(0xe7037ed1a0b428db)) ^ hash[1],
                         fold(hash[1], UINT64_C(0x8ebc6af09c88c6e3)) + hash[0]};
}

/* ---- running ---- */

static unsigned char *bytes_of(uint32_t process)
{
    return coroutines[process].stack + COROUTINE_STACK - live[process];
}

void stage_clear(void)
{
    memset(sites, 0, sizeof sites);
    memset(live, 0, sizeof live);
    memset(stack_hash, 0, sizeof stack_hash);
    violation = (struct violation){0};
}

void stage_begin(uint32_t process, void (*entry)(void))
{
    coroutine_start(&coroutines[process], entry, &live[process]);
}

void stage_end(uint32_t process)
{
    live[process] = 0;
    memset(stack_hash[process], 0, sizeof stack_hash[process]);
    sites[process] = (struct site){0};
}

void stage_run(uint32_t process)
{
    running = process;
    coroutine_run(&coroutines[process], &live[process]);
    if (live[process] > STACK_SAVED)
        violate("model: a stack of %llu bytes", live[process], 0);
    stack_hash[process][0] = live[process];
    stack_hash[process][1] = process;
    hash_bytes(bytes_of(process), live[process], stack_hash[process]);
}

void lendis_step(const char *where)
{
    sites[running].what = where;
    coroutine_yield();
    sites[running] = (struct site){0};
}

void stage_rest(struct site site)
{
    sites[running] = site;
    coroutine_yield();
    sites[running] = (struct site){0};
}

/* ---- snapshots ---- */

void stage_save(struct stage *stage)
{
    memcpy(stage->sites, sites, sizeof sites);
    memcpy(stage->live, live, sizeof live);
    memcpy(stage->stack_hash, stack_hash, sizeof stack_hash);
    for (uint32_t i = 0; i < MODEL_PROCESSES && !violation.text; i++)
        memcpy(stage->stacks[i], bytes_of(i), live[i]);
}

void stage_restore(const struct stage *stage)
{
    memcpy(sites, stage->sites, sizeof sites);
    memcpy(live, stage->live, sizeof live);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (memcmp(stack_hash[i], stage->stack_hash[i], sizeof stack_hash[i]) != 0)
            memcpy(bytes_of(i), stage->stacks[i], live[i]);
    memcpy(stack_hash, stage->stack_hash, sizeof stack_hash);
    violation = (struct violation){0};
}
