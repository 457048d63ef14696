/* SPDX-License-Identifier: MIT */
/* The load generator's clients: see client.h. */
#include "broker/bench/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEY_DIGITS 3u
#define KEY_FORMAT "key:%s"

#define OPEN_LIMIT_MS 10000

static const struct {
    const char *name;
    enum client_mode mode;
} modes[] = {
    {"direct", CLIENT_DIRECT},
    {"lendis", CLIENT_LENDIS},
    {"exec", CLIENT_EXEC},
    {"lease", CLIENT_LEASE},
    {"acquire", CLIENT_ACQUIRE},
    {"transaction", CLIENT_TRANSACTION},
    {"direct-transaction", CLIENT_DIRECT_TRANSACTION},
};

int64_t client_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

bool client_mode_parse(const char *name, enum client_mode *mode)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, name) == 0) {
            *mode = modes[i].mode;
            return true;
        }
    return false;
}

const char *client_mode_name(enum client_mode mode)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (modes[i].mode == mode)
            return modes[i].name;
    return "?";
}

/* ---- connecting ---- */

/* One attempt; NULL: the URL is none of ours. */
static redisContext *connect_once(const char *url)
{
    char host[256];
    int port;

    if (strncmp(url, "unix://", 7) == 0) {
        snprintf(host, sizeof host, "%.*s", (int)strcspn(url + 7, "?"), url + 7);
        return redisConnectUnix(host);
    }
    /* NOLINTNEXTLINE(cert-err34-c): an address of a server that was started here */
    if (sscanf(url, "redis://%255[^:/]:%d", host, &port) == 2)
        return redisConnect(host, port);
    return NULL;
}

redisContext *client_connect(const char *url, int limit_ms, char *text, size_t text_size)
{
    int64_t until_ns = client_now_ns() + limit_ms * INT64_C(1000000);

    for (;;) {
        redisContext *context = connect_once(url);

        if (!context) {
            snprintf(text, text_size, "%s: not redis://HOST:PORT or unix:///PATH", url);
            return NULL;
        }
        if (context->err == 0)
            return context;
        /* A backlog that hundreds of workers fill at once drains in a moment. */
        snprintf(text, text_size, "%s: %s", url, context->errstr);
        redisFree(context);
        if (client_now_ns() >= until_ns)
            return NULL;
        pause_ms(5);
    }
}

struct lendis_pool *client_attach(const struct client_options *options, int limit_ms, char *text,
                                  size_t text_size)
{
    int64_t until_ns = client_now_ns() + limit_ms * INT64_C(1000000);

    for (;;) {
        struct lendis_pool *pool;
        int result = lendis_attach(options->socket_path, options->pool_name, NULL, &pool);

        if (result == 0)
            return pool;
        snprintf(text, text_size, "%s, pool %s: %s", options->socket_path, options->pool_name,
                 lendis_strerror(result));
        if ((result != -ENOENT && result != -ECONNREFUSED) || client_now_ns() >= until_ns)
            return NULL;
        pause_ms(5);
    }
}

/* ---- keys and values ---- */

static void key_digits(unsigned key, char digits[KEY_DIGITS + 1])
{
    digits[0] = (char)('0' + key / 100 % 10);
    digits[1] = (char)('0' + key / 10 % 10);
    digits[2] = (char)('0' + key % 10);
    digits[3] = '\0';
}

/* `digits` again and again. */
static void value_make(char *value, size_t size, const char *digits)
{
    size_t filled = KEY_DIGITS;

    memcpy(value, digits, KEY_DIGITS);
    while (filled < size) {
        size_t part = filled < size - filled ? filled : size - filled;

        memcpy(value + filled, value, part);
        filled += part;
    }
}

/* A value repeats itself from its fourth byte on, so no copy is needed to compare with. */
static bool value_is(const char *value, size_t size, const char *digits)
{
    return memcmp(value, digits, KEY_DIGITS) == 0 &&
           memcmp(value, value + KEY_DIGITS, size - KEY_DIGITS) == 0;
}

bool client_fill(redisContext *context, size_t value_size)
{
    char *value = malloc(value_size);
    bool filled = value != NULL;

    for (unsigned key = 0; filled && key < CLIENT_KEYS; key++) {
        char digits[KEY_DIGITS + 1];

        key_digits(key, digits);
        value_make(value, value_size, digits);
        filled = redisAppendCommand(context, "SET " KEY_FORMAT " %b", digits, value, value_size) ==
                 REDIS_OK;
    }
    for (unsigned key = 0; filled && key < CLIENT_KEYS; key++) {
        void *reply = NULL;

        filled = redisGetReply(context, &reply) == REDIS_OK;
        if (filled)
            freeReplyObject(reply);
    }
    free(value);
    return filled;
}

/* ---- running ---- */

static enum client_result failed(struct client *client, enum client_result result,
                                 const char *format, ...) __attribute__((format(printf, 3, 4)));

static enum client_result failed(struct client *client, enum client_result result,
                                 const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(client->text, sizeof client->text, format, arguments);
    va_end(arguments);
    return result;
}

/* Checks and frees `reply`. */
static enum client_result check(struct client *client, redisReply *reply, const char *digits,
                                bool set)
{
    size_t size = client->options->value_size;
    enum client_result result = CLIENT_OK;

    if (reply->type == REDIS_REPLY_ERROR)
        result = failed(client, CLIENT_ERROR, "Redis: %s", reply->str);
    else if (set ? reply->type != REDIS_REPLY_STATUS || strcmp(reply->str, "OK") != 0
                 : reply->type != REDIS_REPLY_STRING || reply->len != size ||
                       !value_is(reply->str, size, digits))
        result = failed(client, CLIENT_WRONG, "%s key:%s got type %d, %zu bytes: %.32s",
                        set ? "SET" : "GET", digits, reply->type, reply->len,
                        reply->str ? reply->str : "");
    freeReplyObject(reply);
    return result;
}

/* The command itself, on the lease or, without one, on the worker's own connection. */
static redisReply *send_command(const struct client *client, struct lendis_lease *lease,
                                const char *digits, bool set)
{
    const char *value = client->value;
    size_t size = client->options->value_size;

    if (lease)
        return set ? lendis_lease_command(lease, "SET " KEY_FORMAT " %b", digits, value, size)
                   : lendis_lease_command(lease, "GET " KEY_FORMAT, digits);
    return set ? tls_client_command(client->tls, client->context, "SET " KEY_FORMAT " %b", digits,
                                    value, size)
               : tls_client_command(client->tls, client->context, "GET " KEY_FORMAT, digits);
}

/* MULTI or EXEC. False: the reply was another than that type. *reply: the reply, if any. */
static bool send_word(const struct client *client, struct lendis_lease *lease, const char *word,
                      int type, redisReply **reply)
{
    *reply = lease ? lendis_lease_command(lease, word)
                   : tls_client_command(client->tls, client->context, "%s", word);
    return *reply && (*reply)->type == type;
}

/* MULTI, the command, EXEC, a round trip each; returns the reply to the command, or NULL. */
static redisReply *send_transaction(const struct client *client, struct lendis_lease *lease,
                                    const char *digits, bool set)
{
    redisReply *reply, *inner = NULL;
    bool good = send_word(client, lease, "MULTI", REDIS_REPLY_STATUS, &reply);

    freeReplyObject(reply);
    if (!good)
        return NULL;
    reply = send_command(client, lease, digits, set);
    good = reply != NULL;
    freeReplyObject(reply);
    if (!good)
        return NULL;
    if (send_word(client, lease, "EXEC", REDIS_REPLY_ARRAY, &reply) && reply->elements == 1) {
        inner = reply->element[0];
        reply->element[0] = NULL;
    }
    freeReplyObject(reply);
    return inner;
}

static redisReply *send_as_asked(const struct client *client, struct lendis_lease *lease,
                                 const char *digits, bool set)
{
    if (client_mode_is_transaction(client->options->mode))
        return send_transaction(client, lease, digits, set);
    return send_command(client, lease, digits, set);
}

static bool connect_own(struct client *client)
{
    const char *url = client->options->url;

    if (strncmp(url, "rediss://", 9) != 0)
        client->context = client_connect(url, OPEN_LIMIT_MS, client->text, sizeof client->text);
    else
        client->tls = tls_client_open(url, NULL, client->text, sizeof client->text);
    return client->context || client->tls;
}

static void reconnect(struct client *client)
{
    if (client->context) {
        redisReconnect(client->context);
        return;
    }
    tls_client_close(client->tls);
    client->tls = NULL;
    connect_own(client);
}

static redisReply *run_direct(struct client *client, const char *digits, bool set)
{
    redisReply *reply = NULL;

    if (client->context || client->tls)
        reply = send_as_asked(client, NULL, digits, set);
    if (!reply) {
        failed(client, CLIENT_ERROR, "hiredis: %s",
               client->context ? client->context->errstr : "the connection with TLS was lost");
        reconnect(client);
    }
    return reply;
}

static redisReply *run_lendis(struct client *client, const char *digits, bool set)
{
    redisReply *reply;
    const char *text;

    if (set)
        reply = lendis_command(client->pool, "SET " KEY_FORMAT " %b", digits, client->value,
                               client->options->value_size);
    else
        reply = lendis_command(client->pool, "GET " KEY_FORMAT, digits);
    if (!reply) {
        lendis_pool_error(client->pool, &text);
        failed(client, CLIENT_ERROR, "lendis_command: %s", text);
    }
    return reply;
}

static enum client_result run_exec(struct client *client, const char *digits, bool set)
{
    size_t size = client->options->value_size, reply_size;
    char *request, header[32];
    void *reply;
    bool right;
    int length, result;

    if (set)
        length = redisFormatCommand(&request, "SET " KEY_FORMAT " %b", digits, client->value, size);
    else
        length = redisFormatCommand(&request, "GET " KEY_FORMAT, digits);
    if (length < 0)
        return failed(client, CLIENT_ERROR, "no memory");
    result = lendis_exec(client->pool, request, (size_t)length, -1, &reply, &reply_size);
    redisFreeCommand(request);
    if (result != 0)
        return failed(client, CLIENT_ERROR, "lendis_exec: %s", lendis_strerror(result));
    length = snprintf(header, sizeof header, "$%zu\r\n", size);
    if (set)
        right = reply_size == 5 && memcmp(reply, "+OK\r\n", 5) == 0;
    else
        right = reply_size == (size_t)length + size + 2 &&
                memcmp(reply, header, (size_t)length) == 0 &&
                value_is((char *)reply + length, size, digits);
    if (!right)
        failed(client, CLIENT_WRONG, "%s key:%s got %zu bytes: %.*s", set ? "SET" : "GET", digits,
               reply_size, reply_size < 32 ? (int)reply_size : 32, (char *)reply);
    lendis_free(reply);
    return right ? CLIENT_OK : CLIENT_WRONG;
}

static void hold(unsigned us)
{
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    if (us)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static enum client_result run_lease(struct client *client, const char *digits, bool set)
{
    struct lendis_lease *lease;
    enum client_result checked;
    redisReply *reply;
    const char *text;
    int result;

    result = lendis_acquire(client->pool, -1, &lease);
    if (result != 0)
        return failed(client, CLIENT_ERROR, "lendis_acquire: %s", lendis_strerror(result));
    if (client->options->mode == CLIENT_ACQUIRE)
        client->measured_ns = client_now_ns();
    reply = send_as_asked(client, lease, digits, set);
    if (!reply)
        lendis_pool_error(client->pool, &text);
    hold(client->options->hold_us);
    result = lendis_release(lease);
    if (!reply)
        return failed(client, CLIENT_ERROR, "lendis_lease_command: %s", text);
    checked = check(client, reply, digits, set);
    if (checked == CLIENT_OK && result != 0)
        return failed(client, CLIENT_ERROR, "lendis_release: %s", lendis_strerror(result));
    return checked;
}

enum client_result client_run(struct client *client, unsigned key, bool set)
{
    char digits[KEY_DIGITS + 1];
    redisReply *reply = NULL;

    key_digits(key, digits);
    if (set)
        value_make(client->value, client->options->value_size, digits);
    switch (client->options->mode) {
    case CLIENT_DIRECT:
    case CLIENT_DIRECT_TRANSACTION:
        reply = run_direct(client, digits, set);
        break;
    case CLIENT_LENDIS:
        reply = run_lendis(client, digits, set);
        break;
    case CLIENT_EXEC:
        return run_exec(client, digits, set);
    case CLIENT_LEASE:
    case CLIENT_ACQUIRE:
    case CLIENT_TRANSACTION:
        return run_lease(client, digits, set);
    }
    return reply ? check(client, reply, digits, set) : CLIENT_ERROR;
}

enum client_result client_open(struct client *client, const struct client_options *options,
                               struct lendis_pool *pool)
{
    *client = (struct client){.options = options, .pool = pool};
    client->value = malloc(options->value_size);
    if (!client->value)
        return failed(client, CLIENT_ERROR, "no memory");
    if (!client_mode_is_lendis(options->mode) && !connect_own(client))
        return CLIENT_ERROR;
    /* The first command attaches; a broker or a proxy that has just started may still be opening
     * connections. */
    for (int64_t until_ns = client_now_ns() + OPEN_LIMIT_MS * INT64_C(1000000);;) {
        enum client_result result = client_run(client, 0, false);

        if (result != CLIENT_ERROR || client_now_ns() >= until_ns)
            return result;
        pause_ms(10);
    }
}

void client_close(struct client *client)
{
    if (client->context)
        redisFree(client->context);
    tls_client_close(client->tls);
    free(client->value);
    *client = (struct client){0};
}
