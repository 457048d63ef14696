/* SPDX-License-Identifier: MIT */
/*
 * Serving metrics: see exporter.h.
 *
 * Every answer ends its connection, so that one that lasts is one that is slow or idle, and can be
 * closed after a time: libmicrohttpd's own limit begins anew with each byte. Connections are
 * accepted here, not by libmicrohttpd, which accepts nobody while all its places are taken.
 */
#include "broker/metrics/exporter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/timer.h"
#include "broker/base/listen.h"
#include "broker/base/log.h"
#include "broker/metrics/metrics.h"
#include "broker/metrics/microhttpd.h"

/* For a request's headers, and for the answer's. */
#define CONNECTION_MEMORY 8192u
/* How long a text is as good as a new one. */
#define TEXT_MS 100u
/* Most wake-ups: 1,000 a second. */
#define RUN_INTERVAL_US 10000u
#define RUN_BURST       10u
/* Clients are on this host. One that has not asked after so long goes when another comes; and one
 * that has not read its answer. */
#define SILENT_GRACE_MS 25u
#define SLOW_GRACE_MS   1000u
/* Those who wait to be accepted. Behind as many that are silent one waits for 0.4 s: a grace for
 * each, at all places at once. */
#define BACKLOG 128
/* How long nobody is accepted when descriptors are short. */
#define PAUSE_US UINT64_C(100000)

#if MHD_VERSION < 0x00097000
typedef int mhd_result;
#else
typedef enum MHD_Result mhd_result;
#endif

struct client {
    int fd; /* libmicrohttpd's; -1: none */
    bool asked;
    uint64_t since_ms;
};

struct exporter {
    struct MHD_Daemon *daemon;
    sd_event_source *ready;
    sd_event_source *timer;
    sd_event_source *callers; /* who wants to be accepted */
    sd_event_source *resume;  /* accepts again after a pause */
    exporter_source *source;
    void *context;
    int listener;
    char path[sizeof((struct sockaddr_un *)0)
                  ->sun_path]; /* "": no socket of ours in the file system */
    struct stat path_stat;
    struct MHD_Response *text[2]; /* by enum metrics_format; NULL: none */
    uint64_t text_ms[2];
    struct client clients[EXPORTER_CONNECTIONS];
};

static const struct microhttpd *mhd; /* set before there is an exporter */

/* ---- answers ---- */

static struct MHD_Response *make_response(char *text, size_t size, enum MHD_ResponseMemoryMode mode,
                                          const char *type)
{
    struct MHD_Response *response = mhd->create_response_from_buffer(size, text, mode);

    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return NULL;
    }
    if (mhd->add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) != MHD_YES ||
        mhd->add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") != MHD_YES) {
        mhd->destroy_response(response);
        return NULL;
    }
    return response;
}

static struct MHD_Response *make_text(struct exporter *exporter, enum metrics_format format)
{
    struct statistics_source source = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    int result;

    if (!memory)
        return NULL;
    exporter->source(exporter->context, &source);
    result = metrics_write(&source, format, memory);
    if (fclose(memory) != 0 || result != 0) {
        free(text);
        return NULL;
    }
    return make_response(text, size, MHD_RESPMEM_MUST_FREE,
                         format == METRICS_OPENMETRICS ? METRICS_OPENMETRICS_TYPE
                                                       : METRICS_PROMETHEUS_TYPE);
}

/* The text, as it is or was a moment ago; NULL: no memory. Stays the exporter's. */
static struct MHD_Response *current_text(struct exporter *exporter, enum metrics_format format)
{
    uint64_t now_ms = clock_ms();

    if (exporter->text[format] && now_ms - exporter->text_ms[format] < TEXT_MS)
        return exporter->text[format];
    if (exporter->text[format])
        mhd->destroy_response(exporter->text[format]); /* counted: it lives while it is sent */
    exporter->text[format] = make_text(exporter, format);
    exporter->text_ms[format] = now_ms;
    return exporter->text[format];
}

static mhd_result refuse(struct MHD_Connection *connection, unsigned status, const char *why)
{
    struct MHD_Response *response = make_response((char *)why, strlen(why), MHD_RESPMEM_PERSISTENT,
                                                  "text/plain; charset=utf-8");
    mhd_result result;

    if (!response)
        return MHD_NO;
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        mhd->add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = mhd->queue_response(connection, status, response);
    mhd->destroy_response(response);
    return result;
}

/* The client of a connection; NULL: none, which cannot be. */
static struct client *client_of(struct exporter *exporter, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    for (size_t i = 0; info && i < EXPORTER_CONNECTIONS; i++)
        if (exporter->clients[i].fd == info->connect_fd)
            return &exporter->clients[i];
    return NULL;
}

static mhd_result on_request(void *context, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_size, void **request)
{
    static char seen;
    struct exporter *exporter = context;
    struct client *client = client_of(exporter, connection);
    const char *accept;
    struct MHD_Response *text;

    if (client)
        client->asked = true;
    (void)version;
    (void)upload;
    (void)upload_size;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET is all there is\n");
    if (!*request) {
        *request = &seen; /* the headers are there; a call without a body follows */
        return MHD_YES;
    }
    if (strcmp(url, "/metrics") != 0)
        return refuse(connection, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
    accept = mhd->lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    text = current_text(exporter, accept && strstr(accept, "application/openmetrics-text")
                                      ? METRICS_OPENMETRICS
                                      : METRICS_PROMETHEUS);
    return text ? mhd->queue_response(connection, MHD_HTTP_OK, text) : MHD_NO;
}

/* ---- connections ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **unused,
                          enum MHD_ConnectionNotificationCode code)
{
    struct exporter *exporter = context;
    const union MHD_ConnectionInfo *info =
        mhd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    (void)unused;
    for (size_t i = 0; info && i < EXPORTER_CONNECTIONS; i++) {
        struct client *client = &exporter->clients[i];

        if (client->fd != (code == MHD_CONNECTION_NOTIFY_STARTED ? -1 : info->connect_fd))
            continue;
        *client = (struct client){
            .fd = code == MHD_CONNECTION_NOTIFY_STARTED ? info->connect_fd : -1,
            .since_ms = clock_ms(),
        };
        return;
    }
}

/* Hangs up on those who had their time. Returns when to do so again: milliseconds; UINT64_MAX,
 * there is nobody. */
static uint64_t end_slow(struct exporter *exporter)
{
    uint64_t now_ms = clock_ms(), next_ms = UINT64_MAX;

    for (size_t i = 0; i < EXPORTER_CONNECTIONS; i++) {
        const struct client *client = &exporter->clients[i];
        uint64_t age_ms;

        if (client->fd < 0)
            continue;
        age_ms = now_ms - client->since_ms;
        if (age_ms >= EXPORTER_SECONDS * 1000)
            shutdown(client->fd, SHUT_RDWR);
        else if (EXPORTER_SECONDS * 1000 - age_ms < next_ms)
            next_ms = EXPORTER_SECONDS * 1000 - age_ms;
    }
    return next_ms;
}

static void run(struct exporter *exporter)
{
    MHD_UNSIGNED_LONG_LONG wanted_ms;
    uint64_t next_ms = end_slow(exporter);

    mhd->run(exporter->daemon);
    if (next_ms == UINT64_MAX)
        next_ms = end_slow(exporter); /* somebody has come */
    if (mhd->get_timeout(exporter->daemon, &wanted_ms) == MHD_YES && wanted_ms < next_ms)
        next_ms = wanted_ms;
    if (next_ms == UINT64_MAX) {
        timer_stop(exporter->timer);
        return;
    }
    timer_set(exporter->timer, next_ms * 1000 + 1000);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    run(context);
    return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    run(context);
    return 0;
}

/* ---- accepting ---- */

static void pause_accepting(struct exporter *exporter, uint64_t usec)
{
    if (timer_set(exporter->resume, usec) != 0)
        return; /* rather busy than deaf */
    sd_event_source_set_enabled(exporter->callers, SD_EVENT_OFF);
}

static int on_resume(sd_event_source *source, uint64_t usec, void *context)
{
    const struct exporter *exporter = context;

    (void)source;
    (void)usec;
    sd_event_source_set_enabled(exporter->callers, SD_EVENT_ON);
    return 0;
}

/* Who has to go next, and after which time: the oldest one that has not asked, else the oldest. */
static const struct client *find_victim(const struct exporter *exporter, uint64_t *grace_ms)
{
    const struct client *silent = NULL, *slow = NULL;

    for (size_t i = 0; i < EXPORTER_CONNECTIONS; i++) {
        const struct client *each = &exporter->clients[i];
        const struct client **oldest = each->asked ? &slow : &silent;

        if (each->fd < 0)
            return NULL; /* nobody: there is room */
        if (!*oldest || each->since_ms < (*oldest)->since_ms)
            *oldest = each;
    }
    *grace_ms = silent ? SILENT_GRACE_MS : SLOW_GRACE_MS;
    return silent ? silent : slow;
}

/* True: there is a place for one more. */
static bool make_room(struct exporter *exporter)
{
    uint64_t grace_ms, age_ms;
    const struct client *victim = find_victim(exporter, &grace_ms);

    if (!victim)
        return true;
    age_ms = clock_ms() - victim->since_ms;
    if (age_ms < grace_ms) {
        pause_accepting(exporter, (grace_ms - age_ms) * 1000);
        return false;
    }
    shutdown(victim->fd, SHUT_RDWR);
    mhd->run(exporter->daemon); /* finds that out */
    if (!find_victim(exporter, &grace_ms))
        return true;
    pause_accepting(exporter, RUN_INTERVAL_US);
    return false;
}

static int on_caller(sd_event_source *source, int listener, uint32_t events, void *context)
{
    struct exporter *exporter = context;
    union listen_address address;
    socklen_t size = sizeof address;
    int fd;

    (void)source;
    (void)events;
    run(exporter); /* who has come to an end makes room */
    if (!make_room(exporter))
        return 0;
    fd = accept4(listener, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            pause_accepting(exporter, PAUSE_US);
        return 0;
    }
    mhd->add_connection(exporter->daemon, fd, &address.any, size); /* closes it if it fails */
    run(exporter);
    return 0;
}

/* ---- beginning and end ---- */

static int bind_listener(struct exporter *exporter, const union listen_address *address,
                         socklen_t size)
{
    const int on = 1;
    mode_t before;
    int result = 0;

    if (address->any.sa_family == AF_UNIX) {
        result = listen_clear_way(&address->local, SOCK_STREAM);
        if (result != 0)
            return result;
    }
    exporter->listener =
        socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (exporter->listener < 0)
        return -errno;
    if (address->any.sa_family != AF_UNIX)
        setsockopt(exporter->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    before = umask(0117);
    if (bind(exporter->listener, &address->any, size) < 0)
        result = -errno;
    umask(before);
    if (result == 0 && address->any.sa_family == AF_UNIX &&
        stat(address->local.sun_path, &exporter->path_stat) == 0)
        memcpy(exporter->path, address->local.sun_path, sizeof exporter->path);
    if (result == 0 && listen(exporter->listener, BACKLOG) < 0)
        result = -errno;
    return result;
}

static int start_daemon(struct exporter *exporter)
{
    exporter->daemon = mhd->start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, exporter,
        MHD_OPTION_CONNECTION_LIMIT, EXPORTER_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        EXPORTER_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, exporter, MHD_OPTION_END);
    return exporter->daemon ? 0 : -EIO;
}

static int watch_daemon(struct exporter *exporter, sd_event *event)
{
    const union MHD_DaemonInfo *info =
        mhd->get_daemon_info(exporter->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int result;

    if (!info || info->epoll_fd < 0)
        return -EIO;
    result = sd_event_add_io(event, &exporter->ready, info->epoll_fd, EPOLLIN, on_ready, exporter);
    if (result >= 0)
        result = sd_event_source_set_ratelimit(exporter->ready, RUN_INTERVAL_US, RUN_BURST);
    if (result >= 0)
        result = timer_new(event, &exporter->timer, on_time, exporter);
    return result < 0 ? result : 0;
}

static int watch_listener(struct exporter *exporter, sd_event *event)
{
    int result = sd_event_add_io(event, &exporter->callers, exporter->listener, EPOLLIN, on_caller,
                                 exporter);

    if (result >= 0)
        result = sd_event_source_set_ratelimit(exporter->callers, RUN_INTERVAL_US, RUN_BURST);
    if (result >= 0)
        result = timer_new(event, &exporter->resume, on_resume, exporter);
    return result < 0 ? result : 0;
}

int exporter_start(sd_event *event, const char *address, exporter_source *source, void *context,
                   struct exporter **exporter)
{
    struct exporter *made = calloc(1, sizeof *made);
    union listen_address where;
    socklen_t size;
    int result;

    if (!made)
        return -ENOMEM;
    made->listener = -1;
    made->source = source;
    made->context = context;
    for (size_t i = 0; i < EXPORTER_CONNECTIONS; i++)
        made->clients[i].fd = -1;
    mhd = microhttpd_load();
    if (!mhd)
        result = -ELIBACC;
    else
        result = listen_parse(address, &where, &size) ? -EINVAL : bind_listener(made, &where, size);
    if (result == 0)
        result = start_daemon(made);
    if (result == 0)
        result = watch_daemon(made, event);
    if (result == 0)
        result = watch_listener(made, event);
    if (result != 0) {
        /* unprovoked: when the broker starts, or is configured anew */
        log_line(LOG_LEVEL_ERR, "metrics at %s: %s", address, strerror(-result));
        exporter_stop(made);
        return result;
    }
    /* unprovoked: when the broker starts, or is configured anew */
    log_line(LOG_LEVEL_INFO, "metrics at %s", address);
    *exporter = made;
    return 0;
}

void exporter_stop(struct exporter *exporter)
{
    struct stat now;

    if (!exporter)
        return;
    sd_event_source_disable_unref(exporter->ready);
    sd_event_source_disable_unref(exporter->timer);
    sd_event_source_disable_unref(exporter->callers);
    sd_event_source_disable_unref(exporter->resume);
    if (exporter->path[0] && lstat(exporter->path, &now) == 0 &&
        now.st_dev == exporter->path_stat.st_dev && now.st_ino == exporter->path_stat.st_ino)
        unlink(exporter->path);
    for (size_t i = 0; i < 2; i++)
        if (exporter->text[i])
            mhd->destroy_response(exporter->text[i]);
    if (exporter->daemon)
        mhd->stop_daemon(exporter->daemon);
    if (exporter->listener >= 0)
        close(exporter->listener);
    free(exporter);
}
