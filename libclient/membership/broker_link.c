/* SPDX-License-Identifier: MIT */
/*
 * The socket to the broker: see broker_link.h.
 *
 * What is said over it is rare: four round trips when a process attaches, one for each connection
 * and generation that it uses. The broker is never asked on the way to a lease.
 */
#include "libclient/membership/broker_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libclient/clock.h"
#include "libclient/membership/socket_cookie.h"
#include "libclient/shared/broker_socket.h"
#include "libclient/shared/descriptor.h"

int link_renumber(int *socket)
{
    int moved = descriptor_copy(*socket, *socket + 1);

    if (moved < 0)
        return -errno;
    close(*socket);
    *socket = moved;
    return 0;
}

int link_connect(const char *path, int *fd)
{
    int made;

    LENDIS_STEP("connect");
    made = broker_socket_connect(path);
    if (made < 0)
        return made;
    *fd = made;
    return 0;
}

int link_take_answer(int socket, enum wire_type type, void *answer, size_t size, int *fd,
                     int timeout_ms)
{
    int result = wire_receive(socket, answer, size, fd, timeout_ms);

    if (result == 0 || result == -ECONNRESET)
        return LENDIS_E_DOWN;
    if (result == -ETIMEDOUT || result == -EAGAIN)
        return LENDIS_E_TIMEOUT;
    if (result < 0)
        return result;
    if (!wire_is(answer, (size_t)result, type, size)) {
        const struct wire_header *header = answer;
        bool other = (size_t)result >= sizeof *header && header->magic == WIRE_MAGIC &&
                     header->abi_major != LENDIS_ABI_MAJOR;

        if (fd)
            link_close_fd(fd);
        return other ? LENDIS_E_ABI : -EPROTO;
    }
    return 0;
}

/* Sends a request and waits for its answer. Results as link_take_answer(). */
static int ask(int socket, const void *request, enum wire_type type, void *answer, size_t size,
               int *fd, int timeout_ms)
{
    int result = wire_send(socket, request, -1);

    if (result != 0)
        return result == -EPIPE || result == -ECONNRESET ? LENDIS_E_DOWN : result;
    return link_take_answer(socket, type, answer, size, fd, timeout_ms);
}

/* Takes and drops the answer that the broker still owes. Results: 0, it owes none; as
 * link_take_answer(). */
static int take_late_answer(struct attachment *attachment)
{
    struct wire_descriptor answer;
    int fd = -1, result;

    if (!attachment->unanswered)
        return 0;
    result = link_take_answer(attachment->socket, WIRE_DESCRIPTOR, &answer, sizeof answer, &fd, 0);
    link_close_fd(&fd);
    attachment->unanswered = result == LENDIS_E_TIMEOUT;
    return result;
}

int link_fetch(struct attachment *attachment, enum wire_what what, uint32_t index,
               uint64_t generation, int *fd)
{
    struct wire_fetch request = {.what = what, .index = index, .generation = generation};
    struct wire_descriptor answer;
    int result = take_late_answer(attachment);

    *fd = -1;
    if (result != 0)
        return result;
    wire_header(&request.header, WIRE_FETCH, sizeof request);
    result = ask(attachment->socket, &request, WIRE_DESCRIPTOR, &answer, sizeof answer, fd,
                 attachment->pool->attach_timeout_ms);
    attachment->unanswered = result == LENDIS_E_TIMEOUT;
    if (result != 0)
        return result;
    if (answer.result == 0 && answer.what == what && answer.index == index &&
        answer.generation == generation && *fd >= 0)
        return 0;
    link_close_fd(fd);
    return answer.result != 0 ? answer.result : -EPROTO;
}

void link_make_hello(struct wire_hello *hello, const struct lendis_pool *pool)
{
    *hello = (struct wire_hello){0};
    wire_header(&hello->header, WIRE_HELLO, sizeof *hello);
    strncpy(hello->pool, pool->pool_name, sizeof hello->pool - 1);
}

void link_goodbye(int socket)
{
    struct wire_goodbye goodbye;

    wire_header(&goodbye.header, WIRE_GOODBYE, sizeof goodbye);
    wire_send(socket, &goodbye, -1);
}

void link_take_back_hello(int socket)
{
    link_goodbye(socket);
    close(socket);
}

/*
 * A broker whose places for those without HELLO are all taken hangs up on one that is slow with it
 * (broker/workers/accept.c), and on a host that is overloaded all of them are: hundreds of workers
 * that start together are a crowd. One that comes to its end hangs up on everybody. So a HELLO that
 * has no answer is said again; the pause doubles, so that the crowd thins out: 0.6 s in all.
 */
#define HELLO_ATTEMPTS 8
#define HELLO_PAUSE_MS 5

static int open_once(struct lendis_pool *pool, const struct wire_hello *hello, int *socket,
                     struct wire_welcome *welcome)
{
    int made, result;

    welcome->result = LENDIS_E_AGAIN; /* no answer yet */
    result = link_connect(pool->socket_path, &made);
    if (result != 0)
        return result;
    /* A child that is forked meanwhile closes it by that. */
    pool->greeting = (struct greeting){.socket = made, .cookie = socket_cookie(made)};
    result =
        ask(made, hello, WIRE_WELCOME, welcome, sizeof *welcome, NULL, pool->attach_timeout_ms);
    if (result == 0)
        result = welcome->result;
    if (result == 0) {
        *socket = made;
        return 0;
    }
    pool->greeting.socket = -1;
    link_take_back_hello(made);
    return result;
}

int link_open(struct lendis_pool *pool, const struct attachment *inherited, int *socket,
              struct wire_welcome *welcome)
{
    int64_t deadline_ns = clock_deadline_ns(pool->attach_timeout_ms);
    int attempts = 0, pause_ms = HELLO_PAUSE_MS, result;
    struct wire_hello hello;

    link_make_hello(&hello, pool);
    if (inherited)
        hello.segment = inherited->segment.instance;
    for (;;) {
        result = open_once(pool, &hello, socket, welcome);
        /* It hung up on us, and is gone since. */
        if (attempts > 0 && (result == -ECONNREFUSED || result == -ENOENT))
            return LENDIS_E_DOWN;
        if (result != LENDIS_E_DOWN || welcome->result != LENDIS_E_AGAIN ||
            ++attempts == HELLO_ATTEMPTS ||
            clock_now_ns() + pause_ms * INT64_C(1000000) >= deadline_ns)
            return result;
        poll(NULL, 0, pause_ms);
        pause_ms *= 2;
    }
}

int link_ask_direct(const struct lendis_pool *pool, int timeout_ms, int *fd, int *token)
{
    struct wire_hello hello = {0};
    struct wire_descriptor answer;
    int result;

    result = link_connect(pool->socket_path, token);
    if (result != 0)
        return result;
    wire_header(&hello.header, WIRE_DIRECT, sizeof hello);
    strncpy(hello.pool, pool->pool_name, sizeof hello.pool - 1);
    *fd = -1;
    result = ask(*token, &hello, WIRE_DESCRIPTOR, &answer, sizeof answer, fd, timeout_ms);
    if (result == 0 && answer.result == 0 && answer.what == WIRE_PRIVATE && *fd >= 0)
        return 0;
    link_close_fd(token);
    if (result != 0)
        return result;
    link_close_fd(fd);
    return answer.result != 0 ? answer.result : -EPROTO;
}

void link_end_direct(int token)
{
    struct wire_header message;

    wire_header(&message, WIRE_RETURN, sizeof message);
    wire_send(token, &message, -1);
    close(token);
}
