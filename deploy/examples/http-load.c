/* SPDX-License-Identifier: MIT */
/*
 * Loads prefork-http and checks every byte of every answer. A closed loop: each of N keep-alive
 * connections sends its next request when the last one is answered, so what is measured is the
 * server's capacity and the time that a request takes at that load. One thread, epoll(7).
 *
 * An answer is right when its status is 200, its body is the page that was asked for, and the
 * page's visit count is higher than the last one that this connection saw: a reply that went to the
 * wrong process shows in one of these. Anything else is an error, and so is a connection that ends
 * or an answer that does not come.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "deploy/examples/page.h"

#define ANSWER_LIMIT_MS   5000 /* later is an error */
#define TICK_MS           100
#define RESPONSE_SIZE_MAX (FRAGMENT_SIZE_MAX + 1024)
#define CONNECTIONS_MAX   4096
#define EVENTS            256
#define ERRORS_SHOWN      10

/* ---- latencies: 64 buckets for each power of two, so a value is known to 1.6 % ---- */

#define SUB_BITS  6
#define SUB_COUNT (1u << SUB_BITS)
#define BUCKETS   ((64 - SUB_BITS + 1) * SUB_COUNT)

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
    uint64_t max;
};

static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < SUB_COUNT)
        return (unsigned)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUB_COUNT + (unsigned)(value >> shift) - SUB_COUNT;
}

/* The middle of a bucket. */
static uint64_t bucket_value(unsigned bucket)
{
    unsigned shift;

    if (bucket < SUB_COUNT)
        return bucket;
    shift = bucket / SUB_COUNT - 1;
    return ((uint64_t)(bucket % SUB_COUNT + SUB_COUNT) << shift) + ((UINT64_C(1) << shift) >> 1);
}

static void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->max)
        histogram->max = value;
}

static uint64_t histogram_at(const struct histogram *histogram, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)histogram->total), seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > rank)
            return bucket_value(i);
    }
    return histogram->max;
}

/* ---- connections ---- */

struct connection {
    int fd; /* -1: not connected */
    unsigned page;
    bool waiting; /* a request is out */
    int64_t sent_ns;
    size_t used;
    long long *visits; /* the last count seen, for each page */
    char response[RESPONSE_SIZE_MAX + 1];
};

static struct {
    unsigned connections;
    unsigned pages;
    double warmup, duration; /* seconds */
    bool json;
    struct sockaddr_in address;
} options = {.connections = 200, .pages = 256, .warmup = 1, .duration = 5};

static struct {
    int epoll;
    int64_t measure_ns, end_ns; /* when measuring begins and ends */
    unsigned out;               /* requests without an answer */
    uint64_t errors, requests;
    uint32_t random;
    struct histogram latencies;
} load = {.random = 1};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* xorshift32: Marsaglia, "Xorshift RNGs", 2003. */
static unsigned next_page(void)
{
    load.random ^= load.random << 13;
    load.random ^= load.random >> 17;
    load.random ^= load.random << 5;
    return load.random % options.pages;
}

static void count_error(const struct connection *connection, const char *what)
{
    if (load.errors++ < ERRORS_SHOWN)
        fprintf(stderr, "/page/%u: %s\n", connection->page, what);
}

static bool connection_open(struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = connection};
    int yes = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        return false;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(connection->fd, (struct sockaddr *)&options.address, sizeof options.address) < 0 ||
        epoll_ctl(load.epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0) {
        close(connection->fd);
        connection->fd = -1;
        return false;
    }
    return true;
}

static void connection_close(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    load.out -= connection->waiting;
    connection->waiting = false;
}

static void connection_fail(struct connection *connection, const char *what)
{
    count_error(connection, what);
    connection_close(connection);
}

/* Sends the next request, over a new connection if need be. */
static void connection_ask(struct connection *connection)
{
    char request[128];
    int size;

    connection->page = next_page();
    if (connection->fd < 0 && !connection_open(connection)) {
        count_error(connection, strerror(errno));
        return; /* tried again at the next tick */
    }
    size = snprintf(request, sizeof request, "GET /page/%u HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                    connection->page);
    connection->used = 0;
    connection->sent_ns = now_ns();
    connection->waiting = true;
    load.out++;
    /* Far below any socket buffer, and nothing else is in it: all or an error. */
    if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        connection_fail(connection, strerror(errno));
}

/* What is wrong with a body, or NULL. */
static const char *body_wrong(struct connection *connection, const char *body)
{
    char fragment[FRAGMENT_SIZE_MAX];
    unsigned page;
    long long visits;
    int after = 0;

    if (sscanf(body, "page %u\nvisits %lld\n%n", &page, &visits, &after) != 2 || after == 0)
        return "not a page";
    if (page != connection->page)
        return "another page";
    if (visits <= connection->visits[page])
        return "the visit count does not grow";
    connection->visits[page] = visits;
    page_render(page, fragment);
    return strcmp(body + after, fragment) == 0 ? NULL : "a wrong fragment";
}

/* Looks whether the response is whole. Results: true and what is wrong with it or NULL; false, not
 * yet. */
static bool response_whole(struct connection *connection, const char **wrong)
{
    char *end = strstr(connection->response, "\r\n\r\n");
    const char *length;
    size_t size, head;

    if (!end)
        return false;
    head = (size_t)(end + 4 - connection->response);
    length = strstr(connection->response, "\r\nContent-Length: ");
    if (!length || length > end) {
        *wrong = "no Content-Length";
        return true;
    }
    size = strtoul(length + strlen("\r\nContent-Length: "), NULL, 10);
    if (size > RESPONSE_SIZE_MAX - head || connection->used > head + size) {
        *wrong = "more than one response";
        return true;
    }
    if (connection->used < head + size)
        return false;
    if (strncmp(connection->response, "HTTP/1.1 200 ", 13) != 0) {
        *end = '\0';
        *strchrnul(connection->response, '\r') = '\0';
        *wrong = connection->response;
        return true;
    }
    *wrong = body_wrong(connection, connection->response + head);
    return true;
}

/* A request was answered rightly. */
static void connection_answered(struct connection *connection, int64_t now)
{
    connection->waiting = false;
    load.out--;
    if (now >= load.measure_ns && now < load.end_ns) {
        load.requests++;
        if (connection->sent_ns >= load.measure_ns)
            histogram_add(&load.latencies, (uint64_t)(now - connection->sent_ns));
    }
}

static void connection_read(struct connection *connection)
{
    size_t room = RESPONSE_SIZE_MAX - connection->used;
    const char *wrong = NULL;
    int64_t now;
    ssize_t got;

    got = recv(connection->fd, connection->response + connection->used, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !connection->waiting) {
        connection_fail(connection, got < 0    ? strerror(errno)
                                    : got == 0 ? "the server closed the connection"
                                               : "a response that nobody asked for");
        return;
    }
    connection->used += (size_t)got;
    connection->response[connection->used] = '\0';
    now = now_ns();
    if (!response_whole(connection, &wrong)) {
        if (connection->used == RESPONSE_SIZE_MAX)
            connection_fail(connection, "too long a response");
        return;
    }
    if (wrong) {
        connection_fail(connection, wrong);
        return;
    }
    connection_answered(connection, now);
    if (now < load.end_ns)
        connection_ask(connection);
}

/* ---- the run ---- */

/* Now and then: connections that broke start again, answers that do not come are errors. */
static void tick(struct connection *connections, int64_t now)
{
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *connection = &connections[i];

        if (connection->waiting && now - connection->sent_ns > ANSWER_LIMIT_MS * INT64_C(1000000))
            connection_fail(connection, "no answer");
        if (!connection->waiting && now < load.end_ns)
            connection_ask(connection);
    }
}

static void run(struct connection *connections)
{
    struct epoll_event events[EVENTS];
    int64_t start = now_ns(), tick_at = 0, now;

    load.measure_ns = start + (int64_t)(options.warmup * 1e9);
    load.end_ns = load.measure_ns + (int64_t)(options.duration * 1e9);
    while ((now = now_ns()) < load.end_ns || load.out > 0) {
        int count;

        if (now >= tick_at) {
            tick(connections, now);
            tick_at = now + TICK_MS * INT64_C(1000000);
        }
        count = epoll_wait(load.epoll, events, EVENTS, TICK_MS);
        for (int i = 0; i < count; i++)
            connection_read(events[i].data.ptr);
    }
    for (unsigned i = 0; i < options.connections; i++)
        connection_close(&connections[i]);
}

static void report(void)
{
    const struct histogram *latencies = &load.latencies;
    double rate = (double)load.requests / options.duration;
    double p50 = (double)histogram_at(latencies, 0.50) / 1e3;
    double p99 = (double)histogram_at(latencies, 0.99) / 1e3;
    double max = (double)latencies->max / 1e3;

    if (options.json)
        printf("{\"connections\": %u, \"seconds\": %.3f, \"requests\": %llu, "
               "\"requests_per_second\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f, "
               "\"max_us\": %.0f, \"errors\": %llu}\n",
               options.connections, options.duration, (unsigned long long)load.requests, rate, p50,
               p99, max, (unsigned long long)load.errors);
    else
        printf("%u connections, %.1f s: %.0f requests/s, p50 %.2f ms, p99 %.2f ms, max %.2f ms, "
               "%llu errors\n",
               options.connections, options.duration, rate, p50 / 1e3, p99 / 1e3, max / 1e3,
               (unsigned long long)load.errors);
}

static _Noreturn void usage(int status)
{
    fprintf(
        status ? stderr : stdout,
        "usage: http-load [--connections N] [--pages N] [--warmup SECONDS] [--duration SECONDS]\n"
        "                 [--json] --port N\n"
        "Loads prefork-http on 127.0.0.1:N and checks every answer. Status 1: there were "
        "errors.\n");
    exit(status);
}

static void take_options(int argc, char **argv)
{
    static const struct option known[] = {{"connections", required_argument, NULL, 'c'},
                                          {"pages", required_argument, NULL, 'n'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"duration", required_argument, NULL, 'd'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option, port = 0;

    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options.connections = (unsigned)atoi(optarg);
            break;
        case 'n':
            options.pages = (unsigned)atoi(optarg);
            break;
        case 'w':
            options.warmup = atof(optarg);
            break;
        case 'd':
            options.duration = atof(optarg);
            break;
        case 'j':
            options.json = true;
            break;
        case 'p':
            port = atoi(optarg);
            break;
        default:
            usage(option != 'h');
        }
    }
    if (optind != argc || options.connections < 1 || options.connections > CONNECTIONS_MAX ||
        options.pages < 1 || options.pages > PAGE_MAX || options.warmup < 0 ||
        !(options.duration > 0) || port < 1 || port > 65535)
        usage(1);
    options.address = (struct sockaddr_in){.sin_family = AF_INET,
                                           .sin_port = htons((uint16_t)port),
                                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int main(int argc, char **argv)
{
    struct connection *connections;
    struct rlimit files;

    take_options(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* a descriptor per connection */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(options.connections, sizeof *connections);
    if (load.epoll < 0 || !connections) {
        perror("http-load");
        return 1;
    }
    for (unsigned i = 0; i < options.connections; i++) {
        connections[i].fd = -1;
        connections[i].visits = calloc(PAGE_MAX, sizeof(long long));
        if (!connections[i].visits) {
            perror("http-load");
            return 1;
        }
    }
    run(connections);
    report();
    for (unsigned i = 0; i < options.connections; i++)
        free(connections[i].visits);
    free(connections);
    close(load.epoll);
    return load.errors > 0 || load.requests == 0;
}
