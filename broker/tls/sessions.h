/* SPDX-License-Identifier: MIT */
/*
 * Sessions to resume, a few of each pool, the newest first: a handshake that resumes one takes a
 * third of the time. They come when the server sends its tickets, which with TLS 1.3 is after the
 * handshake, in the relay's thread then; so there is a lock, which is held for a moment only.
 *
 * A ticket is used once while there are others: who watches the network does not see that two
 * connections are the same client's.
 */
#ifndef LENDIS_BROKER_TLS_SESSIONS_H
#define LENDIS_BROKER_TLS_SESSIONS_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>

#define SESSIONS_MAX 16u

struct sessions {
    pthread_mutex_t lock;
    uint32_t count;
    uint32_t epoch; /* raised when all are forgotten: what comes of an older one is not kept */
    SSL_SESSION *session[SESSIONS_MAX];
};

void sessions_init(struct sessions *sessions);
void sessions_destroy(struct sessions *sessions);

/* Keeps `session`, which is now its own, or frees it. */
void sessions_put(struct sessions *sessions, uint32_t epoch, SSL_SESSION *session);

/* One to resume, the caller's; NULL: there is none. */
SSL_SESSION *sessions_take(struct sessions *sessions);

/* None of them is to be resumed any more: whom to trust, or who we are, has changed. */
void sessions_forget(struct sessions *sessions);

#endif
