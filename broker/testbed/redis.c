/* SPDX-License-Identifier: MIT */
/* A real redis-server in the private directory. It persists nothing and listens on loopback at
 * most.
 */
#include "broker/testbed/certificates.h"
#include "broker/testbed/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_LIMIT_MS 20000
#define STOP_LIMIT_MS  20000
#define ARGUMENTS_MAX  48

static void place(struct redis_server *server)
{
    static unsigned number;

    number++;
    scratch_path(server->socket_path, "redis%u.sock", number);
    scratch_path(server->log_path, "redis%u.log", number);
    snprintf(server->unix_url, sizeof server->unix_url, "unix://%s?db=0", server->socket_path);
    server->port_fd = server->tls_port_fd = -1;
    if (server->tcp) {
        server->port_fd = reserve_port(&server->port);
        snprintf(server->tcp_url, sizeof server->tcp_url, "redis://127.0.0.1:%d/0", server->port);
    }
}

static void place_tls(struct redis_server *server)
{
    if (!server->tls && testbed_tls_mode())
        server->tls = certificate_of_testbed();
    if (!server->tls)
        return;
    server->tls_port_fd = reserve_port(&server->tls_port);
    snprintf(server->tls_url, sizeof server->tls_url, "rediss://127.0.0.1:%d/0", server->tls_port);
    if (!testbed_tls_mode())
        return;
    snprintf(server->unix_url, sizeof server->unix_url, "%s", server->tls_url);
    snprintf(server->tcp_url, sizeof server->tcp_url, "%s", server->tls_url);
}

/* One attempt to connect, log in and PING. True: it answered. */
static bool answers(const struct redis_server *server)
{
    redisContext *context;
    redisReply *reply = NULL;
    bool pong;

    context = redisConnectUnixWithTimeout(server->socket_path, (struct timeval){.tv_sec = 1});
    if (context && context->err == 0) {
        redisSetTimeout(context, (struct timeval){.tv_sec = 1});
        if (server->password)
            freeReplyObject(redisCommand(context, "AUTH %s", server->password));
        reply = redisCommand(context, "PING");
    }
    pong = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply)
        freeReplyObject(reply);
    if (context)
        redisFree(context);
    return pong;
}

static size_t add_tls(const struct redis_server *server, const char *port, const char **argv)
{
    const char *const added[] = {
        "--tls-port",         port,
        "--tls-cert-file",    server->tls->file,
        "--tls-key-file",     server->tls->key_file,
        "--tls-ca-cert-file", server->tls->file,
        "--tls-auth-clients", "no",
    };

    memcpy(argv, added, sizeof added);
    return sizeof added / sizeof *added;
}

static void launch(struct redis_server *server)
{
    const char *program = getenv("REDIS_SERVER");
    char port[16], tls_port[16], maxclients[16];
    const char *argv[ARGUMENTS_MAX] = {
        program && *program ? program : "redis-server",
        "--daemonize",
        "no",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        scratch_directory(),
        "--bind",
        "127.0.0.1",
        "--port",
        port,
        "--unixsocket",
        server->socket_path,
        "--unixsocketperm",
        "777",
    };
    size_t count = 0;

    snprintf(port, sizeof port, "%d", server->port);
    snprintf(tls_port, sizeof tls_port, "%d", server->tls_port);
    snprintf(maxclients, sizeof maxclients, "%u", server->maxclients);
    while (argv[count])
        count++;
    if (server->tls)
        count += add_tls(server, tls_port, argv + count);
    if (server->password) {
        argv[count++] = "--requirepass";
        argv[count++] = server->password;
    }
    if (server->maxclients) {
        argv[count++] = "--maxclients";
        argv[count++] = maxclients;
    }
    for (size_t i = 0; server->arguments && server->arguments[i]; i++) {
        if (count + 1 == ARGUMENTS_MAX)
            give_up("too many arguments for redis-server");
        argv[count++] = server->arguments[i];
    }
    server->pid = program_start(argv, server->log_path, 0);
}

void redis_start(struct redis_server *server)
{
    bool ready;

    if (server->socket_path[0] == '\0') {
        place(server);
        place_tls(server);
    }
    launch(server);
    ready = eventually(answers(server) || program_ended(server->pid), START_LIMIT_MS);
    if (!ready || program_ended(server->pid))
        give_up("redis-server does not start");
}

void redis_stop(struct redis_server *server)
{
    if (server->pid == 0)
        return;
    kill(server->pid, SIGTERM);
    kill(server->pid, SIGCONT);
    if (program_wait(server->pid, STOP_LIMIT_MS) == -1)
        give_up("redis-server does not stop");
    server->pid = 0;
}

void redis_kill(struct redis_server *server)
{
    if (server->pid == 0)
        return;
    program_kill(server->pid);
    server->pid = 0;
}

void redis_restart(struct redis_server *server)
{
    redis_kill(server);
    redis_start(server);
}

void redis_pause(struct redis_server *server)
{
    kill(server->pid, SIGSTOP);
    /* The signal is sent, not obeyed: wait until the process shows as stopped. */
    if (waitpid(server->pid, NULL, WUNTRACED) != server->pid)
        give_up("waitpid: %s", strerror(errno));
}

void redis_continue(struct redis_server *server)
{
    kill(server->pid, SIGCONT);
}

redisContext *redis_open(const struct redis_server *server)
{
    redisContext *context;
    redisReply *reply;

    context = redisConnectUnixWithTimeout(server->socket_path, (struct timeval){.tv_sec = 5});
    if (!context || context->err)
        give_up("%s: %s", server->socket_path, context ? context->errstr : "no memory");
    redisSetTimeout(context, (struct timeval){.tv_sec = 5});
    if (!server->password)
        return context;
    reply = redisCommand(context, "AUTH %s", server->password);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        give_up("AUTH: %s", reply ? reply->str : context->errstr);
    freeReplyObject(reply);
    return context;
}

redisReply *redis_do(const struct redis_server *server, const char *format, ...)
{
    redisContext *context = redis_open(server);
    redisReply *reply;
    va_list arguments;

    va_start(arguments, format);
    reply = redisvCommand(context, format, arguments);
    va_end(arguments);
    if (!reply)
        give_up("%s: %s", format, context->errstr);
    redisFree(context);
    return reply;
}

long long redis_info(const struct redis_server *server, const char *field)
{
    redisReply *reply = redis_do(server, "INFO ALL");
    char line[80];
    const char *at;
    long long value;

    if (reply->type != REDIS_REPLY_STRING)
        give_up("INFO: %s", reply->str);
    snprintf(line, sizeof line, "\n%s:", field);
    at = strstr(reply->str, line);
    if (!at)
        give_up("INFO has no %s", field);
    value = strtoll(at + strlen(line), NULL, 10);
    freeReplyObject(reply);
    return strcmp(field, "connected_clients") == 0 ? value - 1 : value;
}
