/* SPDX-License-Identifier: MIT */
/* A connection's private record and its life: see connection.h. */
#include "broker/pool/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/redis/session_reset.h"
#include "broker/redis/transport.h"

void connection_init(struct broker_connection *connection, struct connection_owner *owner,
                     uint32_t index)
{
    *connection = (struct broker_connection){.owner = owner, .fd = -1, .index = (uint16_t)index};
}

static void set_state(struct broker_connection *connection, enum connection_state state)
{
    struct connection_owner *owner = connection->owner;

    owner->open -= connection->state == CONNECTION_OPEN;
    owner->dialling -= connection->state == CONNECTION_DIALLING;
    connection->state = (uint8_t)state;
    owner->open += state == CONNECTION_OPEN;
    owner->dialling += state == CONNECTION_DIALLING;
}

/* Whatever it was, it is closed now. */
static void drop(struct broker_connection *connection)
{
    static const struct linger no_wait = {.l_onoff = 0};
    uint64_t word;

    if (connection->dial) {
        dial_cancel(connection->dial);
        connection->dial = NULL;
    }
    connection->watch = sd_event_source_disable_unref(connection->watch);
    reset_end(connection->reset);
    connection->reset = NULL;
    connection->checking = false;
    if (connection->fd >= 0) {
        /* Idle: take it first, so that nobody leases it on its way out. */
        word_check(connection_word(connection), &word);
        shutdown(connection->fd, SHUT_RDWR);
        /* A worker may have set SO_LINGER, and the last close(2) would wait for Redis (I5). If ours
         * is the last one, nobody can set it again. */
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &no_wait, sizeof no_wait);
        close(connection->fd);
        connection->fd = -1;
    }
    connection->generation = (connection->generation + 1) & WORD_GENERATION_MAX;
    connection->passed = 0;
    connection->stall.word = 0;
    connection->successor = false;
    connection->replacement = REPLACEMENT_NONE;
    set_state(connection, CONNECTION_CLOSED);
    connection_restore(connection);
}

void connection_close(struct broker_connection *connection, enum close_reason reason)
{
    if (connection->state == CONNECTION_OPEN) {
        /* Before it is shut down: whoever has a command on it sees that it was not Redis. */
        if (reason != CLOSE_lost)
            shm_store(&connection->owner->segment.connections[connection->index].ended,
                      1 + connection->generation);
        shm_add_relaxed(&connection->owner->catalog->closed[reason], 1);
        fd_store_remove(connection->owner->store, STORED_CONNECTION, connection->owner->pool,
                        connection->index, (uintmax_t)connection->generation,
                        (uintmax_t)connection->opened_ms);
    }
    drop(connection);
}

bool connection_revoke(struct broker_connection *connection, uint64_t word,
                       enum revoke_reason reason)
{
    if (!word_reclaim(connection_word(connection), word))
        return false;
    shm_add_relaxed(&connection->owner->catalog->revoked[reason], 1);
    connection_close(connection, CLOSE_revoked);
    return true;
}

/*
 * The only watch there is on a connection that can be lent: the peer's closing, never data (but for
 * the time of a reset, when it cannot be lent). All copies of the descriptor share one open file
 * description, so EPOLLIN would wake us for every reply of every worker.
 */
static int on_hangup(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct broker_connection *connection = context;

    (void)source;
    (void)fd;
    (void)events;
    /* During a reset: what is read shows whether it came to its end. */
    if (connection->reset)
        connection->owner->readable(connection);
    else
        connection->owner->lost(connection);
    return 0;
}

bool connection_reset_begun(struct broker_connection *connection)
{
    return sd_event_source_set_io_events(connection->watch, EPOLLIN | EPOLLRDHUP) >= 0;
}

void connection_reset_over(struct broker_connection *connection)
{
    reset_end(connection->reset);
    connection->reset = NULL;
    connection->checking = false;
    sd_event_source_set_io_events(connection->watch, EPOLLRDHUP);
}

/* How it gets to the server, for tools. */
static enum transport note_transport(struct broker_connection *connection)
{
    enum transport transport = transport_of(connection->fd);

    shm_store32(&connection->owner->segment.connections[connection->index].transport, transport);
    return transport;
}

static void make_ready(struct broker_connection *connection)
{
    struct connection_owner *owner = connection->owner;
    uint64_t opening = word_make(WORD_OPENING, 0, connection->generation);
    uint64_t checking = word_make(WORD_CHECKING, 0, connection->generation);

    owner->dialled(connection);
    set_state(connection, CONNECTION_OPEN);
    connection->opened_ms = clock_ms();
    shm_store_relaxed(&owner->segment.connections[connection->index].uses, 0);
    shm_add_relaxed(&owner->catalog->counters[BROKER_COUNTER_opened], 1);
    shm_store(&owner->segment.connections[connection->index].retire, 0);
    /* Before it can be lent: a broker that dies now leaves it to the next one. A relay ends with
     * the broker. */
    if (note_transport(connection) != TRANSPORT_RELAY)
        fd_store_put(owner->store, connection->fd, STORED_CONNECTION, owner->pool,
                     connection->index, (uintmax_t)connection->generation,
                     (uintmax_t)connection->opened_ms);
    if (!shm_cas(connection_word(connection), opening, checking) ||
        !queue_pass_on(&owner->segment, connection->index, checking))
        owner->corrupted(connection);
    owner->opened(connection);
}

static void on_dialled(void *context, int fd, const struct socket_ends *ends, const char *error)
{
    struct broker_connection *connection = context;
    struct connection_owner *owner = connection->owner;
    char text[DIAL_ERROR_SIZE];
    int result;

    connection->dial = NULL;
    if (fd >= 0) {
        connection->fd = fd;
        connection->holders = (struct socket_holders){0};
        connection->ends = *ends;
        result = sd_event_add_io(owner->event, &connection->watch, fd, EPOLLRDHUP, on_hangup,
                                 connection);
        if (result >= 0) {
            make_ready(connection);
            return;
        }
        snprintf(text, sizeof text, "cannot watch the connection: %s", strerror(-result));
        error = text;
    }
    drop(connection);
    owner->failed(connection, error);
}

int connection_dial(struct broker_connection *connection, const struct dial_target *target,
                    char error[DIAL_ERROR_SIZE])
{
    int result;

    set_state(connection, CONNECTION_DIALLING);
    connection_restore(connection);
    result = dial_start(connection->owner->dialler, target, on_dialled, connection,
                        &connection->dial, error);
    if (result != 0)
        drop(connection);
    return result;
}

/* The peer has closed, or the socket is none any more. */
static bool is_dead(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;

    return getpeername(fd, (struct sockaddr *)&peer, &size) < 0 || poll(&poll_fd, 1, 0) != 0;
}

/* Whether the previous broker can have left the word so with the connection in good order. What it
 * was about to do with it itself is not known. */
static bool is_lendable(const struct broker_connection *connection, uint64_t generation)
{
    uint64_t word = shm_load(connection_word(connection));

    return word_generation(word) == generation &&
           (word_state(word) == WORD_IDLE || word_is_out(word) ||
            word_state(word) == WORD_UNCLEAN || word_state(word) == WORD_RETURNED);
}

bool connection_adopt(struct broker_connection *connection, int fd, uint64_t generation,
                      uint64_t opened_ms)
{
    struct connection_owner *owner = connection->owner;

    connection->fd = fd;
    connection->generation = generation;
    set_state(connection, CONNECTION_OPEN);
    connection->opened_ms = opened_ms;
    connection->login = 0;
    connection->login_ms = 0;
    socket_ends_note(&connection->ends, fd);
    note_transport(connection);
    if (!is_lendable(connection, generation) || is_dead(fd) ||
        sd_event_add_io(owner->event, &connection->watch, fd, EPOLLRDHUP, on_hangup, connection) <
            0) {
        connection_close(connection, CLOSE_orphaned);
        return false;
    }
    return true;
}

bool connection_has_ended(const struct broker_connection *connection)
{
    return is_dead(connection->fd);
}

bool connection_is_redirected(const struct broker_connection *connection)
{
    return connection->fd >= 0 && socket_ends_differ(&connection->ends, connection->fd);
}

void connection_renew(struct broker_connection *connection)
{
    uint64_t word = shm_load(connection_word(connection));

    connection->generation = (word_generation(word) + 1) & WORD_GENERATION_MAX;
    connection_restore(connection);
}

enum connection_found connection_inspect(const struct broker_connection *connection, uint64_t *word)
{
    uint64_t seen = shm_load(connection_word(connection));

    *word = seen;
    switch (connection->state) {
    case CONNECTION_CLOSED:
        return seen == word_make(WORD_EMPTY, 0, connection->generation) ? FOUND_FINE
                                                                        : FOUND_CORRUPTED;
    case CONNECTION_DIALLING:
        return seen == word_make(WORD_OPENING, 0, connection->generation) ? FOUND_FINE
                                                                          : FOUND_CORRUPTED;
    default:
        break;
    }
    if (word_generation(seen) != connection->generation)
        return FOUND_CORRUPTED;
    if (connection->reset)
        return word_state(seen) == WORD_CHECKING ? FOUND_FINE : FOUND_CORRUPTED;
    switch (word_state(seen)) {
    case WORD_IDLE:
    case WORD_LEASED:
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        return FOUND_FINE;
    case WORD_RETURNED:
        return FOUND_RETURNED;
    case WORD_UNCLEAN:
        return FOUND_UNCLEAN;
    default:
        /* Otherwise CHECKING and RECLAIMED are ours and never outlast the call that makes them. */
        return FOUND_CORRUPTED;
    }
}

void connection_restore(struct broker_connection *connection)
{
    enum word_state state = connection->state == CONNECTION_DIALLING ? WORD_OPENING : WORD_EMPTY;

    shm_store(connection_word(connection), word_make(state, 0, connection->generation));
}
