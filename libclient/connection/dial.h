/* SPDX-License-Identifier: MIT */
/*
 * A connection to Redis that the library opens by itself, for when there is no broker to do it:
 * connect, log in, SELECT, a name. What comes out is a socket as the broker makes them.
 */
#ifndef LENDIS_DIAL_H
#define LENDIS_DIAL_H

#include <stdint.h>
#include "libclient/shared/redis_url.h"

/* Where and as whom; text that the caller owns. */
struct dial_address {
    struct redis_url url;
    char *text;          /* the URL, for messages */
    char *username;      /* NULL: none */
    char *password_file; /* NULL: no login; read anew for each connection */
};

/* Results: 0, dial_address_free() must follow; -EINVAL, no such address, or what is in the password
 * file is no password; -ENOMEM. */
int dial_address_parse(const char *url, const char *username, const char *password_file,
                       struct dial_address *address);
void dial_address_free(struct dial_address *address);

/*
 * Results: 0 and *fd is the caller's; LENDIS_E_DOWN, Redis cannot be reached or does not let us in;
 * -EACCES, -ENOENT and the like: the password file cannot be read; -EMFILE; -ENOMEM. Names are
 * looked up with getaddrinfo(3), which has limits of its own.
 */
int dial(const struct dial_address *address, int64_t deadline_ns, int *fd);

/* Makes `fd`, a connection for this process alone, as socket_io.h wants it. */
void dial_prepare(int fd);

#endif
