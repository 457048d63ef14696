/* SPDX-License-Identifier: MIT */
/* The socket to the broker, and what is said over it (lendis/wire.h): each question has a limit,
 * and what is late is dropped. */
#ifndef LENDIS_BROKER_LINK_H
#define LENDIS_BROKER_LINK_H

#include <unistd.h>
#include "lendis/wire.h"
#include "libclient/pool.h"

static inline void link_close_fd(int *fd)
{
    int number = *fd;

    /* First: a child forked between the two takes the number for no one's, not another's for
     * ours. */
    *(volatile int *)fd = -1;
    if (number >= 0)
        close(number);
}

/* Another number for the socket, as the proof that inherit_attachment() needs: one that it never
 * had. */
int link_renumber(int *socket);

/* Results: 0 and *fd; as of broker_socket_connect(). */
int link_connect(const char *path, int *fd);

/* Waits for the answer of `type`, at most timeout_ms. Results: 0; LENDIS_E_DOWN; LENDIS_E_TIMEOUT;
 * LENDIS_E_ABI; -errno. */
int link_take_answer(int socket, enum wire_type type, void *answer, size_t size, int *fd,
                     int timeout_ms);

/*
 * One descriptor from the broker. Results: 0 and *fd is the caller's; as link_take_answer(), or
 * what the broker answered. After LENDIS_E_TIMEOUT the answer may still come: until then nothing
 * else is asked, and this returns LENDIS_E_TIMEOUT at once. Caller holds the lock.
 */
int link_fetch(struct attachment *attachment, enum wire_what what, uint32_t index,
               uint64_t generation, int *fd);

/* HELLO of a process that has nothing of the broker's yet. */
void link_make_hello(struct wire_hello *hello, const struct lendis_pool *pool);

/* The worker at the other end of `socket` is no more: no call uses its place. */
void link_goodbye(int socket);

/* Closes the socket of a HELLO whose place is not used: its answer may be on its way. */
void link_take_back_hello(int socket);

/*
 * Connects to the broker and says HELLO; `inherited` may be NULL, else it is the attachment of a
 * parent. Says it again, a few times, when the broker hangs up without an answer. Results: 0 and
 * *socket is the caller's; of connect(2); as link_take_answer(), or what the broker answered.
 */
int link_open(struct lendis_pool *pool, const struct attachment *inherited, int *socket,
              struct wire_welcome *welcome);

/*
 * Asks for a connection of this process alone, on a socket of its own (WIRE_DIRECT). Results: 0,
 * *fd is the caller's, and so is that socket, *token: when it is closed, the broker shuts the
 * connection down; LENDIS_E_DOWN; LENDIS_E_BUSY, as many are out as there may be;
 * LENDIS_E_DISABLED, there is none to be had; -ESTALE, the pool lends; as lendis_attach().
 */
int link_ask_direct(const struct lendis_pool *pool, int timeout_ms, int *fd, int *token);

/* Closes the token of a connection that is closed. */
void link_end_direct(int token);

#endif
