/* SPDX-License-Identifier: MIT */
/* TLS connections of workers' own: see tls_client.h. */
#include "broker/testbed/tls_client.h"

#include <dlfcn.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_NAME "libssl.so.3"

/* X(function), without its prefix SSL_. */
#define OPENSSL_FUNCTIONS(X)                                                                       \
    X(CTX_new)                                                                                     \
    X(CTX_free)                                                                                    \
    X(CTX_load_verify_file)                                                                        \
    X(CTX_set_default_verify_paths)                                                                \
    X(CTX_set_verify)                                                                              \
    X(new)                                                                                         \
    X(free)                                                                                        \
    X(set_fd)                                                                                      \
    X(connect)                                                                                     \
    X(read)                                                                                        \
    X(write)

static struct {
    const SSL_METHOD *(*method)(void);
#define MEMBER(name) __typeof__(&SSL_##name) name; /* NOLINT(bugprone-macro-parentheses) */
    OPENSSL_FUNCTIONS(MEMBER)
#undef MEMBER
} ssl;

struct tls_client {
    redisContext *socket; /* connected by hiredis; only its descriptor is used */
    redisReader *reader;
    SSL *ssl;
};

static bool find_all(void *library)
{
    ssl.method = (const SSL_METHOD *(*)(void))dlsym(library, "TLS_client_method");
#define FIND(name)                                                                                 \
    ssl.name = (__typeof__(ssl.name))dlsym(library, "SSL_" #name);                                 \
    if (!ssl.name)                                                                                 \
        return false;
    OPENSSL_FUNCTIONS(FIND)
#undef FIND
    return ssl.method != NULL;
}

const char *tls_client_load(void)
{
    static void *library;

    if (library)
        return NULL;
    library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
    if (library && find_all(library))
        return NULL;
    library = NULL;
    return FILE_NAME " is not installed (Debian: libssl3)";
}

/* ---- connecting ---- */

/* One for all connections of the process; for as long as it lives. */
static SSL_CTX *context_of_process(const char *ca_file)
{
    static SSL_CTX *context;

    if (context)
        return context;
    context = ssl.CTX_new(ssl.method());
    if (!context)
        return NULL;
    ssl.CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if ((ca_file ? ssl.CTX_load_verify_file(context, ca_file)
                 : ssl.CTX_set_default_verify_paths(context)) == 1)
        return context;
    ssl.CTX_free(context);
    return context = NULL;
}

static bool encrypt(struct tls_client *client, SSL_CTX *context)
{
    client->ssl = context ? ssl.new(context) : NULL;
    return client->ssl && ssl.set_fd(client->ssl, client->socket->fd) == 1 &&
           ssl.connect(client->ssl) == 1;
}

struct tls_client *tls_client_open(const char *url, const char *ca_file, char *text, size_t size)
{
    struct tls_client *client = calloc(1, sizeof *client);
    const char *missing = tls_client_load();
    char host[256];
    int port;

    /* NOLINTNEXTLINE(cert-err34-c): an address of a server that was started here */
    if (client && !missing && sscanf(url, "rediss://%255[^:/]:%d", host, &port) == 2) {
        client->reader = redisReaderCreate();
        client->socket = redisConnect(host, port);
        if (client->reader && client->socket && !client->socket->err &&
            encrypt(client, context_of_process(ca_file)))
            return client;
    }
    snprintf(text, size, "%s: %s", url, missing ? missing : "no connection with TLS can be had");
    tls_client_close(client);
    return NULL;
}

void tls_client_close(struct tls_client *client)
{
    if (!client)
        return;
    if (client->ssl)
        ssl.free(client->ssl);
    if (client->socket)
        redisFree(client->socket);
    if (client->reader)
        redisReaderFree(client->reader);
    free(client);
}

/* ---- commands ---- */

static redisReply *receive(struct tls_client *client)
{
    char data[16384];
    void *reply = NULL;

    while (!reply) {
        int got = ssl.read(client->ssl, data, sizeof data);

        if (got <= 0 || redisReaderFeed(client->reader, data, (size_t)got) != REDIS_OK ||
            redisReaderGetReply(client->reader, &reply) != REDIS_OK)
            return NULL;
    }
    return reply;
}

static redisReply *command(struct tls_client *client, const char *format, va_list arguments)
{
    char *request;
    int size = redisvFormatCommand(&request, format, arguments);
    redisReply *reply = NULL;

    if (size < 0)
        return NULL;
    if (ssl.write(client->ssl, request, size) == size)
        reply = receive(client);
    redisFreeCommand(request);
    return reply;
}

redisReply *tls_client_command(struct tls_client *client, redisContext *plain, const char *format,
                               ...)
{
    redisReply *reply;
    va_list arguments;

    va_start(arguments, format);
    reply = client ? command(client, format, arguments) : redisvCommand(plain, format, arguments);
    va_end(arguments);
    return reply;
}
