/* SPDX-License-Identifier: MIT */
/* Prints moves and states of the hand-over for people. */
#include <stdio.h>
#include <string.h>
#include "lendis/mailbox.h"
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
    if (state == WORD_PASSED || state == WORD_TRANSFERRED)
        printf(" to %u", word_owner(word));
    printf(" g%llu", (unsigned long long)word_generation(word));
}

static void print_mail(uint64_t mail)
{
    static const char *const names[16] = {"free",  "queued", "taken",     "done", "takeover",
                                          "retry", "failed", "abandoned", "owned"};

    printf("%s", names[mail_state(mail)]);
    if (mail_state(mail) > MAIL_QUEUED && mail_state(mail) != MAIL_OWNED)
        printf(" (connection %u g%u batch %u)", mail_connection(mail), mail_generation(mail),
               mail_batch(mail));
    printf(" #%u", mail_sequence(mail));
}

static void print_cell(uint64_t cell)
{
    if (cell_state(cell) == CELL_FREE)
        printf("free");
    else
        printf("%u %s", cell_slot(cell), cell_state(cell) == CELL_COMMAND ? "commands" : "waits");
    printf(" lap %llu", (unsigned long long)cell_lap(cell));
}

static void print_wake(uint32_t wake)
{
    if (wake == WAKE_NONE)
        printf("none");
    else if (wake == WAKE_ASLEEP)
        printf("asleep");
    else if (wake == WAKE_MAIL)
        printf("mail");
    else
        printf("connection %u for ticket %u", (wake & 2047) - 1, wake >> 11);
}

static void print_name(bool named, const char *name, uint32_t number)
{
    if (named)
        printf("%s %u: ", name, number);
}

static uint64_t read64(const void *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t read32(const void *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

/* The words of a slot that are plain numbers. */
static const char *slot_word(const volatile void *at, uint32_t slot)
{
    const struct wait_slot *shared = &model_segment.slots[slot];
    const struct {
        const volatile void *at;
        const char *name;
    } words[] = {{&shared->owner, "owner"},
                 {&shared->taker, "taker"},
                 {&shared->request_chunk, "request_chunk"},
                 {&shared->request_size, "request_size"},
                 {&shared->replies, "replies"},
                 {&shared->read_only, "read_only"},
                 {&shared->reply_chunk, "reply_chunk"},
                 {&shared->reply_size, "reply_size"},
                 {&shared->ticket, "ticket"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (at == words[i].at)
            return words[i].name;
    return NULL;
}

static void print_slot_place(const volatile void *at, const void *value, bool named)
{
    for (uint32_t i = 0; i < model_segment.slot_max; i++) {
        const struct wait_slot *shared = &model_segment.slots[i];
        const char *name = slot_word(at, i);

        if (at == &shared->mail) {
            print_name(named, "mail", i);
            print_mail(read64(value));
        } else if (at == &shared->wake) {
            print_name(named, "wake", i);
            print_wake(read32(value));
        } else if (at == shared->small) {
            print_name(named, "room of slot", i);
            for (uint32_t byte = 0; byte < REQUEST_SIZE; byte++) {
                char c = ((const char *)value)[byte];

                printf("%c", c >= ' ' && c <= '~' ? c : '.');
            }
        } else if (name) {
            if (named)
                printf("%s %u: ", name, i);
            printf("%u", read32(value));
        }
    }
}

static void print_connection_place(const volatile void *at, const void *value, bool named)
{
    for (uint32_t i = 0; i < scenario->connections; i++) {
        const struct connection *connection = &model_segment.connections[i];

        if (at == &connection->word) {
            print_name(named, "connection", i);
            print_word(read64(value));
        } else if (at == &connection->batch || at == &connection->stalled) {
            if (named)
                printf("%s of connection %u: ", at == &connection->batch ? "batch" : "stalled", i);
            printf("%llu", (unsigned long long)read64(value));
        }
    }
}

/* Names the shared word at `at`, if `named`, and prints what it is in `memory`. */
static void print_place(const volatile void *at, const struct memory *memory, bool named)
{
    const struct segment *segment = &model_segment;
    const void *value = memory_then(memory, at);

    if (!value)
        return;
    print_connection_place(at, value, named);
    print_slot_place(at, value, named);
    for (uint32_t i = 0; i < scenario->cells; i++)
        if (at == &segment->cells[i]) {
            print_name(named, "cell", i);
            print_cell(read64(value));
        }
    for (uint32_t i = 0; i < CHUNKS; i++)
        if (at == &segment->chunk_owners[i].slot) {
            print_name(named, "owner of chunk", i);
            printf("%u", read32(value));
        } else if (named && (const volatile char *)at >= segment->all_chunks[i].bytes &&
                   (const volatile char *)at < segment->all_chunks[i].bytes + CHUNK_SIZE) {
            printf("chunk %u", i);
        }
    if (at == &segment->queue->head)
        printf("%s%llu", named ? "head: " : "", (unsigned long long)read64(value));
    if (at == &segment->queue->tail)
        printf("%s%llu", named ? "tail: " : "", (unsigned long long)read64(value));
    if (at == &segment->groups[0].changes)
        printf("%s%u", named ? "changes: " : "", read32(value));
}

static void print_step(uint32_t process, uint32_t choice, const struct snapshot *before)
{
    const struct site *site = &before->stage.sites[process];
    struct memory after;

    memory_read(&after);
    printf("%-8s  %-10s ", process_name(process), site->what ? site->what : "");
    if (site->at) {
        const void *was = memory_then(&before->memory, site->at);
        const void *is = memory_then(&after, site->at);

        print_place(site->at, &before->memory, true);
        if (was && is && memcmp(was, is, 4) != 0) {
            printf(" -> ");
            print_place(site->at, &after, false);
        } else if (strncmp(site->what, "cas", 3) == 0) {
            printf(" (fails)");
        }
    }
    if (before->world.processes[process].options)
        printf("%u", choice);
    if (site->function)
        printf("   [%s:%d]", site->function, site->line);
}

static void print_event(struct move move)
{
    static const char *const events[] = {"does nothing",
                                         "sees the death of worker",
                                         "is rung",
                                         "has dialled connection",
                                         "sweeps",
                                         "sees that Redis closed connection",
                                         "revokes connection",
                                         "looks for stopped combiners"};

    printf("broker    %s", events[move.process]);
    if (move.process != EVENT_DOORBELL && move.process != EVENT_SWEEP &&
        move.process != EVENT_STALL)
        printf(" %u", move.argument);
}

static void print_outcomes(const struct world *before)
{
    static const char *const outcomes[] = {"", "is answered", "was told: not sent",
                                           "was told: uncertain"};

    for (uint32_t i = 0; i < COMMANDS; i++) {
        if (world.executed[i] != before->executed[i])
            printf("   == Redis executes command %u", i);
        if (world.outcome[i] != before->outcome[i])
            printf("   == the caller of command %u %s", i, outcomes[world.outcome[i]]);
    }
}

void trace_move(struct move move, const struct snapshot *before, uint32_t number)
{
    const char *name = process_name(move.process < MODEL_PROCESSES ? move.process : 0);

    printf("  %3u  ", number);
    switch ((enum move_kind)move.kind) {
    case MOVE_STEP:
        print_step(move.process, move.argument, before);
        break;
    case MOVE_LOOK:
        printf("%-8s  wakes by itself", name);
        break;
    case MOVE_DEADLINE:
        printf("%-8s  wakes at its deadline", name);
        break;
    case MOVE_EVENT:
        print_event(move);
        break;
    case MOVE_LOSS:
        printf("Redis     CLOSES connection %u", move.argument);
        break;
    case MOVE_STOP:
        printf("%-8s  IS STOPPED before: %s", name, before->stage.sites[move.process].what);
        break;
    case MOVE_CONTINUE:
        printf("%-8s  goes on", name);
        break;
    case MOVE_CRASH:
        printf("%-8s  IS KILLED before: %s", name,
               before->stage.sites[move.process].what ? before->stage.sites[move.process].what
                                                      : "");
        break;
    }
    print_outcomes(&before->world);
    printf("\n");
}

void trace_state(void)
{
    static const char *const statuses[] = {"absent",  "ready", "asleep", "waits",
                                           "stopped", "done",  "dead"};
    const struct segment *segment = &model_segment;

    printf("  then:");
    for (uint32_t i = 0; i < scenario->connections; i++) {
        printf(" connection %u: ", i);
        print_word(shm_load_relaxed(&segment->connections[i].word));
        printf(", batch %llu;",
               (unsigned long long)shm_load_relaxed(&segment->connections[i].batch));
    }
    for (uint32_t i = 0; i < scenario->cells; i++) {
        printf(" cell %u: ", i);
        print_cell(shm_load_relaxed(&segment->cells[i]));
        printf(";");
    }
    printf("\n       ");
    for (uint32_t i = 0; i < segment->slot_max; i++) {
        printf(" mail %u: ", i);
        print_mail(shm_load_relaxed(&segment->slots[i].mail));
        printf(", wake ");
        print_wake(atomic_load_explicit(&segment->slots[i].wake, memory_order_relaxed));
        printf(";");
    }
    printf("\n       ");
    for (uint32_t i = 0; i < MODEL_PROCESSES; i++)
        if (world.processes[i].status != ABSENT)
            printf(" %s: %s;", process_name(i), statuses[world.processes[i].status]);
    printf("\n");
}
