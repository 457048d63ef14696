/* SPDX-License-Identifier: MIT */
/* Who may dial now: see dial_turns.h. */
#include "broker/redis/dial_turns.h"

#include <stddef.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"

#define NODES (sizeof((struct dialler *)0)->nodes / sizeof(struct dial_node))

static int on_pace(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    dialler_give_turns(data);
    return 0;
}

static void watch_ends(struct dialler *dialler);

/* Dials that are under way for long give up their turns. */
static int on_ends(sd_event_source *source, uint64_t usec, void *data)
{
    struct dialler *dialler = data;
    uint64_t now = clock_us();

    (void)source;
    (void)usec;
    for (struct dial_slot *slot = dialler->dials; slot; slot = slot->next) {
        if (slot->slow || now - slot->since_us < DIAL_TURN_MS * 1000)
            continue;
        slot->slow = true;
        dialler->busy--;
        if (slot->node)
            slot->node->slow++;
    }
    watch_ends(dialler);
    dialler_give_turns(dialler);
    return 0;
}

/* Sets the timer to the end of the oldest turn; off, if there is none. */
static void watch_ends(struct dialler *dialler)
{
    uint64_t oldest = UINT64_MAX;

    for (const struct dial_slot *slot = dialler->dials; slot; slot = slot->next)
        if (!slot->slow && slot->since_us < oldest)
            oldest = slot->since_us;
    if (oldest != UINT64_MAX)
        timer_set_at(dialler->ends, oldest + DIAL_TURN_MS * 1000);
    else
        timer_stop(dialler->ends);
}

int dialler_init(struct dialler *dialler, sd_event *event, uint32_t limit, uint32_t rate)
{
    int result;

    *dialler = (struct dialler){.event = event, .limit = limit, .rate = rate};
    dialler->last = &dialler->first;
    result = timer_new(event, &dialler->pace, on_pace, dialler);
    if (result == 0)
        result = timer_new(event, &dialler->ends, on_ends, dialler);
    return result;
}

void dialler_free(struct dialler *dialler)
{
    dialler->pace = sd_event_source_disable_unref(dialler->pace);
    dialler->ends = sd_event_source_disable_unref(dialler->ends);
}

/* ---- the pace ---- */

/*
 * A leaky bucket with nothing but a time in it: each dial moves due_us on by its share of a second,
 * and due_us may be ahead of the clock by a burst (Turner's algorithm, as in ATM's GCRA). False:
 * too many for now; the timer is set.
 */
static bool keeps_pace(struct dialler *dialler)
{
    uint64_t share_us, ahead_us, now = clock_us();

    if (dialler->rate == 0)
        return true;
    share_us = 1000000 / dialler->rate;
    ahead_us = share_us * ((dialler->limit < dialler->rate ? dialler->limit : dialler->rate) - 1);
    if (dialler->due_us <= now + ahead_us)
        return true;
    /* Faster than configured is better than never. */
    return timer_set_at(dialler->pace, dialler->due_us - ahead_us) != 0;
}

static void count_dial(struct dialler *dialler)
{
    uint64_t now = clock_us();

    if (dialler->rate == 0)
        return;
    if (dialler->due_us < now)
        dialler->due_us = now;
    dialler->due_us += 1000000 / dialler->rate;
}

/* ---- nodes ---- */

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/. */
static uint64_t hash(uint64_t value, const char *text)
{
    do
        value = (value ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++);
    return value;
}

uint64_t dial_node_key(const char *host, uint16_t port, const char *path)
{
    uint64_t key = hash(UINT64_C(14695981039346656037), host ? host : "");

    key = hash(key ^ port, path ? path : "");
    return key != 0 ? key : 1;
}

static struct dial_node *find_node(struct dialler *dialler, uint64_t key)
{
    for (size_t i = 0; i < NODES; i++)
        if (dialler->nodes[i].key == key)
            return &dialler->nodes[i];
    return NULL;
}

/* The node, made if need be: in the place of the one that has gone without a turn for longest.
 * NULL: all are being dialled. */
static struct dial_node *make_node(struct dialler *dialler, uint64_t key)
{
    struct dial_node *found = find_node(dialler, key);

    for (size_t i = 0; !found && i < NODES; i++)
        if (dialler->nodes[i].key == 0)
            found = &dialler->nodes[i];
    if (found) {
        found->key = key;
        return found;
    }
    for (size_t i = 0; i < NODES; i++)
        if (dialler->nodes[i].active == 0 && (!found || dialler->nodes[i].served < found->served))
            found = &dialler->nodes[i];
    if (found)
        *found = (struct dial_node){.key = key};
    return found;
}

void dialler_expect(struct dialler *dialler, uint64_t node)
{
    make_node(dialler, node);
}

/* The most dials at a time of a node. */
static uint32_t share_of(const struct dialler *dialler, const struct dial_node *node)
{
    if (node->slow > 0)
        return 0;
    if (node->suspected)
        return 1;
    /* The second place is taken: there are others. */
    if (dialler->nodes[1].key != 0 && dialler->limit > 1)
        return dialler->limit / 2;
    return dialler->limit;
}

/* ---- turns ---- */

/* The next turn: of the node that has waited for longest, the first one. NULL: none may be
 * given. */
static struct dial_turn *next_turn(struct dialler *dialler, struct dial_node **node)
{
    struct dial_turn *best = NULL;
    uint64_t best_served = 0;

    for (struct dial_turn *turn = dialler->first; turn; turn = turn->next) {
        struct dial_node *its = make_node(dialler, turn->node);
        uint64_t served = its ? its->served : 0;

        if ((its && its->active >= share_of(dialler, its)) || (best && served >= best_served))
            continue;
        best = turn;
        best_served = served;
    }
    if (best)
        *node = find_node(dialler, best->node);
    return best;
}

/* A turn may ask again or withdraw others; it makes one dial at most, so this ends. */
void dialler_give_turns(struct dialler *dialler)
{
    struct dial_turn *turn;
    struct dial_node *node;

    if (dialler->running)
        return;
    dialler->running = true;
    while (dialler->busy < dialler->limit && (turn = next_turn(dialler, &node)) &&
           keeps_pace(dialler)) {
        dialler->turns++;
        if (node)
            node->served = dialler->turns;
        dialler_withdraw(dialler, turn);
        turn->run(turn);
    }
    dialler->running = false;
}

void dialler_ask(struct dialler *dialler, struct dial_turn *turn)
{
    if (!turn->queued) {
        turn->queued = true;
        turn->next = NULL;
        *dialler->last = turn;
        dialler->last = &turn->next;
    }
    dialler_give_turns(dialler);
}

void dialler_withdraw(struct dialler *dialler, struct dial_turn *turn)
{
    struct dial_turn **at = &dialler->first;

    while (*at && *at != turn)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = turn->next;
    if (dialler->last == &turn->next)
        dialler->last = at;
    turn->queued = false;
}

/* ---- dials ---- */

void dial_slot_begin(struct dialler *dialler, struct dial_slot *slot, uint64_t node)
{
    *slot = (struct dial_slot){.next = dialler->dials,
                               .link = &dialler->dials,
                               .node = make_node(dialler, node),
                               .since_us = clock_us()};
    if (slot->next)
        slot->next->link = &slot->next;
    dialler->dials = slot;
    dialler->busy++;
    if (slot->node)
        slot->node->active++;
    count_dial(dialler);
    /* It comes at the end of a turn, or too early: one call for all dials within DIAL_TURN_MS. */
    if (!timer_is_on(dialler->ends))
        watch_ends(dialler);
}

void dial_slot_end(struct dialler *dialler, struct dial_slot *slot, enum dial_outcome outcome)
{
    *slot->link = slot->next;
    if (slot->next)
        slot->next->link = slot->link;
    dialler->busy -= !slot->slow;
    if (!slot->node)
        return;
    slot->node->active--;
    slot->node->slow -= slot->slow;
    if (outcome != DIAL_OUTCOME_NONE)
        slot->node->suspected = outcome == DIAL_OUTCOME_BAD;
}
