/* SPDX-License-Identifier: MIT */
/* One connection's reset: see reset.h. */
#include "broker/reset.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "broker/dialler.h"
#include "lendis/segment.h"

/* The replies: a few status lines, the token, and CLIENT INFO, which has some 350 bytes and names of
 * up to 64 and 63. */
#define REPLIES_SIZE  2048u
#define INFO_MAX      1500u
#define EXPECTED_MAX  8u
#define TOKEN_SIZE    32u /* in hexadecimal digits */
#define REQUEST_EXTRA 1024u

/* What the reply to each command that was sent must be. */
enum expected {
    EXPECT_RESET,
    EXPECT_OK,
    EXPECT_INFO,
    EXPECT_TOKEN,
    EXPECT_UNKNOWN /* the error that a command does not exist */
};

struct reset {
    int fd;
    bool probing; /* the two bytes are under way, the request is not sent yet */
    uint32_t db;
    char username[64];
    char client_name[80];
    char token[TOKEN_SIZE + 1];
    enum expected expected[EXPECTED_MAX];
    uint32_t count;  /* of what is expected */
    uint32_t passed; /* of these, that have come */
    char *request;
    size_t request_size, request_room;
    size_t got; /* bytes of replies */
    size_t at;  /* the first one that is not looked at yet */
    char replies[REPLIES_SIZE];
};

/* ---- the request ---- */

/* Appends a command of `count` words to the request, and what it must be answered. The room was
 * reckoned by reset_begin(). */
static void add(struct reset *reset, enum expected expected, int count, const char *const *words,
                const size_t *sizes)
{
    char *at = reset->request;
    size_t used = reset->request_size, room = reset->request_room;

    used += (size_t)snprintf(at + used, room - used, "*%d\r\n", count);
    for (int i = 0; i < count; i++) {
        size_t size = sizes ? sizes[i] : strlen(words[i]);

        used += (size_t)snprintf(at + used, room - used, "$%zu\r\n", size);
        memcpy(at + used, words[i], size);
        memcpy(at + used + size, "\r\n", 2);
        used += size + 2;
    }
    reset->request_size = used;
    reset->expected[reset->count++] = expected;
}

#define ADD(reset, expected, ...)                                                                  \
    add(reset, expected, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                   \
        (const char *[]){__VA_ARGS__}, NULL)

static void add_login(struct reset *reset, const struct reset_profile *profile)
{
    const char *words[] = {"AUTH", profile->username, profile->password};
    const size_t sizes[] = {4, strlen(reset->username), profile->password_size};
    const char *short_words[] = {"AUTH", profile->password};
    const size_t short_sizes[] = {4, profile->password_size};

    if (!profile->password)
        return;
    if (profile->username)
        add(reset, EXPECT_OK, 3, words, sizes);
    else
        add(reset, EXPECT_OK, 2, short_words, short_sizes);
}

static void make_request(struct reset *reset, enum reset_kind kind,
                         const struct reset_profile *profile, uint32_t left)
{
    bool whole = kind == RESET_WHOLE;
    char db[16];

    if (kind == RESET_PROVE)
        left = 0;
    snprintf(db, sizeof db, "%u", profile->db);
    if (whole) {
        ADD(reset, EXPECT_RESET, "RESET");
        add_login(reset, profile);
    } else {
        if (left & LEFT_MULTI)
            ADD(reset, EXPECT_OK, "DISCARD");
        if (left & LEFT_WATCH)
            ADD(reset, EXPECT_OK, "UNWATCH");
    }
    if (whole ? profile->db != 0 : (left & LEFT_DB) != 0)
        ADD(reset, EXPECT_OK, "SELECT", db);
    if (whole || (left & LEFT_NAME))
        ADD(reset, EXPECT_OK, "CLIENT", "SETNAME", profile->client_name);
    if (whole)
        ADD(reset, EXPECT_INFO, "CLIENT", "INFO");
    ADD(reset, EXPECT_TOKEN, "PING", reset->token);
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

/* Compares what has come with `text`. RESET_CLEAN: it is there, and passed. */
static enum reset_result take_text(struct reset *reset, const char *text, size_t size)
{
    size_t here = reset->got - reset->at;

    if (memcmp(reset->replies + reset->at, text, here < size ? here : size) != 0)
        return RESET_UNREAD;
    if (here < size)
        return RESET_WAITING;
    reset->at += size;
    return RESET_CLEAN;
}

/* The line that begins where we are, without its end. Results: its size; -1, it is not whole. */
static ssize_t line_size(const struct reset *reset)
{
    const char *from = reset->replies + reset->at;
    const char *end = memmem(from, reset->got - reset->at, "\r\n", 2);

    return end ? end - from : -1;
}

/* An error instead of the reply, which is there or begins here. */
static enum reset_result take_error(const struct reset *reset)
{
    static const char unknown[] = "-ERR unknown", denied[] = "-NOPERM";
    const char *line = reset->replies + reset->at;
    ssize_t size = line_size(reset);

    if (size < 0)
        return reset->got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    if (((size_t)size >= sizeof unknown - 1 &&
         strncasecmp(line, unknown, sizeof unknown - 1) == 0) ||
        ((size_t)size >= sizeof denied - 1 && memcmp(line, denied, sizeof denied - 1) == 0))
        return RESET_REFUSED;
    return RESET_FAILED;
}

static bool is_error(const struct reset *reset)
{
    return reset->at < reset->got && reset->replies[reset->at] == '-';
}

static enum reset_result take_unknown(struct reset *reset)
{
    static const char error[] = "-ERR unknown command";
    size_t here = reset->got - reset->at;
    ssize_t size = line_size(reset);

    if (memcmp(reset->replies + reset->at, error,
               here < sizeof error - 1 ? here : sizeof error - 1) != 0)
        return RESET_UNREAD;
    if (size < 0)
        return reset->got < REPLIES_SIZE ? RESET_WAITING : RESET_UNREAD;
    reset->at += (size_t)size + 2;
    return RESET_CLEAN;
}

/* ---- CLIENT INFO ---- */

/* The value of field `name` in `info`, " name=value" with a blank or a newline behind it; NULL: it
 * is not there. */
static const char *find_field(const char *info, const char *name, size_t *size)
{
    size_t length = strlen(name);

    for (const char *at = info; *at; at += strcspn(at, " \n"), at += *at != '\0')
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            *size = strcspn(at + length + 1, " \n");
            return at + length + 1;
        }
    return NULL;
}

/* `optional`: not in every version. */
static bool field_is(const char *info, const char *name, const char *expected, bool optional)
{
    size_t size;
    const char *value = find_field(info, name, &size);

    if (!value)
        return optional;
    return size == strlen(expected) && memcmp(value, expected, size) == 0;
}

/* All that CLIENT INFO shows of a session is as it is right after a dial. */
static bool info_is_clean(const struct reset *reset, const char *info)
{
    char db[16];

    snprintf(db, sizeof db, "%u", reset->db);
    return field_is(info, "db", db, false) && field_is(info, "name", reset->client_name, false) &&
           field_is(info, "user", reset->username, false) &&
           /* None, or none but that it is a Unix socket. */
           (field_is(info, "flags", "N", false) || field_is(info, "flags", "U", false)) &&
           field_is(info, "multi", "-1", false) && field_is(info, "sub", "0", false) &&
           field_is(info, "psub", "0", false) && field_is(info, "ssub", "0", true) &&
           field_is(info, "watch", "0", true) && field_is(info, "resp", "2", true) &&
           field_is(info, "redir", "-1", true);
}

static enum reset_result take_info(struct reset *reset)
{
    const char *line = reset->replies + reset->at;
    ssize_t head = line_size(reset);
    char info[INFO_MAX + 1];
    unsigned long size;
    char *end;

    if (reset->at < reset->got && *line != '$')
        return RESET_UNREAD;
    if (head < 0)
        return reset->got - reset->at < 16 ? RESET_WAITING : RESET_UNREAD;
    size = strtoul(line + 1, &end, 10);
    if (head < 2 || end != line + head || size > INFO_MAX)
        return RESET_UNREAD;
    if (reset->got - reset->at < (size_t)head + 2 + size + 2)
        return RESET_WAITING;
    memcpy(info, line + head + 2, size);
    info[size] = '\0';
    reset->at += (size_t)head + 2 + size;
    if (memcmp(reset->replies + reset->at, "\r\n", 2) != 0)
        return RESET_UNREAD;
    reset->at += 2;
    return info_is_clean(reset, info) ? RESET_CLEAN : RESET_FAILED;
}

/* ---- the course of it ---- */

static enum reset_result take_next(struct reset *reset)
{
    enum expected expected = reset->expected[reset->passed];
    char token[TOKEN_SIZE + 16];

    if (expected != EXPECT_UNKNOWN && is_error(reset)) {
        enum reset_result result = take_error(reset);

        /* Only of these two it is asked whether the server has them. */
        return result == RESET_REFUSED && expected != EXPECT_RESET && expected != EXPECT_INFO
                   ? RESET_FAILED
                   : result;
    }
    switch (expected) {
    case EXPECT_RESET:
        return take_text(reset, "+RESET\r\n", 8);
    case EXPECT_OK:
        return take_text(reset, "+OK\r\n", 5);
    case EXPECT_INFO:
        return take_info(reset);
    case EXPECT_TOKEN:
        snprintf(token, sizeof token, "$%u\r\n%s\r\n", TOKEN_SIZE, reset->token);
        return take_text(reset, token, strlen(token));
    case EXPECT_UNKNOWN:
        return take_unknown(reset);
    }
    return RESET_FAILED;
}

static enum reset_result take_all(struct reset *reset)
{
    while (reset->passed < reset->count) {
        enum reset_result result = take_next(reset);

        if (result != RESET_CLEAN)
            return result;
        reset->passed++;
        if (!reset->probing)
            continue;
        if (reset->at != reset->got)
            return RESET_UNREAD;
        reset->probing = false;
        return send_whole(reset, reset->request, reset->request_size);
    }
    return reset->at == reset->got ? RESET_CLEAN : RESET_UNREAD;
}

enum reset_result reset_go_on(struct reset *reset)
{
    ssize_t got;

    if (reset->got == REPLIES_SIZE)
        return RESET_UNREAD;
    do
        got = recv(reset->fd, reset->replies + reset->got, REPLIES_SIZE - reset->got, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? RESET_WAITING : RESET_LOST;
    if (got == 0)
        return RESET_LOST;
    reset->got += (size_t)got;
    return take_all(reset);
}

/* Nothing is there to be read. */
static enum reset_result look_at_socket(int fd)
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
    reset->db = profile->db;
    snprintf(reset->username, sizeof reset->username, "%s",
             profile->username ? profile->username : "default");
    snprintf(reset->client_name, sizeof reset->client_name, "%s", profile->client_name);
    reset->request_room = REQUEST_EXTRA + profile->password_size;
    reset->request = malloc(reset->request_room);
    if (!reset->request || !make_token(reset->token)) {
        reset_end(reset);
        return NULL;
    }
    if (left & LEFT_UNPROVEN)
        reset->expected[reset->count++] = EXPECT_UNKNOWN;
    reset->probing = (left & LEFT_UNPROVEN) != 0;
    make_request(reset, kind, profile, left);
    return reset;
}

bool reset_can_undo(uint32_t left)
{
    return (left & ~(uint32_t)(LEFT_MULTI | LEFT_WATCH | LEFT_DB | LEFT_NAME)) == 0;
}

enum reset_result reset_begin(int fd, enum reset_kind kind, const struct reset_profile *profile,
                              uint32_t left, struct reset **reset)
{
    bool handled = (left & (LEFT_UNSEEN | LEFT_UNPROVEN)) != 0;
    enum reset_result result = look_at_socket(fd);
    struct reset *made;

    if (result != RESET_WAITING)
        return result;
    if (handled && (dial_finish_socket(fd, profile->keepalive_ms) != 0 || dial_is_resized(fd)))
        return RESET_FAILED;
    made = make_reset(fd, kind, profile, left);
    if (!made)
        return RESET_FAILED;
    result = made->probing ? send_whole(made, "x\n", 2)
                           : send_whole(made, made->request, made->request_size);
    if (result != RESET_WAITING) {
        reset_end(made);
        return result;
    }
    *reset = made;
    return RESET_WAITING;
}

void reset_end(struct reset *reset)
{
    if (!reset)
        return;
    /* The password is in it. */
    if (reset->request)
        explicit_bzero(reset->request, reset->request_size);
    free(reset->request);
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
    case RESET_FAILED:
        return "it cannot be made as it was";
    case RESET_LOST:
        return "the connection ended";
    }
    return "";
}
