/* SPDX-License-Identifier: MIT */
/* Following a stream: see stream.h. */
#include "libclient/preload/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What ties the program to the connection. A name does not: it is kept here, and the broker takes
 * it off the connection. Nor does what a command of which nobody knows may have left. */
#define LEFT_TIES (LEFT_MULTI | LEFT_WATCH | LEFT_DB | LEFT_OTHER | LEFT_LASTING)

/* ---- what a command is ---- */

static void copy_verb(const struct request *request, char verb[16])
{
    size_t size = request->sizes[0] < 15 ? request->sizes[0] : 15;

    for (size_t i = 0; i < size; i++) {
        char byte = request->text[0][i];

        verb[i] = byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
    }
    verb[size] = '\0';
}

/* A name that Redis takes: characters from ! to ~. */
static void copy_name(const struct request *request, char name[STREAM_NAME_MAX + 1])
{
    uint32_t size = request->sizes[2];

    name[0] = '\0';
    if (request->words < 3 || size > STREAM_NAME_MAX)
        return;
    for (uint32_t i = 0; i < size; i++)
        if (request->text[2][i] < '!' || request->text[2][i] > '~')
            return;
    memcpy(name, request->text[2], size);
    name[size] = '\0';
}

/* It tells of its own connection, or means it among others: there must be one. */
static bool means_itself(const struct request *request)
{
    static const char *const names[] = {"ID", "INFO", "LIST", "KILL", "TRACKINGINFO", NULL};

    for (unsigned i = 0; names[i]; i++)
        if (request_word_is(request, 1, names[i]))
            return true;
    return false;
}

static void sight_client(const struct request *request, struct sighting *sighting)
{
    if (request_word_is(request, 1, "SETNAME")) {
        sighting->meaning = MEANS_NAME;
        if (request->arguments == 0)
            copy_name(request, sighting->name);
    } else if (request_word_is(request, 1, "GETNAME")) {
        sighting->meaning = MEANS_ASK_NAME;
    } else if (request_word_is(request, 1, "SETINFO")) {
        /* Not even RESET takes it back, and it says no more than who used the connection last. */
        sighting->command.flags = 0;
    } else if ((sighting->command.flags & COMMAND_SESSION) || means_itself(request)) {
        sighting->meaning = MEANS_LASTING;
    }
}

/* HELLO, HELLO 2: nothing changes, for a pool speaks RESP2. */
static void sight_hello(const struct request *request, struct sighting *sighting)
{
    sighting->meaning = MEANS_LASTING;
    if (request->arguments > 0 || (request->count > 1 && !request_word_is(request, 1, "2")))
        return;
    if (request->count <= 2) {
        sighting->command.flags = 0;
        sighting->meaning = MEANS_NOTHING;
    } else if (request->count == 5 && request_word_is(request, 2, "AUTH")) {
        sighting->meaning = MEANS_LOGIN;
    }
}

bool stream_sight(const struct request *request, stream_classifier *classifier, void *context,
                  struct sighting *sighting)
{
    char text[REQUEST_TEXT_SIZE];
    size_t size = request_text(request, text), at = 0;

    *sighting = (struct sighting){.number = -1};
    if (size == 0 || command_next(text, size, NULL, &at, &sighting->command) != 0)
        return false;
    if (classifier)
        classifier(context, text, size, &sighting->command);
    copy_verb(request, sighting->verb);
    if (request_word_is(request, 0, "CLIENT")) {
        sight_client(request, sighting);
    } else if (request_word_is(request, 0, "HELLO")) {
        sight_hello(request, sighting);
    } else if (request_word_is(request, 0, "AUTH")) {
        sighting->meaning = MEANS_LOGIN;
    } else if (request_word_is(request, 0, "RESET")) {
        sighting->meaning = MEANS_RESET;
    } else if (request_word_is(request, 0, "QUIT")) {
        sighting->meaning = MEANS_QUIT;
    } else if (sighting->command.kind == COMMAND_SELECT) {
        sighting->meaning = MEANS_SELECT;
        sighting->number = request->count == 2 ? request_number(request, 1) : -1;
    } else if (sighting->command.flags & (COMMAND_LEASE | COMMAND_LASTING)) {
        sighting->meaning = MEANS_LASTING;
    } else if ((sighting->command.flags & COMMAND_SESSION) &&
               !(sighting->command.flags & COMMAND_SUSPECT)) {
        sighting->meaning = MEANS_LASTING;
    }
    return true;
}

static bool matters(const struct sighting *sighting)
{
    return sighting->meaning != MEANS_NOTHING || sighting->command.kind != COMMAND_OTHER ||
           (sighting->command.flags & COMMAND_SESSION);
}

/* ---- what was sent ---- */

void stream_begin(struct stream *stream, uint32_t db)
{
    struct event *events = stream->events;
    unsigned room = stream->event_room;

    *stream = (struct stream){.db = db, .db_of_pool = db, .events = events, .event_room = room};
}

void stream_forget(struct stream *stream)
{
    free(stream->events);
    *stream = (struct stream){0};
}

static void note_reason(struct stream *stream, const struct sighting *sighting)
{
    memcpy(stream->reason, sighting->verb, sizeof stream->reason);
}

static void add_event(struct stream *stream, const struct sighting *sighting)
{
    if (stream->event_count == stream->event_room) {
        unsigned room = stream->event_room ? 2 * stream->event_room : 4;
        struct event *grown = realloc(stream->events, room * sizeof *grown);

        if (!grown) {
            stream->foreign = true; /* it is kept, and closed in the end */
            return;
        }
        stream->events = grown;
        stream->event_room = room;
    }
    stream->events[stream->event_count++] =
        (struct event){.sequence = stream->sent, .sighting = *sighting};
}

static void command_sent(struct stream *stream, stream_classifier *classifier, void *context)
{
    struct sighting sighting;

    stream->sent++;
    if (!stream_sight(&stream->request, classifier, context, &sighting)) {
        stream->foreign = true;
    } else if (sighting.command.flags & COMMAND_LEASE && sighting.meaning != MEANS_QUIT) {
        note_reason(stream, &sighting);
        stream->foreign = true; /* no reply, or many */
    } else if (matters(&sighting)) {
        add_event(stream, &sighting);
    }
    request_end(&stream->request);
}

void stream_sent(struct stream *stream, const char *data, size_t size,
                 stream_classifier *classifier, void *context)
{
    size_t used;

    while (size > 0 && !stream->foreign) {
        int result = request_feed(&stream->request, data, size, &used);

        if (result < 0) {
            stream->foreign = true;
            memcpy(stream->reason, "inline", sizeof "inline");
            return;
        }
        data += used;
        size -= used;
        if (result == 1)
            command_sent(stream, classifier, context);
    }
}

/* ---- what came back ---- */

static void selected(struct stream *stream, int number)
{
    if (number < 0)
        return; /* it cannot have been accepted */
    stream->db = (uint32_t)number;
    stream->db_changed = true;
    if (stream->db == stream->db_of_pool)
        stream->session.left &= ~(uint32_t)LEFT_DB;
    else
        stream->session.left |= LEFT_DB;
}

/* The reply to `event` is there. */
static void follow(struct stream *stream, const struct sighting *sighting, bool error)
{
    bool queued = (stream->session.left & LEFT_MULTI) && sighting->meaning != MEANS_NOTHING;

    if (queued && !error) {
        /* It takes effect with EXEC, whose reply is not inspected. */
        stream->session.left |= LEFT_OTHER;
        return;
    }
    switch (sighting->meaning) {
    case MEANS_NOTHING:
        session_follow(&stream->session, &sighting->command, error);
        break;
    case MEANS_SELECT:
        if (!error)
            selected(stream, sighting->number);
        break;
    case MEANS_NAME:
        if (error)
            break;
        stream->session.left |= LEFT_NAME;
        stream->name_changed = true;
        memcpy(stream->name, sighting->name, sizeof stream->name);
        break;
    case MEANS_LOGIN:
    case MEANS_LASTING:
        if (!error)
            stream->session.left |=
                LEFT_OTHER |
                (sighting->command.flags & COMMAND_LASTING ? (uint32_t)LEFT_LASTING : 0);
        break;
    case MEANS_RESET:
        if (error)
            break;
        /* Of the program's session nothing is left; of the pool's neither. */
        stream->session.left = LEFT_SUSPECT;
        stream->db = 0;
        stream->db_changed = stream->reset = true;
        break;
    default:
        break;
    }
    if (stream->session.left & LEFT_TIES)
        note_reason(stream, sighting);
}

static void reply_came(struct stream *stream)
{
    bool error = stream->scan.first == '-' || stream->scan.first == '!';

    stream->answered++;
    if (stream->event_count == 0 || stream->events[0].sequence != stream->answered)
        return;
    follow(stream, &stream->events[0].sighting, error);
    stream->event_count--;
    memmove(stream->events, stream->events + 1, stream->event_count * sizeof *stream->events);
}

bool stream_received(struct stream *stream, const char *data, size_t size)
{
    size_t used;

    while (size > 0 && !stream->foreign) {
        int result = resp_scan(&stream->scan, data, size, &used);

        if (result < 0 || (result == 1 && stream->answered == stream->sent)) {
            stream->foreign = true;
            return false;
        }
        data += used;
        size -= used;
        if (result == 1)
            reply_came(stream);
    }
    return true;
}

bool stream_is_between(const struct stream *stream)
{
    return !stream->foreign && stream->sent == stream->answered &&
           request_is_between(&stream->request) && resp_is_between(&stream->scan);
}

bool stream_owes(const struct stream *stream)
{
    uint64_t half = request_is_between(&stream->request) ? 0 : 1;

    return stream->foreign || stream->sent - stream->answered > half;
}

bool stream_is_clean(const struct stream *stream)
{
    return stream_is_between(stream) && !(stream->session.left & LEFT_TIES);
}
