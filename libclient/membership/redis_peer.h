/* SPDX-License-Identifier: MIT */
/*
 * Where the connections of an attachment lead, and whether somebody listens there. It is noted from
 * the last descriptor that the broker passed. Asked is only when the broker is gone and nothing is
 * left to use: a connect(2) that is refused says that Redis is gone, too.
 *
 * What cannot be told is "somebody listens": the process is in another network than the connection
 * (containers share the broker's socket alone), or never saw the path of Redis' socket.
 */
#ifndef LENDIS_REDIS_PEER_H
#define LENDIS_REDIS_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct redis_peer {
    struct sockaddr_storage address;
    socklen_t size;   /* 0: not known */
    uint64_t network; /* SO_NETNS_COOKIE of the connection; of TCP */
};

/* Notes where `fd` leads. */
void redis_peer_note(struct redis_peer *peer, int fd);

/* Whether nobody listens there. Waits for some milliseconds at most. */
bool redis_peer_refuses(const struct redis_peer *peer);

#endif
