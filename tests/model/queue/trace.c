/* SPDX-License-Identifier: MIT */
/* Prints moves and states for people. */
#include <stdio.h>
#include <string.h>
#include "world.h"

static const char *process_name(uint32_t process)
{
    static const char *const names[MODEL_PROCESSES] = {"worker 0", "worker 1", "worker 2",
                                                       "worker 3", "broker"};

    return names[process];
}

static void print_word(uint64_t word)
{
    enum word_state state = word_state(word);

    printf("%s", word_state_name(word));
    if (state == WORD_LEASED || state == WORD_RETURNED)
        printf(" by %u", word_owner(word));
    if (state == WORD_PASSED)
        printf(" to %u", word_owner(word));
    printf(" g%llu", (unsigned long long)word_generation(word));
}

static void print_cell(uint64_t cell)
{
    if (cell_state(cell) == CELL_WAITING)
        printf("%u waits", cell_slot(cell));
    else
        printf("free");
    printf(" lap %llu", (unsigned long long)cell_lap(cell));
}

static void print_wake(uint32_t wake)
{
    if (wake == WAKE_NONE)
        printf("none");
    else if (wake == WAKE_ASLEEP)
        printf("asleep");
    else
        printf("connection %u for ticket %u", (wake & 2047) - 1, wake >> 11);
}

static void print_name(bool named, const char *name, uint32_t number)
{
    if (named)
        printf("%s %u: ", name, number);
}

/* Names the shared word at `at`, if `named`, and prints its value in `shared`. */
static void print_place(const volatile void *at, const struct shared *shared, bool named)
{
    const struct segment *segment = &model_segment;

    for (uint32_t i = 0; i < MODEL_CONNECTIONS; i++)
        if (at == &segment->connections[i].word) {
            print_name(named, "connection", i);
            print_word(shared->words[i]);
        }
    for (uint32_t i = 0; i < MODEL_CELLS; i++)
        if (at == &segment->cells[i]) {
            print_name(named, "cell", i);
            print_cell(shared->cells[i]);
        }
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (at == &segment->slots[i].wake) {
            print_name(named, "wake", i);
            print_wake(shared->wakes[i]);
        } else if (at == &segment->slots[i].ticket) {
            print_name(named, "ticket of slot", i);
            printf("%u", shared->tickets[i]);
        }
    if (at == &segment->queue->head)
        printf("%s%llu", named ? "head: " : "", (unsigned long long)shared->head);
    if (at == &segment->queue->tail)
        printf("%s%llu", named ? "tail: " : "", (unsigned long long)shared->tail);
    if (at == &segment->groups[0].changes)
        printf("%s%llu", named ? "changes: " : "", (unsigned long long)shared->changes);
}

static void print_step(uint32_t process, uint32_t choice, const struct snapshot *before)
{
    const struct site *site = &before->stage.sites[process];
    struct shared after;

    shared_read(&after);
    printf("%-8s  %-10s ", process_name(process), site->what ? site->what : "");
    if (site->at) {
        print_place(site->at, &before->shared, true);
        if (memcmp(&before->shared, &after, sizeof after) != 0) {
            printf(" -> ");
            print_place(site->at, &after, false);
        } else if (strncmp(site->what, "cas", 3) == 0) {
            printf(" (fails)");
        }
    }
    if (before->world.processes[process].options)
        printf("%s", choice ? "passed" : "not yet");
    if (site->function)
        printf("   [%s:%d]", site->function, site->line);
}

void trace_move(struct move move, const struct snapshot *before, uint32_t number)
{
    static const char *const events[] = {"does nothing",
                                         "sees the death of worker",
                                         "is rung for returns",
                                         "has dialled connection",
                                         "sweeps",
                                         "sees that Redis closed connection",
                                         "revokes connection",
                                         "checks connection"};

    printf("  %3u  ", number);
    switch ((enum move_kind)move.kind) {
    case MOVE_STEP:
        print_step(move.process, move.argument, before);
        break;
    case MOVE_LOOK:
        printf("%-8s  wakes by itself", process_name(move.process));
        break;
    case MOVE_DEADLINE:
        printf("%-8s  wakes at its deadline", process_name(move.process));
        break;
    case MOVE_EVENT:
        printf("broker    %s", events[move.process]);
        if (move.process != EVENT_DOORBELL && move.process != EVENT_SWEEP)
            printf(" %u", move.argument);
        break;
    case MOVE_BIRTH:
        printf("%-8s  is born anew", process_name(move.process));
        break;
    case MOVE_CRASH:
        printf("%-8s  IS KILLED before: %s", process_name(move.process),
               before->stage.sites[move.process].what ? before->stage.sites[move.process].what
                                                      : "");
        break;
    }
    for (uint32_t i = 0; i < MODEL_WORKERS; i++)
        if (world.processes[i].held != before->world.processes[i].held && alive(i))
            printf("   == worker %u %s", i,
                   world.processes[i].held ? "has its lease" : "begins to give its lease back");
    printf("\n");
}

void trace_state(void)
{
    static const char *const statuses[] = {"absent", "ready", "asleep", "waits", "done", "dead"};
    struct shared shared;

    shared_read(&shared);
    printf("  then:");
    for (uint32_t i = 0; i < scenario->connections; i++) {
        printf("%s connection %u: ", i ? "," : "", i);
        print_word(shared.words[i]);
    }
    printf("; head %llu, tail %llu", (unsigned long long)shared.head,
           (unsigned long long)shared.tail);
    for (uint32_t i = 0; i < scenario->cells; i++) {
        printf(", cell %u: ", i);
        print_cell(shared.cells[i]);
    }
    printf("\n       ");
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].status != ABSENT) {
            printf(" %s: %s, wake ", process_name(i), statuses[world.processes[i].status]);
            print_wake(shared.wakes[i]);
            printf(";");
        }
    printf("\n");
}
