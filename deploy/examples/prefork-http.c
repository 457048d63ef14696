/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server of the prefork kind, as Apache, PHP-FPM or gunicorn are: one master listens and
 * forks workers, and each worker serves one client connection at a time with blocking calls. Every
 * page costs three Redis commands: a visit counter, a cached fragment, and a note with an expiry.
 *
 *   prefork-http --direct redis://127.0.0.1:6379/0          a Redis connection per worker
 *   prefork-http --lendis demo --socket /run/lendis.sock    connections borrowed from pool "demo"
 *
 * The two differ in store_open() and store_ask() alone: that is what a program changes to use
 * lendis. The pool is attached once, in the master; the handle works in every forked worker.
 *
 * Stopping: SIGTERM, SIGINT or SIGHUP to the master. It shuts the listening socket down, which ends
 * every worker's accept(2), and passes SIGTERM on, whose handler ends the reading of the next
 * request. Requests that were begun are answered. Neither way leaves a gap between checking a
 * flag and falling asleep.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "deploy/examples/page.h"

#define REQUEST_SIZE_MAX   8192
#define BODY_SIZE_MAX      (FRAGMENT_SIZE_MAX + 128)
#define KEEP_ALIVE_SECONDS 15
#define STOP_SECONDS       2
#define WORKERS_MAX        4096

static struct {
    const char *direct; /* redis://host:port/db */
    const char *pool;
    const char *socket_path;
    unsigned workers;
    int port;
} options = {.workers = 200};

/* ---- Redis ---- */

struct store {
    struct lendis_pool *pool; /* set, or NULL for a connection of our own */
    redisContext *own;
};

/* Connects to redis://host:port/db. NULL: it failed, and stderr says why. */
static redisContext *connect_direct(const char *url)
{
    struct timeval limit = {.tv_sec = 5};
    redisContext *context;
    redisReply *reply;
    char host[256];
    int port, db = 0;

    if (sscanf(url, "redis://%255[^:/]:%d/%d", host, &port, &db) < 2) {
        fprintf(stderr, "not redis://host:port/db: %s\n", url);
        return NULL;
    }
    context = redisConnectWithTimeout(host, port, limit);
    if (!context || context->err) {
        fprintf(stderr, "%s: %s\n", url, context ? context->errstr : "no memory");
        redisFree(context);
        return NULL;
    }
    redisSetTimeout(context, limit);
    reply = redisCommand(context, "SELECT %d", db);
    if (!reply || reply->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "%s: SELECT: %s\n", url, reply ? reply->str : context->errstr);
        redisFree(context);
        context = NULL;
    }
    freeReplyObject(reply);
    return context;
}

/* In the master. Results: 0, or 1 and stderr says what failed. */
static int store_attach(struct store *store)
{
    int result;

    if (!options.pool)
        return 0;
    result = lendis_attach(options.socket_path, options.pool, NULL, &store->pool);
    if (result != 0)
        fprintf(stderr, "pool %s: %s\n", options.pool, lendis_strerror(result));
    return result != 0;
}

/* One command. NULL: it failed, and stderr says why. */
static redisReply *store_ask(struct store *store, int argc, const char **argv, const size_t *sizes)
{
    redisReply *reply;
    const char *text;

    if (store->pool) {
        reply = lendis_command_argv(store->pool, argc, argv, sizes);
        if (!reply && lendis_pool_error(store->pool, &text) != 0)
            fprintf(stderr, "%s: %s\n", argv[0], text);
        return reply;
    }
    if (!store->own)
        store->own = connect_direct(options.direct);
    if (!store->own)
        return NULL;
    reply = redisCommandArgv(store->own, argc, argv, sizes);
    if (!reply) {
        fprintf(stderr, "%s: %s\n", argv[0], store->own->errstr);
        redisFree(store->own);
        store->own = NULL;
    }
    return reply;
}

static void store_close(struct store *store)
{
    lendis_detach(store->pool);
    if (store->own)
        redisFree(store->own);
}

/* ---- pages ---- */

/* Asks with zero-terminated arguments. The reply, of this type; NULL when it failed or is of
 * another. */
static redisReply *ask(struct store *store, int type, int argc, const char **argv)
{
    redisReply *reply = store_ask(store, argc, argv, NULL);

    if (reply && reply->type != type) {
        if (reply->type == REDIS_REPLY_ERROR)
            fprintf(stderr, "%s: %s\n", argv[0], reply->str);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

static bool healthy(struct store *store)
{
    const char *ping[] = {"PING"};
    redisReply *reply = ask(store, REDIS_REPLY_STATUS, 1, ping);
    bool pong = reply && strcmp(reply->str, "PONG") == 0;

    freeReplyObject(reply);
    return pong;
}

static bool count_visit(struct store *store, unsigned page, long long *visits)
{
    char key[64];
    const char *incr[] = {"INCR", key};
    redisReply *reply;

    snprintf(key, sizeof key, "visits:%u", page);
    reply = ask(store, REDIS_REPLY_INTEGER, 2, incr);
    if (reply)
        *visits = reply->integer;
    freeReplyObject(reply);
    return reply != NULL;
}

static bool set_expiring(struct store *store, const char *key, const char *value)
{
    const char *set[] = {"SET", key, value, "EX", "60"};
    redisReply *reply = ask(store, REDIS_REPLY_STATUS, 5, set);

    freeReplyObject(reply);
    return reply != NULL;
}

/* The fragment from the cache, or rendered and cached. What comes from the cache must be this
 * page's. */
static bool get_fragment(struct store *store, unsigned page, char fragment[FRAGMENT_SIZE_MAX])
{
    char key[64];
    const char *get[] = {"GET", key};
    size_t size = page_render(page, fragment);
    redisReply *reply;
    bool right;

    snprintf(key, sizeof key, "fragment:%u", page);
    reply = store_ask(store, 2, get, NULL);
    if (!reply)
        return false;
    if (reply->type == REDIS_REPLY_NIL) {
        freeReplyObject(reply);
        return set_expiring(store, key, fragment);
    }
    right = reply->type == REDIS_REPLY_STRING && (size_t)reply->len == size &&
            memcmp(reply->str, fragment, size) == 0;
    if (!right)
        fprintf(stderr, "GET %s: a wrong reply: %.100s\n", key, reply->str ? reply->str : "");
    freeReplyObject(reply);
    return right;
}

/* Makes the body of a page. Results: its size; 0, Redis failed. */
static size_t make_page(struct store *store, unsigned page, char body[BODY_SIZE_MAX])
{
    char fragment[FRAGMENT_SIZE_MAX], key[64], value[64];
    long long visits;

    if (!count_visit(store, page, &visits) || !get_fragment(store, page, fragment))
        return 0;
    snprintf(key, sizeof key, "worker:%d", (int)getpid());
    snprintf(value, sizeof value, "page %u, visit %lld", page, visits);
    if (!set_expiring(store, key, value))
        return 0;
    return (size_t)snprintf(body, BODY_SIZE_MAX, "page %u\nvisits %lld\n%s", page, visits,
                            fragment);
}

/* ---- HTTP ---- */

static volatile sig_atomic_t stopping;
static volatile sig_atomic_t client = -1; /* the worker's connection */

/* A worker's SIGTERM: no further request is read. shutdown(2) is async-signal-safe. */
static void on_stop(int signal_number)
{
    int error = errno;

    (void)signal_number;
    stopping = 1;
    if (client >= 0)
        shutdown(client, SHUT_RD);
    errno = error;
}

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* Sends a response in one piece. False: the connection is over. */
static bool respond(int fd, const char *status, const char *body, size_t size, bool head, bool keep)
{
    char response[BODY_SIZE_MAX + 256];
    int used = snprintf(response, sizeof response,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                        "Connection: %s\r\n\r\n",
                        status, size, keep ? "keep-alive" : "close");

    if (!head) {
        memcpy(response + used, body, size);
        used += (int)size;
    }
    return send_all(fd, response, (size_t)used) && keep;
}

static bool respond_text(int fd, const char *status, const char *text, bool head, bool keep)
{
    return respond(fd, status, text, strlen(text), head, keep);
}

/* Answers one request, zero-terminated, headers included. False: close the connection. */
static bool answer(struct store *store, int fd, const char *request)
{
    char method[8], path[256], body[BODY_SIZE_MAX];
    int minor, after = 0;
    unsigned page;
    bool head, keep;
    size_t size;

    if (sscanf(request, "%7[A-Z] %255s HTTP/1.%d", method, path, &minor) != 3)
        return respond_text(fd, "400 Bad Request", "bad request\n", false, false);
    head = strcmp(method, "HEAD") == 0;
    if ((!head && strcmp(method, "GET") != 0) || strcasestr(request, "\r\nContent-Length:") ||
        strcasestr(request, "\r\nTransfer-Encoding:"))
        return respond_text(fd, "405 Method Not Allowed", "only GET and HEAD\n", false, false);
    keep = minor >= 1 && !strcasestr(request, "\r\nConnection: close") && !stopping;

    if (strcmp(path, "/health") == 0)
        return healthy(store)
                   ? respond_text(fd, "200 OK", "ok\n", head, keep)
                   : respond_text(fd, "503 Service Unavailable", "no Redis\n", head, keep);
    if (sscanf(path, "/page/%u%n", &page, &after) != 1 || path[after] || page >= PAGE_MAX)
        return respond_text(fd, "404 Not Found", "not found\n", head, keep);
    size = make_page(store, page, body);
    return size ? respond(fd, "200 OK", body, size, head, keep)
                : respond_text(fd, "502 Bad Gateway", "Redis failed\n", head, keep);
}

/* Serves a client connection to its end. */
static void serve(struct store *store, int fd)
{
    char request[REQUEST_SIZE_MAX + 1];
    size_t used = 0;

    for (;;) {
        char *end;
        ssize_t got;

        request[used] = '\0';
        end = strstr(request, "\r\n\r\n");
        if (end) {
            size_t size = (size_t)(end + 4 - request);
            char next = request[size];
            bool keep;

            request[size] = '\0';
            keep = answer(store, fd, request);
            request[size] = next;
            used -= size;
            memmove(request, request + size, used);
            if (!keep)
                return;
            continue;
        }
        if (used == REQUEST_SIZE_MAX) {
            respond_text(fd, "431 Request Header Fields Too Large", "too long\n", false, false);
            return;
        }
        got = recv(fd, request + used, REQUEST_SIZE_MAX - used, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return; /* the client is done, or idle for too long, or we are to stop */
        used += (size_t)got;
    }
}

/* ---- workers ---- */

static void work(struct store *store, int listener)
{
    struct timeval idle = {.tv_sec = KEEP_ALIVE_SECONDS};
    int yes = 1;

    if (!store->pool)
        store->own = connect_direct(options.direct);
    while (!stopping) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            break; /* the master has shut it down */
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
        client = fd;
        if (!stopping)
            serve(store, fd);
        client = -1;
        close(fd);
    }
    store_close(store);
}

static pid_t fork_worker(struct store *store, int listener, const sigset_t *signals)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    pid_t master = getpid(), pid = fork();

    if (pid < 0)
        perror("fork");
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master)
        _exit(1);
    sigaction(SIGTERM, &stop, NULL);
    signal(SIGINT, SIG_IGN); /* from the terminal: the master decides */
    signal(SIGHUP, SIG_IGN);
    sigprocmask(SIG_UNBLOCK, signals, NULL);
    work(store, listener);
    _exit(0);
}

/* Reaps workers that ended, and forks others in their places unless the server is stopping. */
static unsigned reap(pid_t *pids, struct store *store, int listener, const sigset_t *signals)
{
    unsigned alive = 0;
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        for (unsigned i = 0; i < options.workers; i++)
            if (pids[i] == pid)
                pids[i] = 0;
    for (unsigned i = 0; i < options.workers; i++) {
        if (pids[i] <= 0 && !stopping) {
            fprintf(stderr, "worker %u ended; starting another\n", i);
            pids[i] = fork_worker(store, listener, signals);
        }
        alive += pids[i] > 0;
    }
    return alive;
}

static void signal_all(const pid_t *pids, int signal_number)
{
    for (unsigned i = 0; i < options.workers; i++)
        if (pids[i] > 0)
            kill(pids[i], signal_number);
}

/* The master's life after the workers were forked: until it is told to stop and they are gone. */
static int supervise(pid_t *pids, struct store *store, int listener, const sigset_t *signals)
{
    struct timespec second = {.tv_sec = 1};
    time_t kill_at = 0;

    for (;;) {
        int got = sigtimedwait(signals, NULL, &second);

        if (got > 0 && got != SIGCHLD && !stopping) {
            stopping = 1;
            shutdown(listener, SHUT_RDWR);
            signal_all(pids, SIGTERM);
            kill_at = time(NULL) + STOP_SECONDS;
        }
        if (reap(pids, store, listener, signals) == 0)
            return 0;
        if (stopping && time(NULL) >= kill_at) {
            fprintf(stderr, "some workers do not stop; killing them\n");
            signal_all(pids, SIGKILL);
        }
    }
}

/* ---- start ---- */

/* Listens on loopback and says where. Results: the socket; -1, and stderr says why. */
static int listen_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        fprintf(stderr, "port %d: %s\n", options.port, strerror(errno));
        return -1;
    }
    printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static _Noreturn void usage(int status)
{
    fprintf(status ? stderr : stdout,
            "usage: prefork-http [--port N] [--workers N] --direct redis://HOST:PORT/DB\n"
            "       prefork-http [--port N] [--workers N] --lendis POOL [--socket PATH]\n"
            "Serves /page/0 to /page/%d and /health on 127.0.0.1; port 0, the default, is a free "
            "one.\n",
            PAGE_MAX - 1);
    exit(status);
}

static void take_options(int argc, char **argv)
{
    static const struct option known[] = {{"direct", required_argument, NULL, 'd'},
                                          {"lendis", required_argument, NULL, 'l'},
                                          {"socket", required_argument, NULL, 's'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'd':
            options.direct = optarg;
            break;
        case 'l':
            options.pool = optarg;
            break;
        case 's':
            options.socket_path = optarg;
            break;
        case 'w':
            options.workers = (unsigned)atoi(optarg);
            break;
        case 'p':
            options.port = atoi(optarg);
            break;
        default:
            usage(option != 'h');
        }
    }
    if (optind != argc || !options.direct == !options.pool || options.workers < 1 ||
        options.workers > WORKERS_MAX || options.port < 0 || options.port > 65535)
        usage(1);
}

int main(int argc, char **argv)
{
    static pid_t pids[WORKERS_MAX];
    struct store store = {0};
    sigset_t signals;
    int listener;

    take_options(argc, argv);
    if (store_attach(&store) != 0)
        return 1;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    listener = listen_loopback();
    if (listener < 0)
        return 1;
    for (unsigned i = 0; i < options.workers; i++)
        pids[i] = fork_worker(&store, listener, &signals);
    supervise(pids, &store, listener, &signals);
    store_close(&store);
    return 0;
}
