/* SPDX-License-Identifier: MIT */
/* What the system tests share: see fixture.h. */
#include "tests/support/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* cmocka takes these and goes on with the next test: in a forked worker that would be a second
 * run of the tests. There they end the process. */
static void crash_for_good(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
}

static void __attribute__((constructor)) watch_forks(void)
{
    pthread_atfork(NULL, NULL, crash_for_good);
}

#ifdef __SANITIZE_ADDRESS__
/* A thread that is cancelled leaves marks on its stack, which the sanitizer then takes for a fault
 * of its own sigaltstack(2). */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "use_sigaltstack=0";
}
#endif

void fixture_end(struct fixture *fixture)
{
    processes_end(&fixture->processes);
    if (fixture->observer.socket > 0)
        observer_close(&fixture->observer);
    lendisd_kill(&fixture->broker);
    fake_stop(&fixture->fake);
    redis_kill(&fixture->redis);
    if (fixture->redis.port_fd > 0)
        close(fixture->redis.port_fd);
    if (fixture->redis.tls_port_fd > 0)
        close(fixture->redis.tls_port_fd);
    *fixture = (struct fixture){0};
}

struct lendis_pool *pool_attach(const struct lendisd *broker, const char *name)
{
    struct lendis_pool *pool;
    int result = lendis_attach(broker->socket_path, name, NULL, &pool);

    if (result != 0)
        give_up("attach to pool %s: %d: %s", name, result, lendis_strerror(result));
    return pool;
}

/* ---- checked work ---- */

static void count_failure(struct tally *tally, int result)
{
    switch (result) {
    case LENDIS_E_TIMEOUT:
        atomic_fetch_add(&tally->timeout, 1);
        break;
    case LENDIS_E_BUSY:
        atomic_fetch_add(&tally->busy, 1);
        break;
    case LENDIS_E_UNCERTAIN:
        atomic_fetch_add(&tally->uncertain, 1);
        break;
    case LENDIS_E_DOWN:
        atomic_fetch_add(&tally->down, 1);
        break;
    default:
        atomic_fetch_add(&tally->other, 1);
        atomic_store(&tally->other_last, result);
        break;
    }
}

static bool is_text(const redisReply *reply, int type, const char *text)
{
    return reply->type == type && reply->len == strlen(text) && strcmp(reply->str, text) == 0;
}

/* "number:" in front, as every value of this worker has. */
static bool is_own(const redisReply *reply, unsigned number)
{
    char prefix[32];

    snprintf(prefix, sizeof prefix, "%u:", number);
    return reply->type == REDIS_REPLY_STRING && strncmp(reply->str, prefix, strlen(prefix)) == 0;
}

static redisReply *say(struct lendis_pool *pool, unsigned number, unsigned long turn, bool *right)
{
    char unique[64];
    redisReply *reply;

    snprintf(unique, sizeof unique, "%u:%lu", number, turn);
    switch (turn % 3) {
    case 0:
        reply = lendis_command(pool, "ECHO %s", unique);
        *right = reply && is_text(reply, REDIS_REPLY_STRING, unique);
        return reply;
    case 1:
        reply = lendis_command(pool, "SET %u:key %s", number, unique);
        *right = reply && is_text(reply, REDIS_REPLY_STATUS, "OK");
        return reply;
    default:
        reply = lendis_command(pool, "GET %u:key", number);
        *right = reply && is_own(reply, number);
        return reply;
    }
}

bool talk(struct lendis_pool *pool, struct tally *tally, unsigned number, unsigned long turn)
{
    int64_t before_ns = now_ns();
    bool right;
    redisReply *reply = say(pool, number, turn, &right);
    long took_us = (long)((now_ns() - before_ns) / 1000);

    if (took_us > atomic_load(&tally->worst_us))
        atomic_store(&tally->worst_us, took_us);
    if (!reply) {
        count_failure(tally, lendis_pool_error(pool, NULL));
        return false;
    }
    if (right)
        atomic_fetch_add(&tally->good, 1);
    else if (turn % 3 == 2 && reply->type == REDIS_REPLY_NIL)
        atomic_fetch_add(&tally->missing, 1);
    else
        atomic_fetch_add(&tally->wrong, 1);
    if (!right && reply->str)
        fprintf(stderr, "worker %u, turn %lu: type %d: %.80s\n", number, turn, reply->type,
                reply->str);
    freeReplyObject(reply);
    return right;
}

unsigned long tally_failed(const struct tally *tally)
{
    return atomic_load(&tally->timeout) + atomic_load(&tally->busy) +
           atomic_load(&tally->uncertain) + atomic_load(&tally->down) + atomic_load(&tally->other);
}

void tally_processes(const struct processes *processes, struct tally *sum)
{
    *sum = (struct tally){0};
    for (unsigned i = 0; i < processes->count; i++) {
        const struct tally *one = processes_result(processes, i);

        sum->good += atomic_load(&one->good);
        sum->wrong += atomic_load(&one->wrong);
        sum->missing += atomic_load(&one->missing);
        sum->timeout += atomic_load(&one->timeout);
        sum->busy += atomic_load(&one->busy);
        sum->uncertain += atomic_load(&one->uncertain);
        sum->down += atomic_load(&one->down);
        sum->other += atomic_load(&one->other);
        if (atomic_load(&one->other_last) != 0)
            sum->other_last = atomic_load(&one->other_last);
        if (atomic_load(&one->worst_us) > sum->worst_us)
            sum->worst_us = atomic_load(&one->worst_us);
    }
}

void tally_print(const char *title, const struct tally *tally)
{
    fprintf(stderr,
            "%s: %lu good, %lu wrong, %lu missing; %lu timeout, %lu busy, %lu uncertain, %lu down, "
            "%lu other (last %d); worst %ld us\n",
            title, tally->good, tally->wrong, tally->missing, tally->timeout, tally->busy,
            tally->uncertain, tally->down, tally->other, tally->other_last, tally->worst_us);
}

int worker_of(const struct observer *observer, pid_t pid)
{
    const struct catalog *catalog = &observer->catalog;

    for (uint32_t i = 0; i < catalog->worker_max; i++)
        if (atomic_load(&catalog->workers[i].pool) != 0 && catalog->workers[i].pid == (uint32_t)pid)
            return (int)i;
    return -1;
}

unsigned workers_attached(const struct observer *observer)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < observer->catalog.worker_max; i++)
        count += atomic_load(&observer->catalog.workers[i].pool) != 0;
    return count;
}
