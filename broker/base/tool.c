/* SPDX-License-Identifier: MIT */
/* The broker's side of a program that it runs: see tool.h. */
#include "broker/base/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/base/secret.h"
#include "broker/base/tool_keeper.h"

/* A keeper that says nothing for so much longer than its limit was stopped itself. */
#define PATIENCE_MS 5000u
/* In one wake-up. */
#define MESSAGES_MAX 8u

struct tool {
    int socket;
    sd_event_source *io;
    sd_event_source *timer;
    struct tool_message *message; /* in memory for secrets */
    tool_line *line;
    tool_done *done;
    void *context;
};

static void tool_free(struct tool *tool)
{
    sd_event_source_disable_unref(tool->io);
    sd_event_source_disable_unref(tool->timer);
    if (tool->socket >= 0)
        close(tool->socket); /* by which the keeper knows */
    secret_free(tool->message, sizeof *tool->message);
    free(tool);
}

static void describe(const struct tool_message *message, char why[TOOL_WHY_SIZE])
{
    switch ((enum tool_news)message->news) {
    case TOOL_EMPTY:
        snprintf(why, TOOL_WHY_SIZE, "it printed nothing");
        break;
    case TOOL_LONG:
        snprintf(why, TOOL_WHY_SIZE, "it printed too much; a line of %u bytes is allowed",
                 TOOL_OUTPUT_MAX);
        break;
    case TOOL_EXITED:
        snprintf(why, TOOL_WHY_SIZE, "it ended with exit status %d", message->value);
        break;
    case TOOL_KILLED:
        snprintf(why, TOOL_WHY_SIZE, "it was killed by signal %d", message->value);
        break;
    case TOOL_LATE:
        snprintf(why, TOOL_WHY_SIZE, "it took longer than its time limit");
        break;
    case TOOL_NOT_THERE:
        snprintf(why, TOOL_WHY_SIZE, "it cannot be executed: %s", strerror(message->value));
        break;
    default:
        snprintf(why, TOOL_WHY_SIZE, "it cannot be run: %s", strerror(message->value));
        break;
    }
}

/* Without a secret's NUL in the middle, which AUTH could send, but nobody can type. */
static void conclude(struct tool *tool)
{
    struct tool_message *message = tool->message;
    tool_done *done = tool->done;
    void *context = tool->context;
    char why[TOOL_WHY_SIZE];

    if (message->news == TOOL_PRINTED && message->size > 0 &&
        !memchr(message->bytes, '\0', message->size)) {
        done(context, message->bytes, message->size, NULL);
    } else if (message->news == TOOL_PRINTED) {
        done(context, NULL, 0, "it printed a NUL byte");
    } else {
        describe(message, why);
        done(context, NULL, 0, why);
    }
    tool_free(tool);
}

/* The keeper has said nothing, and does not. */
static void give_up(struct tool *tool, int error)
{
    tool->message->news = TOOL_FAILED;
    tool->message->value = error;
    conclude(tool);
}

/* Results: 1, there was a line; 0, there is no message; -1, it is over and gone. */
static int take_message(struct tool *tool)
{
    const size_t head = offsetof(struct tool_message, bytes);
    ssize_t got = recv(tool->socket, tool->message, sizeof *tool->message, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < (ssize_t)head || tool->message->size != (size_t)got - head) {
        give_up(tool, got < 0 ? errno : EPIPE);
        return -1;
    }
    if (tool->message->news == TOOL_LINE) {
        tool->line(tool->context, tool->message->bytes, tool->message->size);
        return 1;
    }
    conclude(tool);
    return -1;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    for (uint32_t i = 0; i < MESSAGES_MAX; i++)
        if (take_message(context) != 1)
            break;
    return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    give_up(context, ETIMEDOUT);
    return 0;
}

/* Results: 0, the keeper runs, and the socket to it is tool->socket; -errno. */
static int start_keeper(struct tool *tool, const struct tool_order *order)
{
    int ends[2], error;
    pid_t keeper;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    keeper = fork();
    error = errno;
    if (keeper == 0)
        tool_keep(ends[1], order);
    close(ends[1]);
    tool->socket = ends[0];
    return keeper < 0 ? -error : 0;
}

int tool_start(sd_event *event, const struct tool_order *order, tool_line *line, tool_done *done,
               void *context, struct tool **tool)
{
    struct tool *made = calloc(1, sizeof *made);
    int result;

    if (!made)
        return -ENOMEM;
    *made = (struct tool){.socket = -1, .line = line, .done = done, .context = context};
    made->message = secret_room(sizeof *made->message);
    result = made->message ? start_keeper(made, order) : -ENOMEM;
    if (result == 0)
        result = sd_event_add_io(event, &made->io, made->socket, EPOLLIN, on_message, made);
    if (result >= 0)
        result = sd_event_add_time_relative(event, &made->timer, CLOCK_MONOTONIC,
                                            (uint64_t)(order->limit_ms + PATIENCE_MS) * 1000,
                                            100000, on_silence, made);
    if (result < 0) {
        tool_free(made);
        return result;
    }
    *tool = made;
    return 0;
}

void tool_cancel(struct tool *tool)
{
    if (tool)
        tool_free(tool);
}
