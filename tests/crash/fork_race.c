/* SPDX-License-Identifier: MIT */
/*
 * Regression: forks while another thread changes descriptors.
 *
 * fork(2) copies the table of descriptors first and the memory later (copy_process() in
 * kernel/fork.c: copy_files(), then copy_mm()). A thread that receives a descriptor in between
 * leaves its child a cache that names a descriptor which the child does not have: a number that is
 * free, or that is something else there. Seen as EBADF in a storm; worse would be a command written
 * to a file of the program's.
 *
 * One thread makes the library close and receive descriptors all the time; children are forked
 * meanwhile, and each puts decoys in the place of whatever is free, uses the handle, and checks
 * every reply and the decoys.
 *
 * Environment: FORK_RACE_MS (2000).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lendis_hiredis.h"
#include "tests/support/support.h"

#define SIZE     4u
#define COMMANDS 12
#define DECOYS   32
#define CHILDREN 4

/* In memory that the children share. */
struct report {
    atomic_bool stop;
    atomic_uint fetched;
    atomic_uint bad;
    atomic_bool told;
    char text[256];
};

static struct lendis_pool *pool;
static struct report *report;

static void complain(const char *what, const char *why)
{
    atomic_fetch_add(&report->bad, 1);
    if (!atomic_exchange(&report->told, true))
        snprintf(report->text, sizeof report->text, "%s: %s", what, why);
}

/* Each discarded connection is replaced, so the next lease fetches a descriptor. */
static void *churn(void *unused)
{
    (void)unused;
    while (!atomic_load(&report->stop)) {
        struct lendis_lease *lease;

        if (lendis_acquire(pool, 1000, &lease) != 0)
            continue;
        lendis_discard(lease);
        atomic_fetch_add(&report->fetched, 1);
    }
    return NULL;
}

static void use_handle(void)
{
    for (int i = 0; i < COMMANDS; i++) {
        char token[32];
        redisReply *reply;

        snprintf(token, sizeof token, "%d:%d", (int)getpid(), i);
        reply = lendis_command(pool, "ECHO %s", token);
        if (!reply)
            complain("a command in a child", lendis_strerror(lendis_pool_error(pool, NULL)));
        else if (!reply->str || strcmp(reply->str, token) != 0)
            complain("a wrong reply in a child", reply->str ? reply->str : "no text");
        if (reply)
            freeReplyObject(reply);
    }
}

/* Memory files: a write to one shows, and so does its disappearance. */
static void place_decoys(int *decoys)
{
    for (int i = 0; i < DECOYS; i++)
        decoys[i] = memfd_create("decoy", MFD_CLOEXEC);
}

static void check_decoys(const int *decoys)
{
    for (int i = 0; i < DECOYS; i++) {
        off_t size = lseek(decoys[i], 0, SEEK_END);

        if (size != 0)
            complain("a file of the program's", size < 0 ? strerror(errno) : "was written to");
    }
}

_Noreturn static void be_child(void)
{
    int decoys[DECOYS];

    place_decoys(decoys);
    use_handle();
    check_decoys(decoys);
    _exit(0);
}

static unsigned fork_children(int64_t until_ms)
{
    unsigned count = 0;

    while (now_ms() < until_ms) {
        pid_t pids[CHILDREN];

        for (int i = 0; i < CHILDREN; i++) {
            pids[i] = fork();
            if (pids[i] == 0)
                be_child();
            if (pids[i] < 0)
                give_up("fork: %s", strerror(errno));
        }
        for (int i = 0; i < CHILDREN; i++) {
            int status;

            if (waitpid(pids[i], &status, 0) == pids[i] && status != 0)
                complain("a child", "ended badly");
        }
        count += CHILDREN;
    }
    return count;
}

int main(void)
{
    const char *limit = getenv("FORK_RACE_MS");
    struct redis_server redis = {0};
    struct lendisd broker = {0};
    pthread_t thread;
    unsigned children;
    int result;

    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        give_up("mmap: %s", strerror(errno));
    redis_start(&redis);
    lendisd_start(&broker, "[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\n", redis.unix_url, SIZE,
                  SIZE);
    result = lendis_attach(broker.socket_path, "p", NULL, &pool);
    if (result != 0)
        give_up("attach: %s", lendis_strerror(result));
    if (pthread_create(&thread, NULL, churn, NULL) != 0)
        give_up("no thread");
    children = fork_children(now_ms() + (limit && *limit ? atoi(limit) : 2000));
    atomic_store(&report->stop, true);
    pthread_join(thread, NULL);
    lendis_detach(pool);
    if (atomic_load(&report->told))
        fprintf(stderr, "%s\n", report->text);
    printf("%sok 1 - %u children forked beside %u fetches, %u bad\n1..1\n",
           atomic_load(&report->bad) ? "not " : "", children, atomic_load(&report->fetched),
           atomic_load(&report->bad));
    return atomic_load(&report->bad) || children == 0 || atomic_load(&report->fetched) == 0 ? 1 : 0;
}
