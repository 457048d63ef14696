/* SPDX-License-Identifier: MIT */
/* One connection's reset: see session_reset.h. */
#include "broker/redis/session_reset.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "broker/redis/dialler.h"
#include "broker/redis/replies.h"
#include "broker/redis/session_info.h"
#include "lendis/segment.h"
#include "libclient/shared/request.h"
#include "libclient/shared/server_error.h"

#define INFO_MAX     1500u
#define EXPECTED_MAX 12u
#define TOKEN_SIZE   32u /* in hexadecimal digits */
/* The longest round has nine commands of 50 bytes, one of them with a name. */
#define REQUEST_SIZE 1280u
/* One that asks, one that ends what was asked in, one that undoes. */
#define ROUNDS_MAX 3u

/* What the reply to each command that was sent must be. */
enum expected {
    EXPECT_RESET,
    EXPECT_OK,
    EXPECT_LINE,      /* OK or an error: what follows shows whether it matters */
    EXPECT_UNWATCHED, /* likewise, and an error is noted */
    EXPECT_FIELDSETS, /* a number, or an error, which is noted */
    EXPECT_UNSUBSCRIBED,
    EXPECT_INFO,
    EXPECT_TOKEN,
    EXPECT_PONG,
    EXPECT_UNKNOWN, /* the error that a command does not exist */
    EXPECT_NAMED    /* likewise, and the token is its name */
};

/* In what the questions found the session. */
enum mode { MODE_UNKNOWN, MODE_PLAIN, MODE_QUEUEING, MODE_SUBSCRIBED };

struct reset {
    int fd;
    enum reset_kind kind;
    enum reset_proof proof;
    uint32_t left; /* enum left */
    bool probing;  /* the two bytes are under way */
    bool ask_fieldsets, fieldsets_unknown;
    enum mode mode; /* of RESET_NAMED */
    struct session_expected session;
    uint32_t different; /* enum session_difference: what the last CLIENT INFO showed */
    uint32_t rounds;    /* so far */
    char username[64], client_name[80], token[TOKEN_SIZE + 1];
    enum expected expected[EXPECTED_MAX];
    uint32_t count;  /* of what is expected */
    uint32_t passed; /* of these, that have come */
    size_t request_size;
    char request[REQUEST_SIZE];
    struct replies replies;
};

/* ---- the request ---- */

/* Appends a command of `count` words to the request, and what it must be answered. */
static void add(struct reset *reset, enum expected expected, size_t count, const char *const *words)
{
    size_t end = reset->request_size + REQUEST_FRAME(count);

    for (size_t i = 0; i < count; i++)
        end += strlen(words[i]);
    assert(end <= REQUEST_SIZE && reset->count < EXPECTED_MAX);
    request_add(reset->request, &reset->request_size, count, words, NULL);
    reset->expected[reset->count++] = expected;
}

#define ADD(reset, expected, ...)                                                                  \
    add(reset, expected, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                   \
        (const char *[]){__VA_ARGS__})

static void add_select(struct reset *reset)
{
    char db[16];

    snprintf(db, sizeof db, "%u", reset->session.db);
    ADD(reset, EXPECT_OK, "SELECT", db);
}

static void add_name(struct reset *reset)
{
    ADD(reset, EXPECT_OK, "CLIENT", "SETNAME", reset->client_name);
}

static void add_token(struct reset *reset)
{
    switch (reset->proof) {
    case RESET_BY_PING:
        ADD(reset, EXPECT_TOKEN, "PING", reset->token);
        break;
    case RESET_BY_ERROR:
        ADD(reset, EXPECT_NAMED, reset->token);
        break;
    case RESET_BY_PONG:
        ADD(reset, EXPECT_PONG, "PING");
        break;
    }
}

static void add_proof(struct reset *reset)
{
    ADD(reset, EXPECT_INFO, "CLIENT", "INFO");
    add_token(reset);
}

/* What lendis itself saw, and nothing else was sent. */
static void add_seen(struct reset *reset)
{
    uint32_t left = reset->left;

    if (left & LEFT_MULTI)
        ADD(reset, EXPECT_OK, "DISCARD");
    if (left & LEFT_WATCH)
        ADD(reset, EXPECT_OK, "UNWATCH");
    if (left & LEFT_DB)
        add_select(reset);
    if (left & LEFT_NAME)
        add_name(reset);
}

/* What the session is like. What is not shown is undone on the way: none of it is an error where
 * there is nothing to undo. */
static void add_questions(struct reset *reset)
{
    ADD(reset, EXPECT_LINE, "CLIENT", "REPLY", "ON");
    if (reset->ask_fieldsets)
        ADD(reset, EXPECT_FIELDSETS, "HIMPORT", "DISCARDALL");
    ADD(reset, EXPECT_UNWATCHED, "UNWATCH");
    add_proof(reset);
}

static void add_undoing(struct reset *reset, uint32_t different)
{
    if (different & SESSION_TRACKING)
        ADD(reset, EXPECT_OK, "CLIENT", "TRACKING", "OFF");
    if (different & SESSION_NO_EVICT)
        ADD(reset, EXPECT_OK, "CLIENT", "NO-EVICT", "OFF");
    if (different & SESSION_NO_TOUCH)
        ADD(reset, EXPECT_OK, "CLIENT", "NO-TOUCH", "OFF");
    if (different & SESSION_READONLY)
        ADD(reset, EXPECT_OK, "READWRITE");
    if (different & SESSION_DB)
        add_select(reset);
    if (different & SESSION_NAME)
        add_name(reset);
    add_proof(reset);
}

static void make_request(struct reset *reset)
{
    switch (reset->kind) {
    case RESET_WHOLE:
        ADD(reset, EXPECT_RESET, "RESET");
        if (reset->session.db != 0)
            add_select(reset);
        if (reset->client_name[0])
            add_name(reset);
        add_proof(reset);
        break;
    case RESET_NAMED:
        if (reset_can_undo(reset->left)) {
            reset->mode = MODE_PLAIN;
            add_seen(reset);
            add_proof(reset);
        } else {
            add_questions(reset);
        }
        break;
    case RESET_UNDO:
        add_seen(reset);
        add_token(reset);
        break;
    case RESET_PROVE:
        add_token(reset);
        break;
    }
}

/* Sends all at once: a socket that does not take it is not one at rest. */
static enum reset_result send_whole(const struct reset *reset, const char *data, size_t size)
{
    ssize_t sent;

    do
        sent = send(reset->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)size)
        return RESET_WAITING;
    return sent < 0 && errno != EAGAIN ? RESET_LOST : RESET_FAILED;
}

/* ---- the replies ---- */

/* An error instead of the reply, which is there or begins here. */
static enum reset_result take_error(const struct reset *reset)
{
    static const char unknown[] = "-ERR unknown", denied[] = "-NOPERM";
    const char *line = reset->replies.bytes + reset->replies.at;
    ssize_t size = replies_line(&reset->replies);

    if (size < 0)
        return reset->replies.got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    if (((size_t)size >= sizeof unknown - 1 &&
         strncasecmp(line, unknown, sizeof unknown - 1) == 0) ||
        ((size_t)size >= sizeof denied - 1 && memcmp(line, denied, sizeof denied - 1) == 0))
        return RESET_REFUSED;
    return RESET_FAILED;
}

/* All that has come is one error line in the place of the last reply, by which the server says that
 * it answers. */
static bool is_alive(const struct reset *reset)
{
    const char *line = reset->replies.bytes + reset->replies.at;
    ssize_t size = replies_line(&reset->replies);

    return reset->passed + 1 == reset->count &&
           (reset->expected[reset->passed] == EXPECT_TOKEN ||
            reset->expected[reset->passed] == EXPECT_PONG) &&
           reset->replies.at + (size_t)size + 2 == reset->replies.got &&
           (server_error_flags(server_error_classify(line, (size_t)size)) & ERROR_ALIVE);
}

/* `name`: of the command that there is not, or NULL. */
static enum reset_result take_unknown(struct reset *reset, const char *name)
{
    static const char error[] = "-ERR unknown command";
    size_t here = reset->replies.got - reset->replies.at;
    ssize_t size = replies_line(&reset->replies);

    if (memcmp(reset->replies.bytes + reset->replies.at, error,
               here < sizeof error - 1 ? here : sizeof error - 1) != 0)
        return RESET_UNREAD;
    if (size < 0)
        return reset->replies.got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    if (name && !memmem(reset->replies.bytes + reset->replies.at, (size_t)size, name, strlen(name)))
        return RESET_UNREAD;
    reset->replies.at += (size_t)size + 2;
    return RESET_CLEAN;
}

static enum reset_result take_info(struct reset *reset)
{
    char info[INFO_MAX + 1];
    enum reset_result result = replies_take_bulk(&reset->replies, info, sizeof info);

    if (result != RESET_CLEAN)
        return result;
    reset->different = session_info_compare(info, &reset->session);
    return reset->different & SESSION_OTHER ? RESET_FAILED : RESET_CLEAN;
}

static enum reset_result take_tolerated(struct reset *reset, enum expected expected)
{
    static const char unknown[] = "-ERR unknown command";
    const char *line = reset->replies.bytes + reset->replies.at;
    bool no_command = reset->replies.got - reset->replies.at >= sizeof unknown - 1 &&
                      memcmp(line, unknown, sizeof unknown - 1) == 0;
    enum reset_result result;

    if (!replies_have_error(&reset->replies))
        return expected == EXPECT_FIELDSETS ? replies_take_line(&reset->replies, ':')
                                            : replies_take_text(&reset->replies, "+OK\r\n", 5);
    result = replies_take_line(&reset->replies, '-');
    if (result == RESET_CLEAN && expected == EXPECT_UNWATCHED)
        reset->session.watch_unproven = true;
    if (result == RESET_CLEAN && expected == EXPECT_FIELDSETS)
        reset->fieldsets_unknown = no_command;
    return result;
}

/* ---- the course of it ---- */

/* What the first answer to the questions says of the session. */
static enum reset_result find_mode(struct reset *reset)
{
    static const char queued[] = "+QUEUED", subscribed[] = "-ERR Can't execute";
    const char *line = reset->replies.bytes + reset->replies.at;
    size_t size = replies_line(&reset->replies) < 0 ? 0 : (size_t)replies_line(&reset->replies);

    if (size == 0)
        return reset->replies.got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    if (size == sizeof queued - 1 && memcmp(line, queued, size) == 0)
        reset->mode = MODE_QUEUEING;
    else if (size >= sizeof subscribed - 1 && memcmp(line, subscribed, sizeof subscribed - 1) == 0)
        reset->mode = MODE_SUBSCRIBED;
    else
        reset->mode = MODE_PLAIN;
    return RESET_CLEAN;
}

/* An answer to one of the questions, none of which was answered. */
static enum reset_result take_unanswered(struct reset *reset, enum expected expected)
{
    char pong[TOKEN_SIZE + 32];

    if (reset->mode == MODE_QUEUEING)
        return replies_have_error(&reset->replies) && expected == EXPECT_FIELDSETS
                   ? replies_take_line(&reset->replies, '-')
                   : replies_take_text(&reset->replies, "+QUEUED\r\n", 9);
    if (expected != EXPECT_TOKEN)
        return replies_take_line(&reset->replies, '-');
    snprintf(pong, sizeof pong, "*2\r\n$4\r\npong\r\n$%u\r\n%s\r\n", TOKEN_SIZE, reset->token);
    return replies_take_text(&reset->replies, pong, strlen(pong));
}

/* In the order in which they are sent. */
static const char *const unsubscribed_heads[] = {"*3\r\n$11\r\nunsubscribe\r\n",
                                                 "*3\r\n$12\r\npunsubscribe\r\n",
                                                 "*3\r\n$12\r\nsunsubscribe\r\n"};

static enum reset_result take_plain(struct reset *reset, enum expected expected)
{
    char token[TOKEN_SIZE + 16];

    switch (expected) {
    case EXPECT_RESET:
        return replies_take_text(&reset->replies, "+RESET\r\n", 8);
    case EXPECT_OK:
        return replies_take_text(&reset->replies, "+OK\r\n", 5);
    case EXPECT_LINE:
    case EXPECT_UNWATCHED:
    case EXPECT_FIELDSETS:
        return take_tolerated(reset, expected);
    case EXPECT_UNSUBSCRIBED:
        return replies_take_unsubscribed(&reset->replies, unsubscribed_heads[reset->passed]);
    case EXPECT_INFO:
        return take_info(reset);
    case EXPECT_TOKEN:
        snprintf(token, sizeof token, "$%u\r\n%s\r\n", TOKEN_SIZE, reset->token);
        return replies_take_text(&reset->replies, token, strlen(token));
    case EXPECT_PONG:
        return replies_take_text(&reset->replies, "+PONG\r\n", 7);
    case EXPECT_UNKNOWN:
        return take_unknown(reset, NULL);
    case EXPECT_NAMED:
        return take_unknown(reset, reset->token);
    }
    return RESET_FAILED;
}

static bool may_be_error(enum expected expected)
{
    return expected == EXPECT_UNKNOWN || expected == EXPECT_NAMED || expected == EXPECT_LINE ||
           expected == EXPECT_UNWATCHED || expected == EXPECT_FIELDSETS ||
           expected == EXPECT_UNSUBSCRIBED;
}

static enum reset_result take_next(struct reset *reset)
{
    enum expected expected = reset->expected[reset->passed];

    if (reset->kind == RESET_NAMED && !reset->probing && reset->mode == MODE_UNKNOWN) {
        enum reset_result result = find_mode(reset);

        if (result != RESET_CLEAN)
            return result;
    }
    if (!reset->probing && (reset->mode == MODE_QUEUEING || reset->mode == MODE_SUBSCRIBED) &&
        reset->rounds == 1)
        return take_unanswered(reset, expected);
    if (!may_be_error(expected) && replies_have_error(&reset->replies)) {
        enum reset_result result = take_error(reset);

        /* RESET or CLIENT INFO has proven that nothing was left unread. */
        if (result == RESET_FAILED && is_alive(reset)) {
            reset->replies.at = reset->replies.got;
            return reset->expected[0] == EXPECT_RESET ||
                           (reset->passed > 0 && reset->expected[reset->passed - 1] == EXPECT_INFO)
                       ? RESET_CLEAN
                       : RESET_ALIVE;
        }

        /* Only of these two it is asked whether the server has them. */
        return result == RESET_REFUSED && expected != EXPECT_RESET && expected != EXPECT_INFO
                   ? RESET_FAILED
                   : result;
    }
    return take_plain(reset, expected);
}

static void begin_round(struct reset *reset)
{
    reset->count = reset->passed = 0;
    reset->request_size = 0;
    reset->replies.got = reset->replies.at = 0;
}

/* Sends what was made, of which nothing is answered yet. */
static enum reset_result send_round(struct reset *reset)
{
    reset->rounds++;
    return send_whole(reset, reset->request, reset->request_size);
}

static enum reset_result send_first_round(struct reset *reset)
{
    begin_round(reset);
    make_request(reset);
    return send_round(reset);
}

/* Not even RESET ends SCRIPT DEBUG, which is refused where replies are still on their way. */
static enum reset_result end_debugging(struct reset *reset)
{
    if (reset->kind > RESET_NAMED || !(reset->left & (LEFT_UNSEEN | LEFT_UNPROVEN)))
        return RESET_CLEAN;
    reset->left = 0;
    begin_round(reset);
    ADD(reset, EXPECT_LINE, "SCRIPT", "DEBUG", "NO");
    add_token(reset);
    return send_round(reset);
}

/* All that was expected has come, and nothing else. RESET_CLEAN: that was all. */
static enum reset_result next_round(struct reset *reset)
{
    uint32_t different = reset->different;
    enum mode mode = reset->mode;

    if (reset->probing) {
        reset->probing = false;
        return send_first_round(reset);
    }
    if (mode != MODE_QUEUEING && mode != MODE_SUBSCRIBED && different == 0)
        return end_debugging(reset);
    if (reset->rounds == ROUNDS_MAX)
        return RESET_FAILED;
    begin_round(reset);
    reset->different = 0;
    reset->mode = MODE_PLAIN;
    if (mode == MODE_QUEUEING) {
        ADD(reset, EXPECT_OK, "DISCARD");
        add_questions(reset);
    } else if (mode == MODE_SUBSCRIBED) {
        ADD(reset, EXPECT_UNSUBSCRIBED, "UNSUBSCRIBE");
        ADD(reset, EXPECT_UNSUBSCRIBED, "PUNSUBSCRIBE");
        ADD(reset, EXPECT_UNSUBSCRIBED, "SUNSUBSCRIBE");
        add_questions(reset);
    } else {
        add_undoing(reset, different);
    }
    return send_round(reset);
}

static enum reset_result take_all(struct reset *reset)
{
    while (reset->passed < reset->count) {
        enum reset_result result = take_next(reset);

        if (result != RESET_CLEAN)
            return result;
        reset->passed++;
    }
    if (reset->replies.at != reset->replies.got)
        return RESET_UNREAD;
    return next_round(reset);
}

enum reset_result reset_go_on(struct reset *reset)
{
    ssize_t got;

    if (reset->replies.got == REPLIES_SIZE)
        return RESET_UNREAD;
    do
        got = recv(reset->fd, reset->replies.bytes + reset->replies.got,
                   REPLIES_SIZE - reset->replies.got, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? RESET_WAITING : RESET_LOST;
    if (got == 0)
        return RESET_LOST;
    reset->replies.got += (size_t)got;
    return take_all(reset);
}

/* Nothing is there to be read. */
static enum reset_result inspect_socket(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (got > 0)
        return RESET_UNREAD;
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? RESET_WAITING : RESET_LOST;
}

static bool make_token(char token[TOKEN_SIZE + 1])
{
    unsigned char random[TOKEN_SIZE / 2];

    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return false;
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(token + 2 * i, 3, "%02x", random[i]);
    return true;
}

static struct reset *make_reset(int fd, enum reset_kind kind, const struct reset_profile *profile,
                                uint32_t left)
{
    struct reset *reset = calloc(1, sizeof *reset);

    if (!reset)
        return NULL;
    reset->fd = fd;
    reset->kind = kind;
    reset->proof = profile->proof;
    reset->left = kind == RESET_PROVE ? left & LEFT_UNPROVEN : left;
    reset->probing = (left & LEFT_UNPROVEN) != 0;
    reset->ask_fieldsets = profile->fieldsets;
    snprintf(reset->username, sizeof reset->username, "%s",
             profile->username ? profile->username : "default");
    snprintf(reset->client_name, sizeof reset->client_name, "%s", profile->client_name);
    reset->session = (struct session_expected){
        .db = profile->db, .username = reset->username, .client_name = reset->client_name};
    if (!make_token(reset->token)) {
        reset_end(reset);
        return NULL;
    }
    return reset;
}

static enum reset_result send_probe(struct reset *reset)
{
    reset->expected[reset->count++] = EXPECT_UNKNOWN;
    return send_whole(reset, "x\n", 2);
}

bool reset_can_undo(uint32_t left)
{
    return (left & ~(uint32_t)(LEFT_MULTI | LEFT_WATCH | LEFT_DB | LEFT_NAME)) == 0;
}

enum reset_result reset_begin(int fd, enum reset_kind kind, const struct reset_profile *profile,
                              uint32_t left, struct reset **reset)
{
    bool handled = (left & (LEFT_UNSEEN | LEFT_UNPROVEN)) != 0;
    enum reset_result result = inspect_socket(fd);
    struct reset *made;

    if (result != RESET_WAITING)
        return result;
    if (handled && (dial_finish_socket(fd, profile->keepalive_ms) != 0 || dial_is_resized(fd)))
        return RESET_FAILED;
    made = make_reset(fd, kind, profile, left);
    if (!made)
        return RESET_FAILED;
    result = made->probing ? send_probe(made) : send_first_round(made);
    if (result != RESET_WAITING) {
        reset_end(made);
        return result;
    }
    *reset = made;
    return RESET_WAITING;
}

bool reset_lacks_fieldsets(const struct reset *reset)
{
    return reset->fieldsets_unknown;
}

void reset_end(struct reset *reset)
{
    free(reset);
}

const char *reset_text(enum reset_result result)
{
    switch (result) {
    case RESET_CLEAN:
        return "it is clean";
    case RESET_WAITING:
        return "the server does not answer";
    case RESET_REFUSED:
        return "the server has no RESET or no CLIENT INFO, or the user may not use it";
    case RESET_UNREAD:
        return "a reply was left unread, or half a command";
    case RESET_ALIVE:
        return "the server answers with an error about itself";
    case RESET_FAILED:
        return "it cannot be made as it was";
    case RESET_LOST:
        return "the connection ended";
    }
    return "";
}
