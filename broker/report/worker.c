/* SPDX-License-Identifier: MIT */
/*
 * The workers: see worker.h. Whatever the variant, each sends the same commands to the same
 * servers, one after the other; a worker without Redis does all but that.
 */
#include "broker/report/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/internal.h"
#include "broker/testbed/tls_client.h"
#include "lendis_hiredis.h"

/* How often each connection is used before a worker is ready: both kinds of commands, twice. */
#define FIRST_ROUNDS 4
/* Busy workers pause between two commands, as programs do that have something else to do. */
#define THINK_US 10000
/* Nobody got ready for so long: something hangs. */
#define READY_LIMIT_MS  30000
#define STOP_LIMIT_MS   30000
#define TIMEOUT_S       10
#define PERSONALITY_ASK 0xffffffffUL

/* Of a worker's own work. */
#define OWN_HEAP  (64 * 1024)
#define OWN_BLOCK 496
#define OWN_STACK (32 * 1024)

/* ---- one worker ---- */

/* Of its own: one of the two. */
struct connection {
    redisContext *plain;
    struct tls_client *tls;
};

struct worker {
    struct plan *plan;
    unsigned number;
    const char *value;
    struct connection *connections[PLAN_TARGETS_MAX];
    struct lendis_pool *pools[PLAN_TARGETS_MAX]; /* targets of one name have one */
    unsigned long turn;
};

static __attribute__((noreturn)) void fail(struct plan *plan, const char *what, const char *why)
{
    if (atomic_fetch_add(&plan->failed, 1) == 0)
        snprintf(plan->problem, sizeof plan->problem, "%s: %s", what, why);
    _exit(1);
}

/*
 * What a program has that does something else, too: a heap, a stack that was used, formatted text.
 * Without it, the first page of each would be put down to connections.
 */
static void own_work(struct worker *worker)
{
    char stack[OWN_STACK];

    for (size_t used = 0; used < OWN_HEAP; used += OWN_BLOCK) {
        char *block = malloc(OWN_BLOCK);

        if (!block)
            fail(worker->plan, "own work", "no memory");
        memset(block, (int)worker->number,
               OWN_BLOCK); /* kept: it is in use as long as the worker is */
    }
    for (size_t used = 0; used + 64 < sizeof stack; used += 64)
        snprintf(stack + used, 64, "%u:%.3f:%s", worker->number, (double)used, strerror(0));
    free(strdup(stack));
}

static redisContext *connect_to(struct plan *plan, const struct plan_target *target)
{
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    redisContext *context = target->port ? redisConnectWithTimeout("127.0.0.1", target->port, limit)
                                         : redisConnectUnixWithTimeout(target->socket_path, limit);

    if (!context || context->err)
        fail(plan, "connect", context ? context->errstr : "no memory");
    redisSetTimeout(context, limit);
    return context;
}

static struct tls_client *connect_with_tls(struct plan *plan, const struct plan_target *target)
{
    char text[200];
    struct tls_client *client = tls_client_open(target->tls_url, NULL, text, sizeof text);

    if (!client)
        fail(plan, "connect", text);
    return client;
}

static void connect_all(struct worker *worker, unsigned t)
{
    const struct plan_target *target = &worker->plan->targets[t];

    worker->connections[t] = calloc(target->connections, sizeof(struct connection));
    if (!worker->connections[t])
        fail(worker->plan, "connect", "no memory");
    for (unsigned i = 0; i < target->connections; i++)
        if (target->tls_url[0])
            worker->connections[t][i].tls = connect_with_tls(worker->plan, target);
        else
            worker->connections[t][i].plain = connect_to(worker->plan, target);
}

static void attach_to(struct worker *worker, unsigned t)
{
    struct plan *plan = worker->plan;
    const struct lendis_options options = {.size = sizeof options,
                                           .attach_timeout_ms = TIMEOUT_S * 1000};
    int result;

    for (unsigned before = 0; before < t; before++)
        if (strcmp(plan->targets[before].pool, plan->targets[t].pool) == 0) {
            worker->pools[t] = worker->pools[before];
            return;
        }
    result = lendis_attach(plan->broker_socket, plan->targets[t].pool, &options, &worker->pools[t]);
    if (result != 0)
        fail(plan, "lendis_attach", lendis_strerror(result));
}

/* One command to a target, by connection `c` where there is one. */
static void talk(struct worker *worker, unsigned t, unsigned c)
{
    struct plan *plan = worker->plan;
    const struct plan_target *target = &plan->targets[t];
    bool set = target->use == USE_WRITE || (target->use == USE_MIXED && worker->turn % 2 == 0);
    unsigned key = (unsigned)((worker->number + worker->turn) % PLAN_KEYS);
    const struct connection *own = worker->connections[t] ? &worker->connections[t][c] : NULL;
    redisReply *reply;
    const char *why;

    worker->turn++;
    if (plan->variant == VARIANT_NONE)
        return;
    if (set && own)
        reply = tls_client_command(own->tls, own->plain, "SET key:%u %b", key, worker->value,
                                   (size_t)plan->value_bytes);
    else if (own)
        reply = tls_client_command(own->tls, own->plain, "GET key:%u", key);
    else if (set)
        reply = lendis_command(worker->pools[t], "SET key:%u %b", key, worker->value,
                               (size_t)plan->value_bytes);
    else
        reply = lendis_command(worker->pools[t], "GET key:%u", key);
    if (!reply && !own)
        lendis_pool_error(worker->pools[t], &why);
    if (!reply)
        fail(plan, set ? "SET" : "GET",
             !own         ? why
             : own->plain ? own->plain->errstr
                          : "the connection was lost");
    if (reply->type != (set ? REDIS_REPLY_STATUS : REDIS_REPLY_STRING))
        fail(plan, set ? "SET" : "GET",
             reply->type == REDIS_REPLY_ERROR ? reply->str : "not the reply to this");
    freeReplyObject(reply);
}

/* A command for each connection that a worker has, or would have. */
static void use_all(struct worker *worker, bool think)
{
    struct plan *plan = worker->plan;

    for (unsigned t = 0; t < plan->target_count; t++)
        for (unsigned c = 0; c < plan->targets[t].connections; c++) {
            talk(worker, t, c);
            if (think) {
                atomic_fetch_add(&plan->commands, 1);
                sleep_us(THINK_US);
            }
        }
}

static _Noreturn void work(struct plan *plan, unsigned number, const char *value)
{
    struct worker worker = {.plan = plan, .number = number, .value = value};

    own_work(&worker);
    for (unsigned t = 0; t < plan->target_count; t++)
        if (plan->variant == VARIANT_DIRECT)
            connect_all(&worker, t);
        else if (plan->variant == VARIANT_LENDIS)
            attach_to(&worker, t);
    for (int i = 0; i < FIRST_ROUNDS; i++)
        use_all(&worker, false);
    atomic_fetch_add(&plan->ready, 1);
    while (plan->busy)
        use_all(&worker, true);
    for (;;)
        pause();
}

/* ---- their master ---- */

static struct plan *plan_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat stat;
    struct plan *plan;

    if (fd < 0 || fstat(fd, &stat) < 0)
        give_up("%s: %s", path, strerror(errno));
    plan = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (plan == MAP_FAILED)
        give_up("%s: %s", path, strerror(errno));
    return plan;
}

int workers_run(const char *plan_path)
{
    struct plan *plan = plan_map(plan_path);
    pid_t master = getpid(), parent = getppid();
    char *value = malloc(plan->value_bytes + 1);

    die_with(parent);
    if (!value)
        give_up("no memory for a value");
    memset(value, 'v', plan->value_bytes);
    /* As a server's master has it loaded before it forks. */
    if (plan->variant == VARIANT_DIRECT && plan->targets[0].tls_url[0] && tls_client_load())
        give_up("%s", tls_client_load());
    for (unsigned i = 0; i < plan->workers; i++) {
        pid_t pid = fork();

        if (pid < 0) {
            atomic_fetch_add(&plan->failed, 1);
            snprintf(plan->problem, sizeof plan->problem, "fork: %s", strerror(errno));
            break;
        }
        if (pid == 0) {
            die_with(master);
            work(plan, i, value);
        }
        atomic_store(&plan->pids[i], pid);
    }
    while (!atomic_load(&plan->stop))
        sleep_us(20000);
    for (unsigned i = 0; i < plan->workers; i++)
        if (atomic_load(&plan->pids[i]) > 0)
            kill(atomic_load(&plan->pids[i]), SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}

/* ---- who starts them ---- */

struct plan *plan_new(unsigned workers, char path[TESTBED_PATH_SIZE])
{
    static unsigned number;
    size_t size = sizeof(struct plan) + workers * sizeof(atomic_int);
    struct plan *plan;
    int fd;

    scratch_path(path, "plan%u", ++number);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        give_up("%s: %s", path, strerror(errno));
    close(fd);
    plan = plan_map(path);
    plan->workers = workers;
    return plan;
}

void plan_free(struct plan *plan)
{
    munmap(plan, sizeof *plan + plan->workers * sizeof(atomic_int));
}

/*
 * Where things are in memory decides how many pages they touch, and all workers have it from their
 * master: without randomization, which stays off over exec (personality(2)), all variants have it
 * alike.
 */
pid_t workers_start(const char *plan_path)
{
    char self[4096], log_path[TESTBED_PATH_SIZE];
    const char *const argv[] = {self, WORKER_ARGUMENT, plan_path, NULL};
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    int before;
    pid_t pid;

    if (length < 0)
        give_up("/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    scratch_path(log_path, "workers.log");
    before = personality(PERSONALITY_ASK);
    personality((unsigned long)before | ADDR_NO_RANDOMIZE);
    pid = program_start(argv, log_path, 0);
    personality((unsigned long)before);
    return pid;
}

void workers_wait(const struct plan *plan, pid_t master,
                  void (*progress)(unsigned ready, unsigned all))
{
    int64_t until_ms = now_ms() + READY_LIMIT_MS;
    unsigned ready = 0;

    while (ready < plan->workers) {
        unsigned now = atomic_load(&plan->ready);

        if (now != ready)
            until_ms = now_ms() + READY_LIMIT_MS;
        ready = now;
        progress(ready, plan->workers);
        if (atomic_load(&plan->failed))
            give_up("a worker failed: %s", plan->problem);
        if (program_ended(master))
            give_up("the master of the workers ended");
        if (now_ms() > until_ms)
            give_up("%u of %u workers are ready, and no more get so", ready, plan->workers);
        sleep_us(20000);
    }
}

void workers_stop(struct plan *plan, pid_t master)
{
    atomic_store(&plan->stop, 1);
    if (program_wait(master, STOP_LIMIT_MS) == -1)
        give_up("the workers do not end");
}
