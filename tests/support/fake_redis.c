/* SPDX-License-Identifier: MIT */
/*
 * A Redis that misbehaves on demand: what no real one can be made to do at a chosen moment. One
 * process, one poll loop; what it does next is read from memory shared with the test at each
 * command.
 */
#include "broker/testbed/internal.h"
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENERS    2
#define SESSIONS_MAX 1024
#define LATE_MS      20
#define TRICKLE_MS   1
#define ENDLESS_SIZE 65536u

enum ending { ENDING_NONE, ENDING_CLOSE, ENDING_RESET };

/* One client. What it is to get is in `out`; bytes beyond `released` are held back until due_ms. */
struct session {
    int fd;
    char *in;
    size_t in_used, in_size;
    char *out;
    size_t out_used, out_size, out_sent, released;
    int64_t due_ms;     /* 0: nothing is held back */
    bool trickle;       /* release a byte at a time */
    bool endless;       /* when all is sent, there is more */
    bool mute;          /* reads on, answers nothing any more */
    enum ending ending; /* once everything is sent */
};

struct command {
    const char *name;
    size_t name_size;
    const char *last;
    size_t last_size;
    long count;
};

static const char garbage[] = "\0\xff !? this is no RESP\r\n";

static struct fake_control *control;
static struct session sessions[SESSIONS_MAX];
static size_t session_count;

/* ---- requests ---- */

/* Reads "<mark>number\r\n" at *at. Results: 1, and *at is behind it; 0, incomplete; -1, something
 * else. */
static int take_number(const char **at, const char *end, char mark, long *number)
{
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));

    if (*at < end && **at != mark)
        return -1;
    if (!newline)
        return 0;
    *number = strtol(*at + 1, NULL, 10);
    *at = newline + 1;
    return 1;
}

/* Takes one command from the start of `in`. Results: its size; 0, incomplete; -1, not RESP. */
static ssize_t take_command(const struct session *session, struct command *command)
{
    const char *at = session->in, *end = session->in + session->in_used;
    int got = take_number(&at, end, '*', &command->count);

    if (got <= 0)
        return got;
    for (long i = 0; i < command->count; i++) {
        long size;

        got = take_number(&at, end, '$', &size);
        if (got <= 0)
            return got;
        if (size < 0 || end - at < size + 2)
            return size < 0 ? -1 : 0;
        if (i == 0) {
            command->name = at;
            command->name_size = (size_t)size;
        }
        command->last = at;
        command->last_size = (size_t)size;
        at += size + 2;
    }
    return at - session->in;
}

static bool is(const struct command *command, const char *name)
{
    return command->name_size == strlen(name) &&
           strncasecmp(command->name, name, command->name_size) == 0;
}

static bool is_handshake(const struct command *command)
{
    return is(command, "AUTH") || is(command, "HELLO") || is(command, "SELECT") ||
           is(command, "CLIENT") || is(command, "PING") || is(command, "RESET");
}

/* ---- replies ---- */

static void put(struct session *session, const void *bytes, size_t size)
{
    if (session->out_used + size > session->out_size) {
        session->out_size = (session->out_used + size) * 2;
        session->out = realloc(session->out, session->out_size);
        if (!session->out)
            _exit(1);
    }
    memcpy(session->out + session->out_used, bytes, size);
    session->out_used += size;
}

static void put_text(struct session *session, const char *text)
{
    put(session, text, strlen(text));
}

static void put_bulk(struct session *session, const char *bytes, size_t size)
{
    char head[32];

    snprintf(head, sizeof head, "$%zu\r\n", size);
    put_text(session, head);
    put(session, bytes, size);
    put_text(session, "\r\n");
}

static void put_hello(struct session *session, const struct command *command)
{
    bool third = command->count > 1 && command->last_size == 1 && *command->last == '3';

    put_text(session, third ? "%3\r\n" : "*6\r\n");
    put_bulk(session, "server", 6);
    put_bulk(session, "redis", 5);
    put_bulk(session, "version", 7);
    put_bulk(session, "7.0.15", 6);
    put_bulk(session, "proto", 5);
    put_text(session, third ? ":3\r\n" : ":2\r\n");
}

/* The reply that a proper server gives. */
static void put_reply(struct session *session, const struct command *command)
{
    if (is(command, "PING") && command->count > 1)
        put_bulk(session, command->last, command->last_size);
    else if (is(command, "PING"))
        put_text(session, "+PONG\r\n");
    else if (is(command, "HELLO"))
        put_hello(session, command);
    else if (is(command, "RESET"))
        put_text(session, "+RESET\r\n");
    else if (is(command, "CLIENT") && control->client_info[0] && command->last_size == 4 &&
             memcmp(command->last, "INFO", 4) == 0)
        put_bulk(session, control->client_info, strlen(control->client_info));
    else if (is_handshake(command) || is(command, "UNWATCH") || is(command, "SCRIPT"))
        put_text(session, "+OK\r\n");
    else if (is(command, "HIMPORT"))
        put_text(session, "-ERR unknown command 'HIMPORT', with args beginning with: \r\n");
    else if (is(command, "COMMAND"))
        put_text(session, control->command_info_reply[0] ? control->command_info_reply : "*0\r\n");
    else
        put_bulk(session, command->last, command->last_size);
}

/* Takes back the second half of what was put since `start`. */
static void halve(struct session *session, size_t start)
{
    session->out_used = start + (session->out_used - start + 1) / 2;
}

static void hold(struct session *session, size_t from, int64_t ms, bool trickle)
{
    if (session->due_ms != 0)
        return; /* something before it is held back already */
    session->released = from;
    session->due_ms = now_ms() + ms;
    session->trickle = trickle;
}

static void act(struct session *session, const struct command *command, enum fake_action action)
{
    size_t start = session->out_used;

    switch (action) {
    case FAKE_ANSWER:
        put_reply(session, command);
        break;
    case FAKE_SILENT:
        session->mute = true;
        break;
    case FAKE_STALL:
        put_reply(session, command);
        halve(session, start);
        session->mute = true;
        break;
    case FAKE_GARBAGE:
        put(session, garbage, sizeof garbage - 1);
        break;
    case FAKE_CLOSE:
        session->ending = ENDING_CLOSE;
        break;
    case FAKE_CLOSE_MIDWAY:
    case FAKE_RESET:
        put_reply(session, command);
        halve(session, start);
        session->ending = action == FAKE_RESET ? ENDING_RESET : ENDING_CLOSE;
        break;
    case FAKE_TRICKLE:
        put_reply(session, command);
        hold(session, start + 1, TRICKLE_MS, true);
        break;
    case FAKE_TWICE:
        put_reply(session, command);
        put_reply(session, command);
        break;
    case FAKE_LATE_TWICE:
        put_reply(session, command);
        start = session->out_used;
        put_reply(session, command);
        hold(session, start, LATE_MS, false);
        break;
    case FAKE_ENDLESS:
        put_text(session, control->endless_head);
        session->endless = session->mute = true;
        break;
    case FAKE_LOGGED_OUT:
        put_text(session, "-NOAUTH Authentication required.\r\n");
        session->mute = true;
        break;
    case FAKE_ERROR:
        put_text(session, is(command, "AUTH")
                              ? "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
                              : "-ERR refused by the test\r\n");
        break;
    }
}

static enum fake_action next_action(const struct command *command)
{
    unsigned first;

    if (is_handshake(command)) {
        atomic_fetch_add(&control->handshakes, 1);
        return atomic_load(&control->handshake);
    }
    if (is(command, "COMMAND")) {
        atomic_fetch_add(&control->command_infos, 1);
        return atomic_load(&control->command_info);
    }
    atomic_fetch_add(&control->commands, 1);
    first = atomic_load(&control->answer_first);
    while (first > 0)
        if (atomic_compare_exchange_weak(&control->answer_first, &first, first - 1))
            return FAKE_ANSWER;
    return atomic_load(&control->command);
}

/* ---- sessions ---- */

static void session_close(struct session *session)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (session->ending == ENDING_RESET)
        setsockopt(session->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(session->fd);
    free(session->in);
    free(session->out);
    atomic_fetch_sub(&control->open, 1);
    *session = sessions[--session_count];
}

static void session_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int yes = 1;

    if (fd < 0)
        return;
    /* A piece of a reply is a segment of its own; on a Unix socket this fails and does not matter.
     */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    atomic_fetch_add(&control->accepted, 1);
    if (session_count == SESSIONS_MAX || atomic_load(&control->refuse)) {
        close(fd);
        return;
    }
    atomic_fetch_add(&control->open, 1);
    sessions[session_count++] = (struct session){.fd = fd};
}

static void put_more(struct session *session)
{
    while (session->out_used < ENDLESS_SIZE)
        put_text(session, control->endless_more);
}

/* Sends what may be sent. False: the session is over. */
static bool session_send(struct session *session)
{
    for (;;) {
        size_t until = session->due_ms ? session->released : session->out_used;
        ssize_t sent;

        if (session->out_sent == until)
            break;
        sent = send(session->fd, session->out + session->out_sent, until - session->out_sent,
                    MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        session->out_sent += (size_t)sent;
    }
    if (session->out_sent < session->out_used)
        return true;
    session->out_sent = session->out_used = 0;
    if (session->endless)
        put_more(session);
    return session->ending == ENDING_NONE;
}

/* Releases what is due of the bytes held back. */
static void session_release(struct session *session)
{
    if (session->due_ms == 0 || now_ms() < session->due_ms)
        return;
    if (session->trickle && session->released + 1 < session->out_used) {
        session->released++;
        session->due_ms = now_ms() + TRICKLE_MS;
    } else {
        session->due_ms = 0;
    }
}

/* The two bytes by which a broker finds out whether a command begins here. */
static void take_probe(struct session *session)
{
    if (session->in_used < 2 || memcmp(session->in, "x\n", 2) != 0)
        return;
    put_text(session, "-ERR unknown command 'x', with args beginning with: \r\n");
    session->in_used -= 2;
    memmove(session->in, session->in + 2, session->in_used);
}

/* In whatever form it comes, and be it half a command. */
static void watch_for_secret(const struct session *session, size_t got)
{
    size_t size = strlen(control->secret), from = session->in_used - got;

    from = from > size ? from - size : 0;
    if (size > 0 && memmem(session->in + from, session->in_used - from, control->secret, size))
        atomic_fetch_add(&control->secrets, 1);
}

static bool session_answer(struct session *session)
{
    take_probe(session);
    while (!session->mute && session->ending == ENDING_NONE) {
        struct command command = {0};
        ssize_t size = take_command(session, &command);

        if (size < 0)
            return false;
        if (size == 0)
            return true;
        if (command.count > 0)
            act(session, &command, next_action(&command));
        session->in_used -= (size_t)size;
        memmove(session->in, session->in + size, session->in_used);
    }
    session->in_used = 0;
    return true;
}

/* Reads and answers. False: the session is over. */
static bool session_receive(struct session *session)
{
    ssize_t got;

    if (session->in_size - session->in_used < 4096) {
        session->in_size = session->in_size * 2 + 16384;
        session->in = realloc(session->in, session->in_size);
        if (!session->in)
            _exit(1);
    }
    got = recv(session->fd, session->in + session->in_used, session->in_size - session->in_used, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    session->in_used += (size_t)got;
    watch_for_secret(session, (size_t)got);
    return got > 0 && session_answer(session);
}

static void serve(const int *listeners)
{
    static struct pollfd polled[LISTENERS + SESSIONS_MAX];

    for (;;) {
        size_t count = session_count;
        int timeout_ms = -1;

        for (size_t i = 0; i < LISTENERS; i++)
            polled[i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        for (size_t i = 0; i < count; i++) {
            const struct session *session = &sessions[i];
            size_t until = session->due_ms ? session->released : session->out_used;

            polled[LISTENERS + i] = (struct pollfd){
                .fd = session->fd,
                .events = POLLIN | (session->out_sent < until ? POLLOUT : 0),
            };
            if (session->due_ms)
                timeout_ms = 1;
        }
        if (poll(polled, LISTENERS + count, timeout_ms) < 0)
            continue;
        /* From the end: session_close() moves the last one into the gap. */
        for (size_t i = count; i-- > 0;) {
            struct session *session = &sessions[i];
            bool goes_on = !polled[LISTENERS + i].revents || session_receive(session);

            session_release(session);
            if (!goes_on || !session_send(session))
                session_close(session);
        }
        for (size_t i = 0; i < LISTENERS; i++)
            if (polled[i].revents)
                session_accept(listeners[i]);
    }
}

/* ---- the test's side ---- */

static int listen_unix(struct fake_redis *fake)
{
    static unsigned number;
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    scratch_path(fake->socket_path, "fake%u.sock", ++number);
    snprintf(fake->unix_url, sizeof fake->unix_url, "unix://%s?db=0", fake->socket_path);
    address = unix_address(fake->socket_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 512) < 0)
        give_up("%s: %s", fake->socket_path, strerror(errno));
    return fd;
}

static int listen_tcp(struct fake_redis *fake)
{
    int fd = reserve_port(&fake->port);

    snprintf(fake->tcp_url, sizeof fake->tcp_url, "redis://127.0.0.1:%d/0", fake->port);
    if (listen(fd, 512) < 0)
        give_up("listen: %s", strerror(errno));
    return fd;
}

/* The fake's process: nothing of the test but its listeners, so that no descriptor of the test
 * stays open here. */
static void become_fake(const int *listeners, pid_t parent)
{
    int kept[LISTENERS];

    die_with(parent);
    scratch_forget();
    for (int i = 0; i < LISTENERS; i++)
        kept[i] = fcntl(listeners[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1 + LISTENERS);
    for (int i = 0; i < LISTENERS; i++)
        kept[i] = dup2(kept[i], STDERR_FILENO + 1 + i);
    close_range(STDERR_FILENO + 1 + LISTENERS, ~0u, 0);
    serve(kept);
}

void fake_start(struct fake_redis *fake, enum fake_action command)
{
    int listeners[LISTENERS];
    pid_t parent = getpid();

    *fake = (struct fake_redis){0};
    fake->control = mmap(NULL, sizeof *fake->control, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fake->control == MAP_FAILED)
        give_up("mmap: %s", strerror(errno));
    atomic_store(&fake->control->command, command);
    listeners[0] = listen_unix(fake);
    listeners[1] = listen_tcp(fake);
    fflush(NULL);
    fake->pid = fork();
    if (fake->pid < 0)
        give_up("fork: %s", strerror(errno));
    if (fake->pid == 0) {
        control = fake->control;
        become_fake(listeners, parent);
    }
    scratch_add_child(fake->pid);
    for (int i = 0; i < LISTENERS; i++)
        close(listeners[i]);
}

void fake_stop(struct fake_redis *fake)
{
    if (fake->pid == 0)
        return;
    program_kill(fake->pid);
    unlink(fake->socket_path);
    munmap(fake->control, sizeof *fake->control);
    *fake = (struct fake_redis){0};
}
