/* SPDX-License-Identifier: MIT */
/*
 * Dialling on sd-event: see dialler.h.
 *
 * A dial is a socket, what is still to be sent, and the stage at which it is. Each wake-up reads
 * once, into a buffer on the stack; what comes is understood by handshake.c and reply_walk.c, which
 * bound it. Memory is asked for when a dial begins, and only then: a dial that is under way does
 * not fail for the want of it. The event handler alone concludes a dial: one place where it ends
 * and where its owner is called.
 *
 * The request has the password in it. It is wiped as soon as it is sent.
 */
#include "broker/redis/dialler.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "broker/redis/channel.h"
#include "broker/redis/handshake.h"
#include "broker/redis/reply_walk.h"
#include "lendis/segment.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* <asm-generic/socket.h>, Linux 5.14 */
#endif

/* Read at once: an answer to COMMAND takes a dozen wake-ups, and none of them long. */
#define READ_SIZE 16384u
/* Of TCP: so often after a silence a peer is asked, this part of the silence apart. */
#define KEEPALIVE_TRY 4

_Static_assert(DIAL_ERROR_SIZE >= HANDSHAKE_ERROR_SIZE, "an error reply fits");

const char dial_again[] = "the connection ended at something that can be done without";

enum dial_stage {
    DIAL_CONNECTING,
    DIAL_ENCRYPTING, /* the handshake of TLS */
    DIAL_HANDSHAKE,
    DIAL_COMMANDS, /* COMMAND */
    DIAL_ROLE,     /* ROLE: is it a Sentinel? */
};

struct dial {
    struct dialler *dialler;
    struct dial_slot slot;
    sd_event_source *io;
    sd_event_source *timer;
    enum dial_stage stage;
    struct channel channel;
    bool over; /* channel or error says how */
    bool again;
    bool sentinel;    /* the server has said that it is one */
    const char *next; /* of what is to be sent */
    size_t left;      /* bytes of it */
    struct handshake handshake;
    struct reply_walk walk;
    uint32_t keepalive_ms;
    struct command_info *command_info;
    struct rights *rights;
    dial_done *done;
    void *owner;
    char error[DIAL_ERROR_SIZE];
    size_t request_size;
    char request[]; /* the handshake's */
};

/* ---- the course of a dial ---- */

static void note_failure(struct dial *dial, const char *error)
{
    if (dial->over)
        return;
    dial->over = true;
    snprintf(dial->error, sizeof dial->error, "%s", error);
}

static void note_success(struct dial *dial)
{
    if (dial->sentinel)
        note_failure(dial, "this is the port of a Sentinel, which has no data: give the address of "
                           "the Redis server itself");
    else if (dial->handshake.error[0])
        note_failure(dial, dial->handshake.error);
    dial->over = true;
}

/* Where there is room to send and nothing is to be sent, nobody wakes us. */
static void watch(struct dial *dial, bool sending)
{
    sd_event_source_set_io_events(dial->io,
                                  EPOLLIN | (sending || dial->channel.wants_write ? EPOLLOUT : 0));
}

/* Sends as much as there is room for. What is sent is wiped. */
static void send_rest(struct dial *dial)
{
    while (dial->left > 0) {
        ssize_t sent = channel_send(&dial->channel, dial->next, dial->left);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            /* A server that refuses us says why and closes: that is read first. */
            if (errno == EPROTO)
                note_failure(dial, channel_error(&dial->channel));
            else if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                note_failure(dial, strerror(errno));
            break;
        }
        dial->next += sent;
        dial->left -= (size_t)sent;
    }
    if (dial->left == 0)
        explicit_bzero(dial->request, dial->request_size);
    watch(dial, dial->left > 0);
}

/* The next command, a constant. The socket is empty: it is taken at once. */
static void ask(struct dial *dial, enum dial_stage stage, const char *command)
{
    dial->stage = stage;
    dial->walk = (struct reply_walk){.string = dial->walk.string, .context = dial};
    dial->next = command;
    dial->left = strlen(command);
    send_rest(dial);
}

/* ---- COMMAND and ROLE ---- */

static void ask_role(struct dial *dial)
{
    ask(dial, DIAL_ROLE, "*1\r\n$4\r\nROLE\r\n");
}

/* Of the reply to COMMAND. */
static void take_command(struct dial *dial, char type, const uint32_t *path, uint32_t depth,
                         const char *text, size_t size)
{
    if (depth == 0 && type == '-') {
        command_info_refuse(dial->command_info);
        dial->handshake.odd = memmem(text, size, "unknown command", 15) != NULL;
    }
    if (depth <= COMMAND_INFO_DEPTH)
        command_info_string(dial->command_info, path, depth, text, size);
}

static void on_string(void *context, char type, const uint32_t *path, uint32_t depth,
                      const char *text, size_t size)
{
    struct dial *dial = context;

    if (dial->stage == DIAL_COMMANDS)
        take_command(dial, type, path, depth, text, size);
    else if (depth == 1 && path[0] == 0 && size == 8 && memcmp(text, "sentinel", 8) == 0)
        dial->sentinel = true;
}

static void end_commands(struct dial *dial)
{
    dial->sentinel = command_info_is_sentinel(dial->command_info);
    if (dial->sentinel)
        command_info_put_off(dial->command_info);
    else
        command_info_end(dial->command_info);
    /* What a Sentinel before Redis 6.2 says to COMMAND. */
    if (dial->handshake.odd && !dial->over)
        ask_role(dial);
    else
        note_success(dial);
}

static void take_values(struct dial *dial, const char *data, size_t size)
{
    size_t used;
    int result = reply_walk(&dial->walk, data, size, &used);

    if (result == 0)
        return;
    if (result == 1 && used < size)
        note_failure(dial, "the server sent more than it was asked for");
    if (result == -EMSGSIZE)
        note_failure(dial, "Protocol error: the server's reply is larger than any of Redis'");
    else if (result < 0)
        note_failure(dial, "Protocol error: the server's reply is not one that Redis gives");
    else if (dial->stage == DIAL_ROLE)
        note_success(dial);
    else
        end_commands(dial);
}

/* ---- the handshake ---- */

static void end_handshake(struct dial *dial, enum handshake_result result)
{
    if (dial->rights && result == HANDSHAKE_DONE)
        rights_learn(dial->rights, dial->handshake.missing, dial->handshake.refused);
    if (result == HANDSHAKE_FAILED && !dial->handshake.odd)
        note_failure(dial, dial->handshake.error);
    else if (result == HANDSHAKE_FAILED)
        ask_role(dial);
    else if (dial->command_info && !dial->handshake.unwell &&
             command_info_begin(dial->command_info))
        ask(dial, DIAL_COMMANDS, "*1\r\n$7\r\nCOMMAND\r\n");
    else
        note_success(dial);
}

static void take(struct dial *dial, const char *data, size_t size)
{
    enum handshake_result result;
    size_t used = size;

    if (dial->stage != DIAL_HANDSHAKE) {
        take_values(dial, data, size);
        return;
    }
    result = handshake_take(&dial->handshake, data, size, &used);
    if (result == HANDSHAKE_DONE && used < size)
        note_failure(dial, "the server sent more than it was asked for");
    else if (result != HANDSHAKE_WAITING)
        end_handshake(dial, result);
}

/* The server has closed, or the network has. */
static void take_end(struct dial *dial, int error)
{
    uint32_t asked = dial->stage == DIAL_HANDSHAKE && dial->handshake.line_size == 0
                         ? handshake_asked(&dial->handshake)
                         : 0;

    if (dial->handshake.error[0]) {
        note_failure(dial, dial->handshake.error);
        return;
    }
    /* A proxy that knows no such command? */
    if (dial->stage == DIAL_COMMANDS || dial->stage == DIAL_ROLE)
        dial->again = dial->walk.bytes == 0;
    else if (dial->rights)
        dial->again = rights_doubt(dial->rights, dial->handshake.missing, asked);
    if (error != 0)
        note_failure(dial, strerror(error));
    note_failure(dial, dial->stage == DIAL_COMMANDS ? "the server closed the connection at COMMAND"
                                                    : "the server closed the connection");
}

static void receive(struct dial *dial)
{
    char data[READ_SIZE];
    ssize_t got;

    do
        got = channel_receive(&dial->channel, data, sizeof data);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        take(dial, data, (size_t)got);
        /* An error can repeat the password. */
        explicit_bzero(data, (size_t)got);
    } else if (got == 0)
        take_end(dial, 0);
    else if (errno == EPROTO)
        note_failure(dial, channel_error(&dial->channel));
    else if (errno != EAGAIN)
        take_end(dial, errno);
    watch(dial, dial->left > 0);
}

/* Goes on with the handshake of TLS; without TLS it is over. */
static void encrypt(struct dial *dial)
{
    switch (channel_open(&dial->channel)) {
    case CHANNEL_OPEN:
        dial->stage = DIAL_HANDSHAKE;
        break;
    case CHANNEL_WAITING:
        watch(dial, false);
        break;
    case CHANNEL_BROKEN:
        note_failure(dial, channel_error(&dial->channel));
        break;
    }
}

/* connect(2) has come to its end. */
static void note_connected(struct dial *dial)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (getsockopt(dial->channel.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && !channel_begin(&dial->channel))
        error = ENOMEM;
    if (error != 0)
        note_failure(dial, strerror(error));
    dial->stage = DIAL_ENCRYPTING;
}

/* ---- the end ---- */

static bool set_option(int fd, int level, int option, const void *value, socklen_t size)
{
    return setsockopt(fd, level, option, value, size) == 0;
}

/* What only TCP has: no delay, and a dead peer is noticed. */
static bool finish_tcp(int fd, uint32_t keepalive_ms)
{
    const int yes = 1, no = 0, on = keepalive_ms > 0, attempts = KEEPALIVE_TRY;
    const int idle = (int)((keepalive_ms + 999) / 1000);
    const int gap = idle > KEEPALIVE_TRY ? idle / KEEPALIVE_TRY : 1;

    return set_option(fd, IPPROTO_TCP, TCP_CORK, &no, sizeof no) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) &&
           set_option(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) &&
           (!on || (set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) &&
                    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap, sizeof gap) &&
                    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, &attempts, sizeof attempts)));
}

int dial_finish_socket(int fd, uint32_t keepalive_ms)
{
    static const struct timeval receive = {.tv_usec = CONNECTION_RECEIVE_MS * 1000}, none;
    static const struct linger no_linger;
    static const int least = 1;
    int domain = 0;
    socklen_t size = sizeof domain;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | O_ASYNC)) < 0 ||
        !set_option(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) ||
        !set_option(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) ||
        !set_option(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger) ||
        !set_option(fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least) ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
        return -errno;
    return domain == AF_UNIX || finish_tcp(fd, keepalive_ms) ? 0 : -errno;
}

bool dial_is_resized(int fd)
{
    int locks = 0;
    socklen_t size = sizeof locks;

    return getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, &size) == 0 && locks != 0;
}

/* Ends the dial; its owner gets no report. */
static void dispose(struct dial *dial, enum dial_outcome outcome)
{
    dial_slot_end(dial->dialler, &dial->slot, outcome);

    if (dial->stage == DIAL_COMMANDS && dial->command_info->asking)
        command_info_fail(dial->command_info);
    sd_event_source_disable_unref(dial->io);
    sd_event_source_disable_unref(dial->timer);
    channel_close(&dial->channel);
    explicit_bzero(dial->request, dial->request_size);
    free(dial);
}

/* Takes the descriptor of a dial that succeeded. -1: it failed after all. */
static int take_descriptor(struct dial *dial, struct socket_ends *ends)
{
    int fd = dial->channel.fd, lent, result;

    if (dial->error[0])
        return -1;
    /* Before it can belong to others: epoll(7) forgets an open file description, not a number. */
    dial->io = sd_event_source_disable_unref(dial->io);
    socket_ends_note(ends, fd);
    result = dial_finish_socket(fd, dial->keepalive_ms);
    lent = result == 0 ? channel_lend(&dial->channel, dial->error) : result;
    dial->again = lent == -ESTALE;
    /* A relay's end is a socket of its own. */
    if (lent >= 0 && lent != fd) {
        ends->local.size = 0;
        result = dial_finish_socket(lent, 0);
    }
    if (result != 0)
        snprintf(dial->error, sizeof dial->error, "%s", strerror(-result));
    if (result != 0 && lent >= 0)
        close(lent);
    return result != 0 ? -1 : lent;
}

static void conclude(struct dial *dial)
{
    struct dialler *dialler = dial->dialler;
    dial_done *done = dial->done;
    void *owner = dial->owner;
    char error[DIAL_ERROR_SIZE];
    struct socket_ends ends;
    int fd = take_descriptor(dial, &ends);
    bool again = dial->again;

    if (dial->rights && !again)
        rights_absolve(dial->rights);
    memcpy(error, dial->error, sizeof error);
    dispose(dial, fd >= 0 ? DIAL_OUTCOME_GOOD : again ? DIAL_OUTCOME_NONE : DIAL_OUTCOME_BAD);
    done(owner, fd, &ends, fd >= 0 ? NULL : again ? dial_again : error);
    dialler_give_turns(dialler);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct dial *dial = data;

    (void)source;
    (void)fd;
    if (dial->stage == DIAL_CONNECTING)
        note_connected(dial);
    if (!dial->over && dial->stage == DIAL_ENCRYPTING) {
        encrypt(dial);
        events |= EPOLLOUT; /* if it is done: there is room */
        if (dial->stage == DIAL_ENCRYPTING)
            events = 0;
    }
    /* Reading comes first: a server that refuses us says why and closes. */
    if (!dial->over && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        receive(dial);
    if (!dial->over && (events & EPOLLOUT))
        send_rest(dial);
    if (dial->over)
        conclude(dial);
    return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *data)
{
    struct dial *dial = data;

    (void)source;
    (void)usec;
    if (dial->stage == DIAL_CONNECTING)
        note_failure(dial, "connecting took longer than connect_timeout");
    else if (dial->stage == DIAL_ENCRYPTING)
        note_failure(dial, "no answer to the TLS handshake within connect_timeout: does the "
                           "server speak TLS on this port?");
    else if (dial->handshake.error[0])
        note_failure(dial, dial->handshake.error);
    else
        note_failure(dial, dial->stage == DIAL_COMMANDS
                               ? "no answer to COMMAND within connect_timeout"
                               : "no answer within connect_timeout");
    conclude(dial);
    return 0;
}

/* ---- the beginning ---- */

/* A socket that is connected, or on its way; never one of the first three descriptors, which others
 * write to. Results: the descriptor; -errno. */
static int open_socket(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd >= 0 && fd <= STDERR_FILENO) {
        int low = fd;

        fd = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        error = errno;
        close(low);
        errno = error;
    }
    if (fd < 0)
        return -errno;
    if (connect(fd, address, size) == 0 || errno == EINPROGRESS)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

static int connect_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    return open_socket((struct sockaddr *)&address, sizeof address);
}

/* A numeric address: nothing is looked up. */
static int connect_host(const char *host, uint16_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *address;
    char service[8];
    int result;

    snprintf(service, sizeof service, "%u", port);
    result = getaddrinfo(host, service, &hints, &address);
    if (result != 0)
        return result == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL;
    result = open_socket(address->ai_addr, address->ai_addrlen);
    freeaddrinfo(address);
    return result;
}

static int begin(struct dial *dial, const struct dial_target *target)
{
    sd_event *event = dial->dialler->event;
    int result =
        target->host ? connect_host(target->host, target->port) : connect_path(target->path);

    if (result < 0)
        return result;
    dial->channel.fd = result;
    result = sd_event_add_io(event, &dial->io, dial->channel.fd, EPOLLIN | EPOLLOUT, on_io, dial);
    if (result >= 0)
        result = sd_event_add_time_relative(event, &dial->timer, CLOCK_MONOTONIC,
                                            (uint64_t)target->timeout_ms * 1000, 10000, on_timeout,
                                            dial);
    return result < 0 ? result : 0;
}

/* NULL: there is no memory. */
static struct dial *make_dial(struct dialler *dialler, const struct dial_target *target)
{
    const struct handshake_profile profile = {.db = target->db,
                                              .username = target->username,
                                              .password = target->password,
                                              .password_size = target->password_size,
                                              .client_name = target->client_name};
    struct dial *made = calloc(1, sizeof *made + handshake_room(&profile));
    uint32_t missing = target->rights ? rights_missing(target->rights) : 0;

    if (!made)
        return NULL;
    made->dialler = dialler;
    made->channel = (struct channel){.fd = -1, .tls = target->tls, .context = target->tls_context};
    made->keepalive_ms = target->keepalive_ms;
    made->command_info = target->command_info;
    made->rights = target->rights;
    made->walk.string = on_string;
    made->request_size = handshake_begin(&made->handshake, &profile, missing, made->request);
    made->next = made->request;
    made->left = made->request_size;
    return made;
}

int dial_start(struct dialler *dialler, const struct dial_target *target, dial_done *done,
               void *context, struct dial **dial, char error[DIAL_ERROR_SIZE])
{
    struct dial *made = make_dial(dialler, target);
    int result;

    if (!made) {
        snprintf(error, DIAL_ERROR_SIZE, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    made->done = done;
    made->owner = context;
    dial_slot_begin(dialler, &made->slot, target->node);
    result = begin(made, target);
    if (result != 0) {
        snprintf(error, DIAL_ERROR_SIZE, "%s", strerror(-result));
        dispose(made, DIAL_OUTCOME_BAD);
        return result;
    }
    *dial = made;
    return 0;
}

void dial_cancel(struct dial *dial)
{
    if (dial)
        dispose(dial, DIAL_OUTCOME_NONE);
}
