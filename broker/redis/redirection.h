/* SPDX-License-Identifier: MIT */
/*
 * Finding out that a holder has connected a socket elsewhere. Whoever has a copy of a TCP socket's
 * descriptor can end its connection and make another one (connect(2), AF_UNSPEC), and every other
 * copy goes with it: the next holder then reads what a server of that one's own says. Nothing keeps
 * a holder from it, and it can happen at any moment; so this is no protection (that is
 * connection_may_carry_secret()), but it is seen when the broker has to do with the connection
 * anyway: when it comes back for a reset, is checked, ends, or is fetched by another worker. A Unix
 * socket cannot be connected anew (unix(7)).
 *
 * The local end shows it as well as the other one: it changes even when the same server is called
 * again.
 */
#ifndef LENDIS_BROKER_REDIRECTION_H
#define LENDIS_BROKER_REDIRECTION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An address; size 0: none of TCP. */
struct socket_end {
    uint32_t size;
    uint8_t bytes[sizeof(struct sockaddr_in6)];
};

struct socket_ends {
    struct socket_end local, peer;
};

/* To whom a descriptor went: so many times, and to whom last. */
struct socket_holders {
    uint32_t count;
    uint32_t pid; /* 0: in another PID namespace */
    uint32_t uid;
};

/* What `fd`, which was just connected, is connected to. */
void socket_ends_note(struct socket_ends *ends, int fd);

/* It is not what it was. Two system calls: 2.5 us where a fetch takes 50. */
bool socket_ends_differ(const struct socket_ends *ends, int fd);

/* Who may have done it, in words for the log. */
void socket_holders_text(const struct socket_holders *holders, char *text, size_t size);

#endif
