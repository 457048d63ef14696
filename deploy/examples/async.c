/* SPDX-License-Identifier: MIT */
/*
 * A program with an event loop that borrows its connections: one process, no thread, a hundred jobs
 * that each count a visit in a transaction of their own, by hiredis' asynchronous API on a leased
 * connection.
 *
 *   make examples
 *   build/examples/async [POOL [JOBS]]
 *
 * The loop is sd-event; with libuv (uv_poll_init), libevent (event_new) or asyncio
 * (loop.add_reader) the three steps are the same: begin, poll the wait's descriptor for reading,
 * finish. $LENDIS_SOCKET names the broker's socket unless it is /run/lendis/lendis.sock.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/async.h>
#include <lendis_hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <unistd.h>

struct job {
    struct lendis_wait *wait;
    struct lendis_lease *lease;
    redisAsyncContext *redis;
    sd_event_source *source; /* of the wait, then of the connection */
    uint32_t events;
};

static sd_event *event;
static unsigned running;
static unsigned failed;
static long long visits;

static void job_end(struct job *job, const char *problem)
{
    if (problem) {
        fprintf(stderr, "job: %s\n", problem);
        failed++;
    }
    sd_event_source_disable_unref(job->source);
    free(job);
    if (--running == 0)
        sd_event_exit(event, 0);
}

/* ---- hiredis on sd-event ---- */

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct job *job = context;

    (void)source;
    (void)fd;
    /* Either can be the end of the context, and of the job with it. */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        redisAsyncHandleRead(job->redis);
    else
        redisAsyncHandleWrite(job->redis);
    return 0;
}

static void set_events(struct job *job, uint32_t events)
{
    job->events = events;
    sd_event_source_set_io_events(job->source, events);
}

static void add_read(void *data)
{
    struct job *job = data;

    set_events(job, job->events | EPOLLIN);
}

static void del_read(void *data)
{
    struct job *job = data;

    set_events(job, job->events & ~(uint32_t)EPOLLIN);
}

static void add_write(void *data)
{
    struct job *job = data;

    set_events(job, job->events | EPOLLOUT);
}

static void del_write(void *data)
{
    struct job *job = data;

    set_events(job, job->events & ~(uint32_t)EPOLLOUT);
}

/* hiredis is about to close its descriptor; epoll must forget it first. */
static void cleanup(void *data)
{
    struct job *job = data;

    job->source = sd_event_source_disable_unref(job->source);
}

/*
 * An asynchronous context on a connection that is there already. hiredis can only connect, so it is
 * given a listener of ours to connect to, and then the leased connection in place of what it got.
 * Its descriptor is a duplicate: it may close it, and the lease keeps its own.
 */
static redisAsyncContext *async_on(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    redisAsyncContext *redis = NULL;

    if (listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &size) == 0)
        redis = redisAsyncConnect("127.0.0.1", ntohs(address.sin_port));
    if (redis && (redis->err || dup3(fd, redis->c.fd, O_CLOEXEC) < 0)) {
        redisAsyncFree(redis);
        redis = NULL;
    }
    if (listener >= 0)
        close(listener);
    return redis;
}

/* ---- the job ---- */

/* The context is gone, or never came to be. */
static void give_back(struct job *job, const char *problem)
{
    int result = problem ? lendis_discard(job->lease) : lendis_release(job->lease);

    if (!problem && result != 0)
        problem = lendis_strerror(result);
    job_end(job, problem);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    give_back(redis->data, status == REDIS_OK ? NULL : redis->errstr);
}

static void on_exec(redisAsyncContext *redis, void *data, void *context)
{
    const redisReply *reply = data;

    (void)context;
    if (!reply)
        return; /* the connection is lost: on_disconnect() has the error */
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 &&
        reply->element[0]->integer > visits)
        visits = reply->element[0]->integer;
    redisAsyncDisconnect(redis);
}

static void use_lease(struct job *job)
{
    int fd = lendis_lease_fd(job->lease);

    job->redis = async_on(fd);
    if (!job->redis) {
        give_back(job, "no context");
        return;
    }
    if (sd_event_add_io(event, &job->source, job->redis->c.fd, 0, on_ready, job) < 0) {
        redisAsyncFree(job->redis);
        give_back(job, "no event source");
        return;
    }
    job->redis->data = job;
    job->redis->ev.data = job;
    job->redis->ev.addRead = add_read;
    job->redis->ev.delRead = del_read;
    job->redis->ev.addWrite = add_write;
    job->redis->ev.delWrite = del_write;
    job->redis->ev.cleanup = cleanup;
    redisAsyncSetDisconnectCallback(job->redis, on_disconnect);
    redisAsyncCommand(job->redis, NULL, NULL, "MULTI");
    redisAsyncCommand(job->redis, NULL, NULL, "INCR visits");
    redisAsyncCommand(job->redis, on_exec, NULL, "EXEC");
}

static int on_wait(sd_event_source *source, int fd, uint32_t events, void *context);

/* Inspects the wait. */
static void inspect(struct job *job)
{
    int result;

    /* finish closes the descriptor if it ends the wait, and sd-event wants to be told before: so
     * ask with the source switched off, and make it anew if it goes on. libuv and asyncio want the
     * same. */
    job->source = sd_event_source_disable_unref(job->source);
    result = lendis_acquire_finish(job->wait, &job->lease);
    if (result == 0) {
        use_lease(job);
    } else if (result != LENDIS_E_AGAIN) {
        job_end(job, lendis_strerror(result));
    } else if (sd_event_add_io(event, &job->source, lendis_acquire_fd(job->wait), EPOLLIN, on_wait,
                               job) < 0) {
        lendis_acquire_cancel(job->wait);
        job_end(job, "no event source");
    }
}

static int on_wait(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    (void)events;
    inspect(context);
    return 0;
}

static void job_start(struct lendis_pool *pool)
{
    struct job *job = calloc(1, sizeof *job);
    int result;

    if (!job)
        return;
    running++;
    result = lendis_acquire_begin(pool, -1, &job->wait);
    if (result != 0)
        job_end(job, lendis_strerror(result));
    else
        inspect(job); /* a connection may be there already */
}

int main(int argc, char **argv)
{
    struct lendis_pool *pool;
    int result, jobs = argc > 2 ? atoi(argv[2]) : 100;

    /* Not LENDIS_LAZY: then the loop never waits for it. */
    result = lendis_attach(NULL, argc > 1 ? argv[1] : "async", NULL, &pool);
    if (result != 0) {
        fprintf(stderr, "cannot attach: %s\n", lendis_strerror(result));
        return EXIT_FAILURE;
    }
    if (sd_event_default(&event) < 0)
        return EXIT_FAILURE;
    running = 1; /* until all are started, so that the first does not end the loop */
    for (int i = 0; i < jobs; i++)
        job_start(pool);
    if (--running > 0)
        sd_event_loop(event);
    lendis_detach(pool);
    sd_event_unref(event);
    printf("%lld visits, %u jobs failed\n", visits, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
