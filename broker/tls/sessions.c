/* SPDX-License-Identifier: MIT */
/* Sessions to resume: see sessions.h. */
#include "broker/tls/sessions.h"

#include <string.h>

void sessions_init(struct sessions *sessions)
{
    memset(sessions, 0, sizeof *sessions);
    pthread_mutex_init(&sessions->lock, NULL);
}

void sessions_destroy(struct sessions *sessions)
{
    sessions_forget(sessions);
    pthread_mutex_destroy(&sessions->lock);
}

void sessions_put(struct sessions *sessions, uint32_t epoch, SSL_SESSION *session)
{
    SSL_SESSION *old = session;

    pthread_mutex_lock(&sessions->lock);
    if (epoch == sessions->epoch) {
        old = NULL;
        if (sessions->count == SESSIONS_MAX) {
            old = sessions->session[0];
            memmove(sessions->session, sessions->session + 1,
                    (SESSIONS_MAX - 1) * sizeof *sessions->session);
            sessions->count--;
        }
        sessions->session[sessions->count++] = session;
    }
    pthread_mutex_unlock(&sessions->lock);
    SSL_SESSION_free(old);
}

SSL_SESSION *sessions_take(struct sessions *sessions)
{
    SSL_SESSION *session = NULL;

    pthread_mutex_lock(&sessions->lock);
    while (!session && sessions->count > 0) {
        session = sessions->session[sessions->count - 1];
        if (!SSL_SESSION_is_resumable(session)) {
            SSL_SESSION_free(session);
            session = NULL;
            sessions->count--;
        } else if (sessions->count > 1) {
            sessions->count--;
        } else {
            SSL_SESSION_up_ref(session);
        }
    }
    pthread_mutex_unlock(&sessions->lock);
    return session;
}

void sessions_forget(struct sessions *sessions)
{
    pthread_mutex_lock(&sessions->lock);
    for (uint32_t i = 0; i < sessions->count; i++)
        SSL_SESSION_free(sessions->session[i]);
    sessions->count = 0;
    sessions->epoch++;
    pthread_mutex_unlock(&sessions->lock);
}
