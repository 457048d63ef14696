/* SPDX-License-Identifier: MIT */
/*
 * Redis and its connections: a perfect server. It executes what it is sent in order, at once, and
 * answers each command with a reply that names it. A connection may be closed from either side;
 * what was answered before can be read, or be lost. Commands are RESP arrays, "GET x" and "DEL x",
 * where x is the command's number.
 *
 * Checked here: a command is executed once at most unless it only reads, and never after its caller
 * was told that it was not sent; and what a caller gets is the reply to its command, byte for byte
 * (I4).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "world.h"

#define FD_FIRST 100

int stream_fd(uint32_t index, uint64_t generation)
{
    return FD_FIRST + (int)(index * MODEL_GENERATIONS +
                            ((generation - model_generation()) & WORD_GENERATION_MAX));
}

uint32_t stream_index(int fd)
{
    return (uint32_t)(fd - FD_FIRST) / MODEL_GENERATIONS;
}

struct stream *stream_at(uint32_t index, uint64_t generation)
{
    uint64_t number = (generation - model_generation()) & WORD_GENERATION_MAX;

    if (number >= MODEL_GENERATIONS) {
        violate("model: connection %llu has generation %llu", index, generation);
        number = 0;
    }
    return &world.streams[index][number];
}

static struct stream *stream_of(int fd)
{
    return &world.streams[stream_index(fd)][(uint32_t)(fd - FD_FIRST) % MODEL_GENERATIONS];
}

static bool only_reads(uint32_t command)
{
    return scenario->reads & 1u << command / COMMANDS_EACH;
}

/* ---- requests and replies ---- */

void model_request(uint32_t command, char request[REQUEST_SIZE])
{
    memcpy(request,
           only_reads(command) ? "*2\r\n$3\r\nGET\r\n$1\r\n?\r\n"
                               : "*2\r\n$3\r\nDEL\r\n$1\r\n?\r\n",
           REQUEST_SIZE);
    request[REQUEST_SIZE - 3] = (char)('A' + command);
}

/* The reply to `command`. Results: its size. */
static size_t reply_make(uint32_t command, char reply[REPLY_MAX])
{
    uint32_t worker = 1u << command / COMMANDS_EACH;
    size_t size = scenario->large & worker ? 20 : 33;

    if (!((scenario->large | scenario->huge) & worker)) {
        memcpy(reply, "+?\r\n", 4);
        reply[1] = (char)('A' + command);
        return 4;
    }
    memcpy(reply, size == 20 ? "$20\r\n" : "$33\r\n", 5);
    memset(reply + 5, 'A' + (int)command, size);
    memcpy(reply + 5 + size, "\r\n", 2);
    return 5 + size + 2;
}

static void execute(struct stream *stream, const char *request)
{
    char expected[REQUEST_SIZE];
    uint32_t command = (uint32_t)(request[REQUEST_SIZE - 3] - 'A');

    if (command >= COMMANDS) {
        violate("process %llu sends what is no command", model_self(), 0);
        return;
    }
    model_request(command, expected);
    if (memcmp(request, expected, REQUEST_SIZE) != 0)
        violate("process %llu sends a command that is not as its owner made it", model_self(), 0);
    if (!only_reads(command) && world.executed[command] > 0)
        violate("command %llu, which writes, is executed twice", command, 0);
    if (!only_reads(command) && world.outcome[command] == OUTCOME_NOT_SENT)
        violate("command %llu is executed after its owner was told that it was not sent", command,
                0);
    if (world.executed[command] < 2)
        world.executed[command]++;
    if (stream->count == sizeof stream->commands) {
        violate("model: more than %llu replies", stream->count, 0);
        return;
    }
    stream->commands[stream->count++] = (uint8_t)command;
}

/* ---- what is called instead of system calls ---- */

/* Lets the explorer choose: 0 to options - 1. */
static uint32_t choose(uint32_t options, const char *what)
{
    struct process *me = &world.processes[model_self()];
    uint32_t chosen;

    me->options = (uint8_t)options;
    lendis_step(what);
    chosen = me->chosen;
    me->options = me->chosen = 0;
    return chosen;
}

ssize_t model_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct stream *stream = stream_of(fd);
    size_t count = message->msg_iovlen, sent = 0;

    (void)flags;
    if (world.torn > 0 && !stream->closed) {
        size_t part = choose((uint32_t)count + 1, "part of it?");

        if (part < count) {
            world.torn--;
            count = part;
        }
    }
    if (stream->closed) {
        errno = EPIPE;
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const struct iovec *part = &message->msg_iov[i];

        if (part->iov_len != REQUEST_SIZE) {
            violate("process %llu sends what is no command", model_self(), 0);
            return -1;
        }
        execute(stream, part->iov_base);
        sent += part->iov_len;
    }
    stream->torn = count < message->msg_iovlen;
    if (sent == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)sent;
}

ssize_t model_send(int fd, const void *data, size_t size, int flags)
{
    struct iovec part = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    return model_sendmsg(fd, &message, flags);
}

static size_t readable(const struct stream *stream)
{
    char reply[REPLY_MAX];
    size_t size = 0;

    for (uint32_t i = 0; i < stream->count; i++)
        size += reply_make(stream->commands[i], reply);
    return size - stream->offset;
}

/* Takes one byte. */
static char read_byte(struct stream *stream)
{
    char reply[REPLY_MAX];
    size_t size = reply_make(stream->commands[0], reply);
    char byte = reply[stream->offset++];

    if (stream->offset == size) {
        stream->count--;
        memmove(stream->commands, stream->commands + 1, stream->count);
        memset(stream->commands + stream->count, 0, sizeof stream->commands - stream->count);
        stream->offset = 0;
    }
    return byte;
}

static ssize_t peek(const struct stream *stream)
{
    lendis_step("peek");
    errno = EAGAIN;
    return readable(stream) > 0 ? 1 : stream->closed ? 0 : -1;
}

ssize_t model_receive(int fd, void *data, size_t size, int flags)
{
    struct stream *stream = stream_of(fd);
    size_t there = readable(stream);
    uint32_t part = 0;

    if (flags & MSG_PEEK)
        return peek(stream);
    if (stream->closed && there > 0 && choose(2, "lost?"))
        return 0;
    if (world.pieces > 0 && there > 2)
        part = choose(there > 6 ? 3 : 2, "part of it?");
    if (part > 0) {
        world.pieces--;
        part = part == 1 ? 2 : 6; /* bytes: of the first reply, or of the second */
        size = size < part ? size : part;
    }
    there = readable(stream);
    if (there == 0 && !stream->closed)
        violate("process %llu waits for a reply that nobody asked for", model_self(), 0);
    if (size > there)
        size = there;
    for (size_t i = 0; i < size; i++)
        ((char *)data)[i] = read_byte(stream);
    return (ssize_t)size;
}

/* Ready or not: whoever waits for a reply may wait too long for it. */
int model_poll(struct pollfd *polled, nfds_t count, int timeout_ms)
{
    struct process *me = &world.processes[model_self()];
    struct stream *stream = stream_of(polled->fd);
    int64_t until_ns = me->now_ns + timeout_ms * INT64_C(1000000);
    bool deadline = me->deadline_ns != 0 && until_ns >= me->deadline_ns;
    bool may_pass = timeout_ms >= 0 && (deadline ? me->give_ups > 0 : world.slow > 0);
    bool ready = (polled->events & POLLOUT) || stream->closed || readable(stream) > 0;

    (void)count;
    if (ready && (!may_pass || !choose(2, "too late?")))
        return 1;
    if (!ready && timeout_ms < 0)
        violate("process %llu waits for a reply that nobody asked for", model_self(), 0);
    me->now_ns = until_ns;
    if (deadline && me->give_ups > 0)
        me->give_ups--;
    else if (!deadline && world.slow > 0)
        world.slow--;
    return 0;
}

void model_shutdown(uint32_t index, uint64_t generation)
{
    lendis_step("shutdown");
    stream_at(index, generation)->closed = CLOSED_BY_BROKER;
    world.lost &= (uint8_t) ~(1u << index);
}

/* ---- what workers tell ---- */

int model_command_begins(uint32_t command)
{
    struct process *me = &world.processes[model_self()];
    const int limit_ms = 100;

    (void)command;
    me->held = 0;
    me->now_ns = me->deadline_ns = 0;
    if (!(scenario->impatient & 1u << model_self()) || me->give_ups == 0)
        return -1;
    me->deadline_ns = limit_ms * INT64_C(1000000);
    return limit_ms;
}

/* Nothing and nobody gives a patient caller reason to fail. */
static bool is_peaceful(void)
{
    return scenario->losses == 0 && scenario->revokes == 0 && scenario->crashes == 0 &&
           scenario->stops == 0 && scenario->torn == 0 && scenario->expulsions == 0 &&
           !scenario->twins;
}

void model_command_ends(uint32_t command, int result, const char *reply, size_t size)
{
    struct process *me = &world.processes[model_self()];
    char expected[REPLY_MAX];

    switch (result) {
    case 0:
        world.outcome[command] = OUTCOME_ANSWERED;
        if (size != reply_make(command, expected) || memcmp(reply, expected, size) != 0)
            violate("I4: worker %llu gets a reply that is not its command's", model_self(), 0);
        if (world.executed[command] == 0)
            violate("command %llu was answered and not executed", command, 0);
        break;
    case LENDIS_E_UNCERTAIN:
        world.outcome[command] = OUTCOME_UNCERTAIN;
        if (only_reads(command) && size == 0)
            violate("command %llu, a read without a reply, is uncertain", command, 0);
        break;
    case LENDIS_E_TIMEOUT:
    case LENDIS_E_DOWN:
    case LENDIS_E_BUSY:
        world.outcome[command] = OUTCOME_NOT_SENT;
        if (!only_reads(command) && world.executed[command] > 0)
            violate("command %llu was executed and its owner is told that it was not sent", command,
                    0);
        break;
    default:
        violate("command %llu ends with %llu", command, (uint64_t)result);
        break;
    }
    if (result != 0 && me->deadline_ns == 0 && is_peaceful())
        violate("command %llu fails without a reason: %llu", command, (uint64_t)result);
    if (result == LENDIS_E_TIMEOUT &&
        (me->deadline_ns == 0 || (me->now_ns < me->deadline_ns && !world.later)))
        violate("command %llu timed out before its time", command, 0);
    me->held = 0;
}
