/* SPDX-License-Identifier: MIT */
/*
 * The search. Depth first with one snapshot per level: a child is made by putting its parent's
 * snapshot back and making one move. Visited states are known by 127 bits of hash; the chance that
 * two of 10^8 states share one, and one is missed, is below 10^-22. A state found again on the
 * current path is a cycle in which no operation came to its end (what is left to do only gets
 * less): a livelock.
 *
 * What is wrong is searched for again breadth first, which gives a shortest way there.
 */
#include "explorer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "world.h"

#define DEPTH_MAX 4096u
/* Snapshots that the breadth-first search may keep, in bytes. */
#define BREADTH_BYTES_MAX (UINT64_C(3) << 29)
#define SITES_MAX         1024u

/* ---- visited states ---- */

/* An open-addressed table of hashes; the lowest bit of b says that the state is on the current
 * path. */
#define ON_PATH UINT64_C(1)

struct visited {
    struct hash *table;
    uint64_t size; /* a power of two */
    uint64_t count;
};

static struct hash *visited_place(const struct visited *visited, struct hash hash)
{
    uint64_t at = hash.a & (visited->size - 1);

    while (
        (visited->table[at].a || visited->table[at].b) &&
        (visited->table[at].a != hash.a || (visited->table[at].b | ON_PATH) != (hash.b | ON_PATH)))
        at = (at + 1) & (visited->size - 1);
    return &visited->table[at];
}

static int visited_new(struct visited *visited, uint64_t size)
{
    *visited = (struct visited){.table = calloc(size, sizeof(struct hash)), .size = size};
    return visited->table ? 0 : -ENOMEM;
}

static void visited_free(struct visited *visited)
{
    free(visited->table);
    *visited = (struct visited){0};
}

static int visited_grow(struct visited *visited)
{
    struct visited larger;

    if (visited_new(&larger, visited->size * 2) < 0)
        return -ENOMEM;
    for (uint64_t i = 0; i < visited->size; i++)
        if (visited->table[i].a || visited->table[i].b)
            *visited_place(&larger, visited->table[i]) = visited->table[i];
    larger.count = visited->count;
    visited_free(visited);
    *visited = larger;
    return 0;
}

/* Results: 1, new, and on the current path; 0, known, and *on_path says where; -ENOMEM. */
static int visited_add(struct visited *visited, struct hash hash, bool *on_path)
{
    struct hash *place;

    if (visited->count >= visited->size / 4 * 3 && visited_grow(visited) < 0)
        return -ENOMEM;
    place = visited_place(visited, hash);
    if (place->a || place->b) {
        *on_path = place->b & ON_PATH;
        return 0;
    }
    *place = (struct hash){hash.a, hash.b | ON_PATH};
    visited->count++;
    return 1;
}

static void visited_off_path(struct visited *visited, struct hash hash)
{
    visited_place(visited, hash)->b &= ~ON_PATH;
}

/* ---- depth first ---- */

struct level {
    struct snapshot snapshot;
    struct hash hash;
    struct move moves[MOVES_MAX];
    uint32_t count;
    uint32_t next;
};

struct search {
    struct visited visited;
    struct level *levels;
    struct exploration *exploration;
    struct site sites[SITES_MAX];
    uint64_t states_max;
};

/* Counts the place in the source where a process is killed. */
static void count_crash(struct search *search, const struct snapshot *snapshot, struct move move)
{
    const struct site *site = &snapshot->stage.sites[move.process];
    struct exploration *exploration = search->exploration;

    exploration->crashes++;
    for (uint32_t i = 0; i < exploration->sites; i++)
        if (search->sites[i].function == site->function && search->sites[i].line == site->line &&
            search->sites[i].what == site->what)
            return;
    if (exploration->sites < SITES_MAX)
        search->sites[exploration->sites++] = *site;
}

/* The live state is new: `level` starts with its moves. */
static void enter(struct search *search, struct level *level)
{
    bool ended;

    level->next = 0;
    level->count = world_moves(level->moves, &ended);
    search->exploration->states++;
    if (ended) {
        search->exploration->ends++;
        check_end();
    }
}

/* Makes the next move of level `depth`. Results: 1, it leads to a new level; 0, not; -errno. */
static int descend(struct search *search, uint32_t depth)
{
    struct level *level = &search->levels[depth], *below = level + 1;
    struct move move = level->moves[level->next++];
    bool on_path;
    int result;

    world_restore(&level->snapshot);
    if (move.kind == MOVE_CRASH)
        count_crash(search, &level->snapshot, move);
    world_make(move);
    search->exploration->transitions++;
    world_save(&below->snapshot);
    if (violation.text)
        return 0;
    below->hash = snapshot_hash(&below->snapshot);
    result = visited_add(&search->visited, below->hash, &on_path);
    if (result == 0 && on_path)
        violation = (struct violation){.text = "livelock: processes run and get nowhere"};
    if (result == 1)
        enter(search, below);
    return result;
}

/* Results: as explore(); if 1, *depth moves lead to what is wrong, the last one of each level. */
static int search_deep(struct search *search, uint32_t *depth)
{
    bool on_path;

    *depth = 0;
    world_start();
    world_save(&search->levels[0].snapshot);
    search->levels[0].hash = snapshot_hash(&search->levels[0].snapshot);
    if (visited_add(&search->visited, search->levels[0].hash, &on_path) < 0)
        return -ENOMEM;
    enter(search, &search->levels[0]);
    for (;;) {
        struct level *level = &search->levels[*depth];
        int result;

        if (level->next == level->count) {
            visited_off_path(&search->visited, level->hash);
            if (*depth == 0)
                return 0;
            --*depth;
            continue;
        }
        result = descend(search, *depth);
        if (violation.text) {
            ++*depth;
            return 1;
        }
        if (result < 0)
            return result;
        if (result == 1)
            ++*depth;
        if (*depth > search->exploration->longest)
            search->exploration->longest = *depth;
        if (*depth + 2 >= DEPTH_MAX || search->exploration->states > search->states_max)
            return -E2BIG;
    }
}

/* ---- breadth first ---- */

/* How a state was reached. */
struct origin {
    uint32_t parent;
    struct move move;
};

/* Snapshots of one generation, packed: only the live bytes of each stack. */
struct packed {
    unsigned char *bytes;
    size_t size;
    size_t room;
};

struct breadth {
    struct visited visited;
    struct origin *origins;
    uint32_t count;
    uint32_t room;
};

static int packed_append(struct packed *packed, const void *data, size_t size)
{
    if (packed->size + size > packed->room) {
        size_t room = packed->room ? packed->room * 2 : 1 << 20;
        unsigned char *bytes = room > BREADTH_BYTES_MAX ? NULL : realloc(packed->bytes, room);

        if (!bytes)
            return -ENOMEM;
        packed->bytes = bytes;
        packed->room = room;
    }
    memcpy(packed->bytes + packed->size, data, size);
    packed->size += size;
    return 0;
}

static int pack(struct packed *packed, uint32_t origin, const struct snapshot *snapshot)
{
    int result = packed_append(packed, &origin, sizeof origin);

    if (result == 0)
        result = packed_append(packed, snapshot, offsetof(struct snapshot, stage.stacks));
    for (uint32_t i = 0; result == 0 && i < MODEL_PROCESSES; i++)
        result = packed_append(packed, snapshot->stage.stacks[i], snapshot->stage.live[i]);
    return result;
}

static void unpack(const struct packed *packed, size_t *at, uint32_t *origin,
                   struct snapshot *snapshot)
{
    memcpy(origin, packed->bytes + *at, sizeof *origin);
    *at += sizeof *origin;
    memcpy(snapshot, packed->bytes + *at, offsetof(struct snapshot, stage.stacks));
    *at += offsetof(struct snapshot, stage.stacks);
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++) {
        memcpy(snapshot->stage.stacks[i], packed->bytes + *at, snapshot->stage.live[i]);
        *at += snapshot->stage.live[i];
    }
}

static int origin_add(struct breadth *breadth, uint32_t parent, struct move move)
{
    if (breadth->count == breadth->room) {
        uint32_t room = breadth->room ? breadth->room * 2 : 1 << 16;
        struct origin *origins = realloc(breadth->origins, room * sizeof *origins);

        if (!origins)
            return -ENOMEM;
        breadth->origins = origins;
        breadth->room = room;
    }
    breadth->origins[breadth->count++] = (struct origin){parent, move};
    return 0;
}

/* Makes all moves from `snapshot`; new states go to `next`. Results: 1, one of them is wrong; 0;
 * -errno. */
static int spread(struct breadth *breadth, uint32_t from, const struct snapshot *snapshot,
                  struct packed *next)
{
    static struct snapshot made;
    struct move moves[MOVES_MAX], ignored[MOVES_MAX];
    bool ended, on_path;
    uint32_t count;
    int result;

    world_restore(snapshot);
    count = world_moves(moves, &ended);
    for (uint32_t i = 0; i < count; i++) {
        world_restore(snapshot);
        world_make(moves[i]);
        world_save(&made);
        result = visited_add(&breadth->visited, snapshot_hash(&made), &on_path);
        if (result < 0)
            return result;
        if (result == 0 && !violation.text)
            continue;
        result = origin_add(breadth, from, moves[i]);
        if (result < 0)
            return result;
        world_moves(ignored, &ended);
        if (ended && !violation.text)
            check_end();
        if (violation.text)
            return 1;
        result = pack(next, breadth->count - 1, &made);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Results: 1, found: origins[count - 1] is the last move to it; 0, there is nothing (a livelock);
 * -errno. */
static int search_broad(struct breadth *breadth)
{
    static struct snapshot snapshot;
    struct packed now = {0}, next = {0};
    bool on_path;
    int result;

    world_start();
    world_save(&snapshot);
    result = visited_add(&breadth->visited, snapshot_hash(&snapshot), &on_path);
    if (result >= 0)
        result = origin_add(breadth, 0, (struct move){0});
    if (result == 0)
        result = pack(&next, 0, &snapshot);
    while (result == 0 && next.size > 0) {
        struct packed empty = now;
        size_t at = 0;

        now = next;
        next = empty;
        next.size = 0;
        while (result == 0 && at < now.size) {
            uint32_t from;

            unpack(&now, &at, &from, &snapshot);
            result = spread(breadth, from, &snapshot, &next);
        }
    }
    free(now.bytes);
    free(next.bytes);
    return result;
}

/* ---- the report ---- */

static void print_violation(void)
{
    printf("  WRONG: ");
    printf(violation.text, (unsigned long long)violation.a, (unsigned long long)violation.b);
    printf("\n");
}

/* Makes the moves again, printing each. */
static void replay(const struct move *moves, uint32_t count)
{
    static struct snapshot before;
    struct move ignored[MOVES_MAX];
    bool ended;

    world_start();
    for (uint32_t i = 0; i < count; i++) {
        world_save(&before);
        world_make(moves[i]);
        trace_move(moves[i], &before, i + 1);
    }
    world_moves(ignored, &ended);
    if (ended && !violation.text)
        check_end();
    trace_state();
}

/* Prints a shortest way to something wrong. Results: 0; -errno, or -ENOENT: there was none. */
static int report_shortest(void)
{
    struct breadth breadth = {.count = 0};
    struct move *moves = NULL;
    uint32_t length = 0;
    int result;

    result = visited_new(&breadth.visited, 1 << 16);
    if (result == 0)
        result = search_broad(&breadth);
    if (result == 1) {
        for (uint32_t at = breadth.count - 1; at != 0; at = breadth.origins[at].parent)
            length++;
        moves = calloc(length + 1, sizeof *moves);
    }
    if (moves) {
        uint32_t at = breadth.count - 1;

        for (uint32_t i = length; i > 0; i--) {
            moves[i - 1] = breadth.origins[at].move;
            at = breadth.origins[at].parent;
        }
        print_violation();
        replay(moves, length);
    }
    if (result == 0)
        result = -ENOENT;
    else if (result == 1)
        result = moves ? 0 : -ENOMEM;
    free(moves);
    free(breadth.origins);
    visited_free(&breadth.visited);
    return result;
}

static void report(const struct search *search, uint32_t depth)
{
    struct violation found = violation;
    struct move *moves;

    /* A cycle is not seen from a shortest way to its states. */
    if (strncmp(found.text, "livelock", 8) != 0 && report_shortest() == 0)
        return;
    violation = found;
    print_violation();
    moves = calloc(depth + 1, sizeof *moves);
    if (!moves)
        return;
    for (uint32_t i = 0; i < depth; i++)
        moves[i] = search->levels[i].moves[search->levels[i].next - 1];
    replay(moves, depth);
    free(moves);
}

int explore(uint64_t states_max, bool quiet, struct exploration *exploration)
{
    static struct search search;
    struct timespec start, end;
    uint32_t depth = 0;
    int result;

    *exploration = (struct exploration){0};
    search = (struct search){.exploration = exploration, .states_max = states_max};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    search.levels = calloc(DEPTH_MAX, sizeof *search.levels);
    result = search.levels ? visited_new(&search.visited, 1 << 16) : -ENOMEM;
    if (result == 0)
        result = search_deep(&search, &depth);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    exploration->seconds =
        (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    if (result == 1 && !quiet)
        report(&search, depth);
    visited_free(&search.visited);
    free(search.levels);
    return result;
}
