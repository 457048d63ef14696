/* SPDX-License-Identifier: MIT */
/* Reading ahead: see plan.h. */
#include "libclient/preload/plan.h"

#include <stdatomic.h>
#include <string.h>

static void note(struct plan *plan, bool *what, const struct sighting *sighting)
{
    *what = true;
    if (!plan->why[0])
        memcpy(plan->why, sighting->verb, sizeof plan->why);
}

static void add(struct plan *plan, const struct sighting *sighting, bool is_first)
{
    const struct command *command = &sighting->command;

    if (is_first)
        plan->first = *sighting;
    switch (sighting->meaning) {
    case MEANS_SELECT:
        if (is_first)
            plan->select = sighting->number;
        note(plan, &plan->own, sighting);
        break;
    case MEANS_NAME:
    case MEANS_ASK_NAME:
    case MEANS_LOGIN:
    case MEANS_QUIT:
        note(plan, &plan->own, sighting);
        break;
    case MEANS_LASTING:
        note(plan, &plan->lasting, sighting);
        break;
    case MEANS_RESET:
        note(plan, &plan->ties, sighting);
        break;
    case MEANS_NOTHING:
        /* It reports what its own connection has written before. */
        if (command->flags & COMMAND_AFTER_WRITE)
            note(plan, &plan->lasting, sighting);
        else if (command->flags & COMMAND_BLOCKING)
            note(plan, &plan->blocks, sighting);
        else if (command->kind != COMMAND_OTHER || (command->flags & COMMAND_SESSION))
            note(plan, &plan->ties, sighting);
        break;
    }
    if (!command_may_share(command) || sighting->meaning != MEANS_NOTHING)
        plan->shares = false;
}

/* ---- what is known ---- */

/* Names of commands that share, of up to 8 letters in capitals, in one number each; one that has
 * the same place goes. */
#define KNOWN 64u

static _Atomic uint64_t known[KNOWN];

static inline uint64_t pack(const char *name, size_t size)
{
    uint64_t packed = 0;

    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)name[i];

        packed = packed << 8 | (byte >= 'a' && byte <= 'z' ? byte - 32u : byte);
    }
    return packed;
}

static inline _Atomic uint64_t *place_of(uint64_t packed)
{
    return &known[(packed * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}

/* Its arguments decide: of these it is not known by its name. */
static bool depends(const char *verb)
{
    return strcmp(verb, "HELLO") == 0 || strcmp(verb, "CLIENT") == 0 ||
           (command_flags(verb) & COMMAND_ARGUMENTS);
}

static void remember(const struct sighting *sighting)
{
    uint64_t packed = pack(sighting->verb, strlen(sighting->verb));

    if (strlen(sighting->verb) > 8 || depends(sighting->verb))
        return;
    atomic_store_explicit(place_of(packed), packed, memory_order_relaxed);
}

/* "<type>NUMBER\r\n" at *at, up to 6 digits. Results: the number; -1. */
static inline long read_line(const char *data, size_t size, size_t *at, char type)
{
    size_t i = *at;
    long number;

    if (size - i < 4 || data[i] != type || data[i + 1] < '0' || data[i + 1] > '9' ||
        (data[i + 1] == '0' && data[i + 2] != '\r'))
        return -1;
    number = data[i + 1] - '0';
    for (i += 2; i < size && data[i] >= '0' && data[i] <= '9' && number < 100000; i++)
        number = number * 10 + (data[i] - '0');
    if (size - i < 2 || data[i] != '\r' || data[i + 1] != '\n')
        return -1;
    *at = i + 2;
    return number;
}

/* Passes the command at *at. False: it is not whole, or not known. */
static bool pass_known(const char *data, size_t size, size_t *at)
{
    long count = read_line(data, size, at, '*');

    if (count < 1)
        return false;
    for (long i = 0; i < count; i++) {
        long length = read_line(data, size, at, '$');
        uint64_t packed;

        if (length < 0 || size - *at < (size_t)length + 2)
            return false;
        if (i == 0) {
            if (length == 0 || length > 8)
                return false;
            packed = pack(data + *at, (size_t)length);
            if (atomic_load_explicit(place_of(packed), memory_order_relaxed) != packed)
                return false;
        }
        *at += (size_t)length + 2;
    }
    return true;
}

bool plan_known(struct plan *plan, const char *data, size_t size)
{
    unsigned commands = 0;
    size_t at = 0;

    for (; at < size; commands++)
        if (!pass_known(data, size, &at))
            return false;
    *plan = (struct plan){.commands = commands, .shares = true, .select = -1};
    return true;
}

void plan_make(struct plan *plan, const char *data, size_t size, stream_classifier *classifier,
               void *context)
{
    struct request request = {0};
    struct sighting sighting;

    *plan = (struct plan){.shares = true, .select = -1};
    while (size > 0) {
        size_t used;
        int result = request_feed(&request, data, size, &used);

        if (result < 0) {
            plan->foreign = true;
            return;
        }
        if (stream_sight(&request, classifier, context, &sighting))
            add(plan, &sighting, plan->commands == 0);
        else
            plan->unknown = true;
        data += used;
        size -= used;
        if (result == 1) {
            plan->commands++;
            if (sighting.meaning == MEANS_NOTHING && command_may_share(&sighting.command))
                remember(&sighting);
            request_end(&request);
        }
    }
    plan->partial = !request_is_between(&request);
}

size_t plan_first_end(const char *data, size_t size)
{
    struct request request = {0};
    size_t used = 0;

    return request_feed(&request, data, size, &used) == 1 ? used : 0;
}
