/* SPDX-License-Identifier: MIT */
/*
 * `lendisctl show preload`: what became of the connections of unmodified programs, for each program
 * and pool. See show.h and PRELOAD_COUNTERS of lendis/counters.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/ctl/show.h"

enum {
    PRELOAD_POOL,
    PRELOAD_PROGRAM,
    PRELOAD_PROCESSES,
    PRELOAD_VIRTUAL,
    PRELOAD_REQUESTS,
    PRELOAD_COPIED,
    PRELOAD_ANSWERED,
    PRELOAD_PINNED,
    PRELOAD_REAL,
    PRELOAD_LOST,
    PRELOAD_PINNED_BY,
    PRELOAD_REAL_BECAUSE,
    PRELOAD_COUNTS, /* one for each counter of the kind */
    PRELOAD_COLUMNS = PRELOAD_COUNTS + COUNTER_COUNT - COUNTER_PRELOAD_FIRST
};

#define PRELOAD_COLUMN(name) (PRELOAD_COUNTS + COUNTER_##name - COUNTER_PRELOAD_FIRST)

static const struct column preload_columns[PRELOAD_COLUMNS] = {
    [PRELOAD_POOL] = {"pool", "pool", COLUMN_TEXT},
    [PRELOAD_PROGRAM] = {"program", "program", COLUMN_TEXT},
    [PRELOAD_PROCESSES] = {"processes", "processes", COLUMN_NUMBER},
    [PRELOAD_VIRTUAL] = {"virtual", "virtual", COLUMN_NUMBER},
    [PRELOAD_REQUESTS] = {"requests", "requests", COLUMN_NUMBER},
    [PRELOAD_COPIED] = {"copied", "copied", COLUMN_NUMBER},
    [PRELOAD_ANSWERED] = {"answered", "answered", COLUMN_NUMBER},
    [PRELOAD_PINNED] = {"pinned", "pinned", COLUMN_NUMBER},
    [PRELOAD_REAL] = {"real", "real", COLUMN_NUMBER},
    [PRELOAD_LOST] = {"lost", "lost", COLUMN_NUMBER},
    [PRELOAD_PINNED_BY] = {"pinned_by", "pinned by", COLUMN_TEXT},
    [PRELOAD_REAL_BECAUSE] = {"real_because", "real because", COLUMN_TEXT},
#define COLUMN_OF(name, unit, text) [PRELOAD_COLUMN(name)] = {#name "_total", NULL, COLUMN_NUMBER},
    PRELOAD_COUNTERS(COLUMN_OF)
#undef COLUMN_OF
};

static const char *const names[] = {
#define NAME_OF(name, unit, text) #name,
    PRELOAD_COUNTERS(NAME_OF)
#undef NAME_OF
};

struct program {
    char name[32]; /* "": of processes that are gone, or that are not ours to ask */
    uint32_t processes;
    uint64_t counts[COUNTER_COUNT];
};

struct programs {
    struct program *program;
    size_t count;
};

/* There is room for one for each worker, and one more. */
static struct program *find_program(struct programs *programs, const char *name)
{
    for (size_t i = 0; i < programs->count; i++)
        if (strcmp(programs->program[i].name, name) == 0)
            return &programs->program[i];
    programs->program[programs->count] = (struct program){0};
    snprintf(programs->program[programs->count].name, sizeof programs->program->name, "%s", name);
    return &programs->program[programs->count++];
}

/* False: nothing of these was counted. */
static bool has_counted(const shm_u64 *counters)
{
    for (uint32_t i = COUNTER_PRELOAD_FIRST; i < COUNTER_COUNT; i++)
        if (shm_load_relaxed(&counters[i]) != 0)
            return true;
    return false;
}

static struct program *add(struct programs *programs, const char *name, const shm_u64 *counters)
{
    struct program *program = find_program(programs, name);

    for (uint32_t i = COUNTER_PRELOAD_FIRST; i < COUNTER_COUNT; i++)
        program->counts[i] += shm_load_relaxed(&counters[i]);
    return program;
}

static void add_workers(struct programs *programs, const struct show *show, uint32_t index,
                        const struct segment *segment)
{
    const struct catalog *catalog = &show->broker->catalog;

    for (uint32_t i = 0; segment->base && i < catalog->worker_max && i < segment->worker_max; i++) {
        char name[sizeof programs->program->name];
        size_t size;

        if (statistics_worker_pool(catalog, i) != (int)index ||
            !has_counted(segment->workers[i].counters))
            continue;
        size = broker_command(show->broker, catalog->workers[i].pid, name, sizeof name - 1);
        name[size] = '\0';
        add(programs, name, segment->workers[i].counters)->processes++;
    }
}

/* "transaction 3, blocking 1": those counters whose names begin so, but for what is 0. Results:
 * their sum. */
static uint64_t describe(const struct program *program, const char *prefix, char *text, size_t size)
{
    size_t length = strlen(prefix), used = 0;
    uint64_t sum = 0;

    text[0] = '\0';
    for (uint32_t i = COUNTER_PRELOAD_FIRST; i < COUNTER_COUNT; i++) {
        const char *name = names[i - COUNTER_PRELOAD_FIRST];

        if (strncmp(name, prefix, length) != 0 || program->counts[i] == 0)
            continue;
        sum += program->counts[i];
        used += (size_t)snprintf(text + used, used < size ? size - used : 0, "%s%s %llu",
                                 used ? ", " : "", name + length,
                                 (unsigned long long)program->counts[i]);
    }
    return sum;
}

static void print(struct table *table, const struct catalog_pool *pool,
                  const struct program *program)
{
    uint64_t opened = program->counts[COUNTER_virtual_opened];
    uint64_t closed = program->counts[COUNTER_virtual_closed];
    char text[256];

    table_row(table);
    table_text(table, PRELOAD_POOL, pool->name, sizeof pool->name);
    if (program->name[0])
        table_string(table, PRELOAD_PROGRAM, program->name);
    table_number(table, PRELOAD_PROCESSES, program->processes);
    table_number(table, PRELOAD_VIRTUAL,
                 program->processes > 0 && opened > closed ? opened - closed : 0);
    table_number(table, PRELOAD_REQUESTS, program->counts[COUNTER_virtual_requests]);
    table_number(table, PRELOAD_COPIED, program->counts[COUNTER_virtual_copied]);
    table_number(table, PRELOAD_ANSWERED, program->counts[COUNTER_virtual_answered]);
    table_number(table, PRELOAD_LOST, program->counts[COUNTER_virtual_lost]);
    table_number(table, PRELOAD_PINNED, describe(program, "pinned_", text, sizeof text));
    table_string(table, PRELOAD_PINNED_BY, text);
    table_number(table, PRELOAD_REAL, describe(program, "real_", text, sizeof text));
    table_string(table, PRELOAD_REAL_BECAUSE, text);
    for (uint32_t i = COUNTER_PRELOAD_FIRST; i < COUNTER_COUNT; i++)
        table_number(table, PRELOAD_COUNTS + i - COUNTER_PRELOAD_FIRST, program->counts[i]);
}

int show_preload(const struct show *show)
{
    struct table *table = table_new("preload", preload_columns, PRELOAD_COLUMNS, show_format(show));
    struct programs programs = {
        .program = calloc(show->broker->catalog.worker_max + 1, sizeof *programs.program)};
    int result;

    for (uint32_t i = 0; table && programs.program && i < CATALOG_MAX_POOLS; i++) {
        const struct segment *segment;
        struct catalog_pool pool;

        if (!show_pool(show, i, &pool, &segment))
            continue;
        programs.count = 0;
        add_workers(&programs, show, i, segment);
        if (has_counted(pool.departed))
            add(&programs, "", pool.departed);
        for (size_t j = 0; j < programs.count; j++)
            print(table, &pool, &programs.program[j]);
    }
    result = table_print(table);
    if (result == 0 && !programs.program)
        result = -ENOMEM;
    free(programs.program);
    return result;
}
