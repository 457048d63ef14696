/* SPDX-License-Identifier: MIT */
/*
 * What goes over a virtual connection: which requests were sent, which replies are owed, and what
 * keeps the session tied to one connection. It follows what was sent and what came back, and
 * decides on replies: a SELECT that failed changes nothing. It knows bytes alone, no sockets and no
 * leases.
 */
#ifndef LENDIS_PRELOAD_STREAM_H
#define LENDIS_PRELOAD_STREAM_H

#include "libclient/connection/resp.h"
#include "libclient/connection/session.h"
#include "libclient/preload/request.h"

#define STREAM_NAME_MAX 63

/* What a command means to who follows it, beyond struct command. */
enum meaning {
    MEANS_NOTHING = 0, /* but what struct command says */
    MEANS_SELECT,      /* SELECT of `number` */
    MEANS_NAME,        /* CLIENT SETNAME */
    MEANS_ASK_NAME,    /* CLIENT GETNAME */
    MEANS_LOGIN,       /* AUTH, or HELLO 2 with AUTH */
    MEANS_RESET,
    MEANS_QUIT,
    MEANS_LASTING, /* changes the session for as long as it lasts: RESP3, SUBSCRIBE, MONITOR ... */
};

/* One command, as far as its words are known. */
struct sighting {
    struct command command;
    enum meaning meaning;
    int number;                     /* of SELECT; -1: none */
    char name[STREAM_NAME_MAX + 1]; /* of SETNAME; "": none, or none that can be */
    char verb[16];                  /* what it is called, in capitals, for reports */
};

/* Of a command whose reply changes what is known. */
struct event {
    uint64_t sequence; /* of the command */
    struct sighting sighting;
};

struct stream {
    struct request request;
    struct resp_scan scan;
    uint64_t sent;     /* commands, whole ones and one that is under way */
    uint64_t answered; /* replies */
    struct session session;
    unsigned planned; /* commands of what is sent first, which was looked at already: plan.h */
    bool foreign;     /* it cannot be followed any more: inline commands, subscriptions */
    uint32_t db;      /* that the connection has, as far as replies say */
    uint32_t db_of_pool;
    bool db_changed; /* a SELECT was answered since the stream began */
    bool name_changed;
    char name[STREAM_NAME_MAX + 1];
    bool reset; /* a RESET was answered */
    struct event *events;
    unsigned event_count, event_room;
    char reason[16]; /* the command that ties it, for reports */
};

/* Tells what differs from the built-in table at this pool's server (attachment_classify()), or
 * NULL. */
typedef void stream_classifier(void *context, const char *request, size_t size,
                               struct command *command);

/* What `request` is, whole or not; false: not even its name is known yet. */
bool stream_sight(const struct request *request, stream_classifier *classifier, void *context,
                  struct sighting *sighting);

/* Begins anew, for a connection that has `db`; memory of events is kept. */
void stream_begin(struct stream *stream, uint32_t db);
void stream_forget(struct stream *stream);

/* `size` bytes were sent. */
void stream_sent(struct stream *stream, const char *data, size_t size,
                 stream_classifier *classifier, void *context);

/* All that was planned was sent: stream_sent() for commands that leave nothing behind. */
static inline void stream_sent_planned(struct stream *stream)
{
    stream->sent += stream->planned;
    stream->planned = 0;
}

/* `size` bytes were received. False: they are no replies to what was sent. */
bool stream_received(struct stream *stream, const char *data, size_t size);

/* Nothing is owed, no command is half sent, and nothing is left behind that the program counts on:
 * the connection can be given back. */
bool stream_is_clean(const struct stream *stream);

/* A reply is owed to a command that was sent whole, or it is not known. */
bool stream_owes(const struct stream *stream);

/* No reply is owed and nothing is half sent or half received. */
bool stream_is_between(const struct stream *stream);

#endif
