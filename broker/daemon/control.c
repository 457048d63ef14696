/* SPDX-License-Identifier: MIT */
/* The control channel: see control.h. */
#include "broker/daemon/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/pool/pause.h"
#include "broker/base/service_manager.h"
#include "broker/pool/reconfigure.h"

/* How often is checked whether it is so. */
#define TICK_US 5000u
/* Nobody waits for longer: a day, as other limits. */
#define TIMEOUT_MAX_MS (24u * 3600000u)

_Static_assert(CATALOG_MAX_POOLS <= 64, "a request has a bit for each pool");

struct request {
    struct request *next;
    struct control *control;
    sd_event_source *hangup;
    enum wire_verb verb;
    uint64_t pools; /* a bit for each that it is about */
    uint64_t deadline_ms;
    uint32_t timeout_ms;
    int socket;
    uint32_t uid;
};

/* ---- answers ---- */

static void __attribute__((format(printf, 4, 5)))
answer(int socket, int result, uint32_t count, const char *format, ...)
{
    struct wire_outcome outcome = {.result = result, .count = count};
    va_list arguments;

    wire_header(&outcome.header, WIRE_OUTCOME, sizeof outcome);
    va_start(arguments, format);
    vsnprintf(outcome.text, sizeof outcome.text, format, arguments);
    va_end(arguments);
    /* Nobody waits for one that does not read it. What was sent before the close can be read. */
    wire_send(socket, &outcome, -1);
    close(socket);
}

/* The pools that there are, as a sentence's end. */
static void name_pools(const struct control *control, char *text, size_t size)
{
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < control->pool_count && at < size; i++)
        if (broker_pool_exists(&control->pools[i]) && !control->pools[i].config->primary)
            at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "",
                                   control->pools[i].config->name);
}

/* ---- requests that take their time ---- */

static void request_free(struct request *request)
{
    struct control *control = request->control;
    struct request **at = &control->first;

    while (*at && *at != request)
        at = &(*at)->next;
    if (*at) {
        *at = request->next;
        control->count--;
    }
    sd_event_source_disable_unref(request->hangup);
    free(request);
}

/* The tool is gone, or says more than it may: a message that is left unread could hold on to the
 * tool's own end of the socket. What it asked for goes on. */
static int on_hangup(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)events;
    request_free(context);
    close(fd);
    return 0;
}

static enum pause_state pause_of(enum wire_verb verb)
{
    return verb == WIRE_PAUSE ? PAUSE_PAUSED : verb == WIRE_DRAIN ? PAUSE_DRAINED : PAUSE_NONE;
}

static const char *verb_done(enum wire_verb verb)
{
    return verb == WIRE_PAUSE ? "paused" : verb == WIRE_DRAIN ? "drained" : "reconnected";
}

/* How many connections of the pool are not as they are to be. *undone: they never will be, for
 * somebody has said otherwise. */
static uint32_t missing(const struct request *request, struct broker_pool *pool, bool *undone)
{
    *undone = !broker_pool_exists(pool);
    if (*undone)
        return 0;
    if (request->verb == WIRE_RECONNECT)
        return reconfigure_pending(pool);
    *undone = pause_state(pool) != pause_of(request->verb);
    return *undone ? 0 : pause_step(pool);
}

/* The first pool of the request for which it is not so yet, or never will be; NULL: it is so for
 * all. */
static const struct broker_pool *unfinished(const struct request *request, uint32_t *count,
                                            bool *undone)
{
    const struct control *control = request->control;
    const struct broker_pool *found = NULL;

    *count = 0;
    *undone = false;
    for (uint32_t i = 0; i < control->pool_count; i++) {
        struct broker_pool *pool = &control->pools[i];
        uint32_t more;

        if (!(request->pools >> i & 1))
            continue;
        more = missing(request, pool, undone);
        if (*undone)
            return pool;
        if (more > 0 && !found)
            found = pool;
        *count += more;
    }
    return found;
}

/* What is missing when the limit has passed. */
static void answer_late(const struct request *request, const struct broker_pool *pool,
                        uint32_t count)
{
    if (request->verb == WIRE_RECONNECT)
        answer(
            request->socket, -ETIMEDOUT, count,
            "after %u ms %u connection%s still not replaced, the first of them of pool %s: leased "
            "all the time, or Redis cannot be reached",
            request->timeout_ms, count, count == 1 ? " is" : "s are", pool->config->name);
    else
        answer(
            request->socket, -ETIMEDOUT, count,
            "after %u ms %u lease%s still out, the first of them of pool %s; it will be %s when "
            "all are back. \"lendisctl resume\" takes that back, \"lendisctl kill\" revokes them",
            request->timeout_ms, count, count == 1 ? " is" : "s are", pool->config->name,
            verb_done(request->verb));
}

/* True: the request was answered, and is gone. */
static bool conclude(struct request *request)
{
    const struct broker_pool *pool;
    uint32_t count;
    bool undone;

    pool = unfinished(request, &count, &undone);
    if (pool && !undone && clock_ms() < request->deadline_ms)
        return false;
    request->hangup = sd_event_source_disable_unref(request->hangup);
    if (undone)
        answer(request->socket, -ECANCELED, 0, "pool %s: another command came in between",
               pool && pool->config ? pool->config->name : "that was there");
    else if (pool)
        answer_late(request, pool, count);
    else
        answer(request->socket, 0, 0, "%s", verb_done(request->verb));
    request_free(request);
    return true;
}

static void set_tick(struct control *control)
{
    if (!control->first)
        return;
    timer_set(control->tick, TICK_US);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *context)
{
    struct control *control = context;
    struct request *next;

    (void)source;
    (void)usec;
    for (struct request *request = control->first; request; request = next) {
        next = request->next;
        conclude(request);
    }
    set_tick(control);
    return 0;
}

/* ---- what can be asked ---- */

static void begin_closing(struct request *request)
{
    struct control *control = request->control;

    for (uint32_t i = 0; i < control->pool_count; i++)
        if (request->pools >> i & 1) {
            /* unprovoked: by a user who may control the broker */
            log_line(LOG_LEVEL_NOTICE, "pool %s: is being %s, by order of user %u",
                     control->pools[i].config->name, verb_done(request->verb), request->uid);
            pause_set(&control->pools[i], pause_of(request->verb));
        }
    if (!conclude(request))
        set_tick(control);
}

static void begin_reconnecting(struct request *request)
{
    struct control *control = request->control;

    for (uint32_t i = 0; i < control->pool_count; i++)
        if (request->pools >> i & 1) {
            /* unprovoked: by a user who may control the broker */
            log_line(LOG_LEVEL_NOTICE, "pool %s: all connections are replaced, by order of user %u",
                     control->pools[i].config->name, request->uid);
            reconfigure_reconnect(&control->pools[i]);
        }
    if (!conclude(request))
        set_tick(control);
}

/* A line on the way; a tool that does not read it is not waited for. */
static void report_notice(void *context, const char *text)
{
    const struct request *request = context;
    struct wire_notice notice = {0};

    wire_header(&notice.header, WIRE_NOTICE, sizeof notice);
    snprintf(notice.text, sizeof notice.text, "%s", text);
    wire_send(request->socket, &notice, -1);
}

/* What sd_notify(3) wants to hear before and after. */
static void notify_reloading(void)
{
    manager_notify("RELOADING=1\nMONOTONIC_USEC=%ju", (uintmax_t)clock_us());
}

int control_reload(struct control *control, reload_report *report, void *context, uint32_t *count)
{
    uint32_t pools = 0;
    int result;

    notify_reloading();
    result = reload_read(control->reload, report, context, &pools);
    if (result == 0)
        /* unprovoked: by a user who may control the broker */
        log_line(LOG_LEVEL_NOTICE, "the configuration was read again: %u pools",
                 control->reload->config->pool_count);
    else
        /* unprovoked: by a user who may control the broker */
        log_line(LOG_LEVEL_ERR, "the new configuration is not used: %s",
                 result == -EINVAL ? "it has errors; the old one stays in force"
                                   : strerror(-result));
    manager_notify("READY=1");
    if (count)
        *count = pools;
    return result;
}

static void reload(struct request *request)
{
    struct control *control = request->control;
    int socket = request->socket, result = -ENOSYS;
    uint32_t count = 0;

    if (control->reload)
        result = control_reload(control, report_notice, request, &count);
    request_free(request);
    if (result == 0)
        answer(socket, 0, count, "reloaded");
    else if (result == -EINVAL)
        answer(socket, result, 0, "the configuration has errors; the old one stays in force");
    else
        answer(socket, result, 0, "%s", strerror(-result));
}

static void set(struct request *request, const struct wire_control *asked)
{
    struct control *control = request->control;
    int socket = request->socket, result = -ENOSYS;

    /* No pool means [broker] here. */
    if (control->reload)
        result = reload_set(control->reload, asked->pool[0] ? request->pools : 0, asked->key,
                            asked->value, report_notice, request);
    if (result == 0)
        /* unprovoked: by a user who may control the broker */
        log_line(LOG_LEVEL_NOTICE, "%s%s: %s = %s, by order of user %u",
                 asked->pool[0] ? "pool " : "broker", asked->pool, asked->key, asked->value,
                 request->uid);
    request_free(request);
    if (result == 0)
        answer(socket, 0, 1, "%s = %s, until the configuration is reloaded", asked->key,
               asked->value);
    else
        answer(socket, result, 0, "nothing was set");
}

static void resume(struct request *request)
{
    struct control *control = request->control;
    int socket = request->socket;
    uint32_t count = 0;

    for (uint32_t i = 0; i < control->pool_count; i++)
        if ((request->pools >> i & 1) && pause_state(&control->pools[i]) != PAUSE_NONE) {
            /* unprovoked: by a user who may control the broker */
            log_line(LOG_LEVEL_NOTICE, "pool %s: lends again, by order of user %u",
                     control->pools[i].config->name, request->uid);
            pause_set(&control->pools[i], PAUSE_NONE);
            count++;
        }
    request_free(request);
    answer(socket, 0, count, count ? "resumed" : "nothing was paused or drained");
}

/* The leases of process `pid`, or of all, in one pool. *known: the process is attached to it. */
static uint32_t kill_in_pool(struct broker_pool *pool, uint32_t index, uint32_t pid, bool *known)
{
    const struct catalog *catalog = pool->environment->catalog;
    uint32_t count = 0;

    if (pid == WIRE_ANY) {
        *known = true;
        return pause_kill(pool, index == WIRE_ANY ? PAUSE_ANY : index, PAUSE_ANY);
    }
    for (uint32_t i = 0; i < catalog->worker_max; i++)
        if (shm_load32(&catalog->workers[i].pool) == 1 + pool->index &&
            catalog->workers[i].pid == pid) {
            *known = true;
            count += pause_kill(pool, index == WIRE_ANY ? PAUSE_ANY : index, i);
        }
    return count;
}

static void kill_leases(struct request *request, const struct wire_control *asked)
{
    struct control *control = request->control;
    int socket = request->socket;
    uint32_t count = 0;
    bool known = false;

    for (uint32_t i = 0; i < control->pool_count; i++) {
        struct broker_pool *pool = &control->pools[i];

        if (!(request->pools >> i & 1))
            continue;
        if (asked->connection != WIRE_ANY && asked->connection >= pool->places) {
            request_free(request);
            answer(socket, -EINVAL, 0,
                   "pool %s has connections 0 to %u, see lendisctl show connections",
                   pool->config->name, pool->places - 1);
            return;
        }
        count += kill_in_pool(pool, asked->connection, asked->pid, &known);
    }
    if (count > 0)
        /* unprovoked: by a user who may control the broker */
        log_line(LOG_LEVEL_NOTICE, "%u leases are revoked, by order of user %u", count,
                 request->uid);
    request_free(request);
    if (known)
        answer(socket, 0, count, "%u lease%s revoked", count, count == 1 ? "" : "s");
    else
        answer(socket, -ESRCH, 0, "process %u is not attached; see lendisctl show workers",
               asked->pid);
}

/* What tools read, for one that may not read the memory of a broker that has a password. Who does
 * not take it all at once gets a part of it. */
static void show(struct request *request)
{
    struct control *control = request->control;
    struct wire_outcome part = {0};
    int socket = request->socket, result = -ENOSYS;

    wire_header(&part.header, WIRE_OUTCOME, sizeof part);
    if (control->catalog_fd >= 0)
        result = wire_send(socket, &part, control->catalog_fd);
    for (uint32_t i = 0; result == 0 && i < control->pool_count; i++)
        if (control->pools[i].config && control->pools[i].segment_fd >= 0)
            result = wire_send(socket, &part, control->pools[i].segment_fd);
    request_free(request);
    answer(socket, result, 0, "%s", result == 0 ? "" : strerror(-result));
}

static void begin(struct request *request, const struct wire_control *asked)
{
    int socket = request->socket;

    switch (asked->verb) {
    case WIRE_PAUSE:
    case WIRE_DRAIN:
        begin_closing(request);
        break;
    case WIRE_RESUME:
        resume(request);
        break;
    case WIRE_KILL:
        kill_leases(request, asked);
        break;
    case WIRE_RECONNECT:
        begin_reconnecting(request);
        break;
    case WIRE_SET:
        set(request, asked);
        break;
    case WIRE_RELOAD:
        reload(request);
        break;
    case WIRE_SHOW:
        show(request);
        break;
    default:
        request_free(request);
        answer(socket, -ENOSYS, 0, "this broker does not know command %u: it is of another version",
               asked->verb);
        break;
    }
}

/* ---- taking a request ---- */

static bool is_text(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

/*
 * The pools that are named, as bits; 0: there is none of that name. Without a name it is all that
 * are not switched off in the configuration, so that pausing and resuming all switches none on. A
 * service is no pool.
 */
static uint64_t find_pools(const struct control *control, const char *name)
{
    uint64_t found = 0;

    for (uint32_t i = 0; i < control->pool_count; i++) {
        const struct pool_config *config;

        if (!broker_pool_exists(&control->pools[i]))
            continue;
        config = control->pools[i].config;
        if (!config->primary &&
            (name[0] == '\0' ? config->enabled : strcmp(config->name, name) == 0))
            found |= UINT64_C(1) << i;
    }
    return found;
}

/* Results: 0; -errno, and the tool has an answer. */
static int check(struct control *control, int socket, const struct ucred *peer,
                 const struct wire_control *asked)
{
    char names[200];

    if (peer->uid != 0 && peer->uid != geteuid()) {
        log_limited(&control->denied_limit, LOG_LEVEL_WARNING,
                    "process %d of user %u may not control the broker", (int)peer->pid, peer->uid);
        answer(socket, -EPERM, 0,
               "user %u may not control this broker: only root and user %u, which it runs as, may",
               peer->uid, geteuid());
        return -EPERM;
    }
    if (!is_text(asked->pool, sizeof asked->pool) || !is_text(asked->key, sizeof asked->key) ||
        !is_text(asked->value, sizeof asked->value) || asked->timeout_ms > TIMEOUT_MAX_MS) {
        answer(socket, -EINVAL, 0, "the request is malformed");
        return -EINVAL;
    }
    if (control->stopping || control->count >= CONTROL_REQUESTS) {
        answer(socket, -EBUSY, 0,
               control->stopping ? "the broker is stopping" : "too many commands are under way");
        return -EBUSY;
    }
    if (asked->verb != WIRE_SHOW && find_pools(control, asked->pool) == 0) {
        name_pools(control, names, sizeof names);
        if (asked->pool[0] == '\0')
            answer(socket, -ESRCH, 0, "all pools are switched off; name one of %s", names);
        else
            answer(socket, -ESRCH, 0, "no pool is called %s; there are: %s", asked->pool, names);
        return -ESRCH;
    }
    return 0;
}

void control_take(void *context, int socket, const struct ucred *peer, const void *message,
                  size_t size)
{
    struct control *control = context;
    struct wire_control asked;
    struct request *request;

    if (!wire_is(message, size, WIRE_CONTROL, sizeof asked)) {
        close(socket);
        return;
    }
    memcpy(&asked, message, sizeof asked);
    if (check(control, socket, peer, &asked) != 0)
        return;
    request = calloc(1, sizeof *request);
    if (!request || sd_event_add_io(control->event, &request->hangup, socket, EPOLLIN, on_hangup,
                                    request) < 0) {
        free(request);
        answer(socket, -ENOMEM, 0, "%s", strerror(ENOMEM));
        return;
    }
    request->control = control;
    request->verb = (enum wire_verb)asked.verb;
    request->pools = find_pools(control, asked.pool);
    request->timeout_ms = asked.timeout_ms;
    request->deadline_ms = clock_ms() + asked.timeout_ms;
    request->socket = socket;
    request->uid = peer->uid;
    request->next = control->first;
    control->first = request;
    control->count++;
    begin(request, &asked);
}

/* ---- all of it ---- */

int control_init(struct control *control, sd_event *event, struct broker_pool *pools,
                 uint32_t pool_count)
{
    *control = (struct control){
        .event = event, .pools = pools, .pool_count = pool_count, .catalog_fd = -1};
    return timer_new(event, &control->tick, on_tick, control);
}

void control_stop(struct control *control)
{
    control->stopping = true;
    while (control->first) {
        int socket = control->first->socket;

        request_free(control->first);
        answer(socket, -ECANCELED, 0, "the broker is stopping");
    }
}

void control_free(struct control *control)
{
    control_stop(control);
    control->tick = sd_event_source_disable_unref(control->tick);
}
