/* SPDX-License-Identifier: MIT */
/* Addresses of pools: see map.h. */
#include "libclient/preload/map.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include "lendis.h"
#include "lendis/catalog.h"
#include "lendis/wire.h"
#include "libclient/clock.h"
#include "libclient/preload/child.h"
#include "libclient/preload/own.h"
#include "libclient/preload/settings.h"
#include "libclient/shared/broker_socket.h"
#include "libclient/shared/served.h"

/* A broker answers within some 50 us, and on a host that is overloaded within this. */
#define ASK_MS 1000
/* How old the map may be when somebody connects; and after the broker was not there. */
#define FRESH_NS INT64_C(5000000000)
#define RETRY_NS INT64_C(500000000)
/* A handle of a pool tries so long to attach: it is part of somebody's connect(2). */
#define ATTACH_MS 1000

struct address {
    struct in6_addr ip; /* IPv4 as ::ffff:A.B.C.D */
    in_port_t port;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": by ip and port */
};

struct handle {
    struct handle *next;
    char name[CATALOG_NAME_SIZE];
    struct lendis_pool *pool;
};

struct served_db {
    struct served_db *next;
    uint32_t db;
    bool written; /* under `serves` */
    struct handle *handle;
};

struct route {
    struct route *next;
    struct address address;
    struct served_db *dbs;
};

/* Under mine->map_lock; what is published is never changed and never freed. */
static struct handle *handles;
static char *described; /* what the broker said that `routes` was made of */
static _Atomic(struct route *) routes;
static _Atomic int64_t next_look_ns;
/* This thread is asking: what it connects to meanwhile is not looked up. */
static _Thread_local bool busy __attribute__((tls_model("initial-exec")));

const char *map_socket_path(void)
{
    if (!settings.socket_path[0])
        settings_read(); /* the hooks of other constructors run before ours */
    return settings.socket_path;
}

/* ---- addresses ---- */

static bool address_of(const struct sockaddr *from, socklen_t size, struct address *to)
{
    *to = (struct address){0};
    if (from->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;

        to->ip.s6_addr[10] = to->ip.s6_addr[11] = 0xff;
        memcpy(&to->ip.s6_addr[12], &in->sin_addr, 4);
        to->port = in->sin_port;
        return true;
    }
    if (from->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)from;

        to->ip = in->sin6_addr;
        to->port = in->sin6_port;
        return true;
    }
    if (from->sa_family == AF_UNIX && size > offsetof(struct sockaddr_un, sun_path)) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)from;

        size -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
        memcpy(to->path, un->sun_path, size < sizeof to->path ? size : sizeof to->path - 1);
        return to->path[0] != '\0';
    }
    return false;
}

static bool same_address(const struct address *a, const struct address *b)
{
    return a->port == b->port && memcmp(&a->ip, &b->ip, sizeof a->ip) == 0 &&
           strcmp(a->path, b->path) == 0;
}

/* ---- building ---- */

static struct handle *handle_of(const char *name)
{
    struct handle *each;

    for (each = handles; each; each = each->next)
        if (strcmp(each->name, name) == 0)
            return each;
    each = calloc(1, sizeof *each);
    if (!each)
        return NULL;
    snprintf(each->name, sizeof each->name, "%s", name);
    each->next = handles;
    handles = each;
    return each;
}

/* One that is written wins over one that is not, else the first one. */
static void add(struct route **list, const struct address *address, uint32_t db, bool written,
                struct handle *handle)
{
    struct served_db *entry;
    struct route *route;

    for (route = *list; route && !same_address(&route->address, address);)
        route = route->next;
    if (!route) {
        route = calloc(1, sizeof *route);
        if (!route)
            return;
        route->address = *address;
        route->next = *list;
        *list = route;
    }
    for (entry = route->dbs; entry; entry = entry->next)
        if (entry->db == db) {
            if (written && !entry->written)
                entry->handle = handle;
            entry->written = entry->written || written;
            return;
        }
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return;
    *entry = (struct served_db){route->dbs, db, written, handle};
    route->dbs = entry;
}

static void add_host(struct route **list, const struct redis_url *url, uint32_t db, bool written,
                     struct handle *handle)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    struct address address;

    if (getaddrinfo(url->host, NULL, &hints, &found) != 0)
        return;
    for (const struct addrinfo *each = found; each; each = each->ai_next)
        if (address_of(each->ai_addr, each->ai_addrlen, &address)) {
            address.port = htons(url->port);
            add(list, &address, db, written, handle);
        }
    freeaddrinfo(found);
}

static void add_served(struct route **list, const char *text, uint32_t db, bool written,
                       struct handle *handle)
{
    char why[REDIS_URL_WHY_SIZE];
    struct redis_url url;

    while (served_next(&text, &url, why) == 1) {
        if (url.path) {
            struct address address = {0};

            snprintf(address.path, sizeof address.path, "%s", url.path);
            add(list, &address, db, written, handle);
        } else {
            add_host(list, &url, db, written, handle);
        }
        redis_url_free(&url);
    }
}

/* Its own address; the database in it is the pool's. */
static void add_own(struct route **list, const char *text, uint32_t db, struct handle *handle)
{
    char plain[REDIS_URL_MAX + 1];
    size_t size = strcspn(text, "?"), host = 0;

    if (strncmp(text, "redis://", 8) == 0) {
        host = 8 + strcspn(text + 8, "/");
        size = host;
    }
    snprintf(plain, sizeof plain, "%.*s", (int)size, text);
    add_served(list, plain, db, false, handle);
}

static struct route *build(char *text)
{
    struct route *list = NULL;
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *name = strsep(&line, "\t"), *db = strsep(&line, "\t"), *own = strsep(&line, "\t");
        struct handle *handle = handle_of(name);
        uint32_t number = (uint32_t)strtoul(db, NULL, 10);

        if (!handle)
            continue;
        if (*line)
            add_served(&list, line, number, true, handle);
        else if (*own)
            add_own(&list, own, number, handle);
    }
    return list;
}

/* ---- asking ---- */

/* A line for each pool: name, database, its own address, what it serves. */
static char *describe(const struct catalog *catalog)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct catalog_pool *pool = malloc(sizeof *pool);

    for (uint32_t i = 0; out && pool && i < catalog->pool_max; i++) {
        if (catalog_read_pool(catalog, i, pool) == -ENOENT ||
            strcmp(pool->serves, SERVED_NOTHING) == 0)
            continue;
        fprintf(out, "%.*s\t%u\t%.*s\t%.*s\n", CATALOG_NAME_SIZE - 1, pool->name, pool->db,
                pool->primary[0] ? 0 : (int)sizeof pool->address - 1, pool->address,
                (int)sizeof pool->serves - 1, pool->serves);
    }
    free(pool);
    if (out && fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    return text;
}

/* Results: 0 and the catalog, to be unmapped; -errno; LENDIS_E_*. */
static int fetch(struct catalog *catalog)
{
    struct wire_header question;
    struct wire_descriptor answer = {0};
    int socket = broker_socket_connect(map_socket_path()), fd = -1, result;

    if (socket < 0)
        return socket;
    wire_header(&question, WIRE_ADDRESSES, sizeof question);
    result = wire_send(socket, &question, -1);
    if (result == 0)
        result = wire_receive(socket, &answer, sizeof answer, &fd, ASK_MS);
    own_close(socket);
    if (result >= 0)
        result = result == 0                                                        ? LENDIS_E_DOWN
                 : wire_is(&answer, (size_t)result, WIRE_DESCRIPTOR, sizeof answer) ? answer.result
                                                                                    : LENDIS_E_ABI;
    if (result == 0)
        result = fd < 0 ? -EPROTO : catalog_map(fd, catalog);
    if (fd >= 0)
        own_close(fd);
    return result;
}

static int scan(void)
{
    struct catalog catalog;
    char *text, *copy;
    int result = fetch(&catalog);

    if (result != 0)
        return result;
    text = describe(&catalog);
    catalog_unmap(&catalog);
    if (!text)
        return -ENOMEM;
    if (described && strcmp(text, described) == 0) {
        free(text);
        return 0;
    }
    copy = strdup(text);
    if (copy)
        atomic_store_explicit(&routes, build(copy), memory_order_release);
    free(copy);
    free(described);
    described = text;
    return 0;
}

/* The handle of a pool, made by the first who wants it. Under the lock. */
static void open_handles(void)
{
    const struct lendis_options options = {
        .size = sizeof options, .flags = LENDIS_LAZY, .attach_timeout_ms = ATTACH_MS};

    for (struct handle *each = handles; each; each = each->next)
        if (!each->pool && lendis_attach(map_socket_path(), each->name, &options, &each->pool) != 0)
            each->pool = NULL;
}

static void refresh(void)
{
    int free_state = 0, result, before = errno;

    if (!atomic_compare_exchange_strong(&mine->map_lock, &free_state, 1))
        return; /* another thread is at it */
    busy = true;
    result = scan();
    if (result == 0)
        open_handles();
    busy = false;
    atomic_store_explicit(&next_look_ns, clock_coarse_ns() + (result == 0 ? FRESH_NS : RETRY_NS),
                          memory_order_relaxed);
    atomic_store(&mine->map_lock, 0);
    errno = before;
}

const struct route *map_find(const struct sockaddr *address, socklen_t size)
{
    const struct route *each;
    struct address wanted;

    if (busy || !address_of(address, size, &wanted) || !mine_prepare())
        return NULL;
    child_check();
    if (clock_coarse_ns() >= atomic_load_explicit(&next_look_ns, memory_order_relaxed))
        refresh();
    for (each = atomic_load_explicit(&routes, memory_order_acquire); each; each = each->next)
        if (same_address(&each->address, &wanted))
            return each;
    return NULL;
}

static const struct handle *handle_for(const struct route *route, uint32_t db)
{
    for (const struct served_db *each = route->dbs; each; each = each->next)
        if (each->db == db)
            return each->handle;
    return NULL;
}

struct lendis_pool *route_pool(const struct route *route, uint32_t db)
{
    const struct handle *handle = handle_for(route, db);

    return handle ? handle->pool : NULL;
}

struct lendis_pool *route_any_pool(const struct route *route)
{
    for (const struct served_db *each = route->dbs; each; each = each->next)
        if (each->handle->pool)
            return each->handle->pool;
    return NULL;
}

const char *route_pool_name(const struct route *route, uint32_t db)
{
    const struct handle *handle = handle_for(route, db);

    return handle ? handle->name : "";
}
