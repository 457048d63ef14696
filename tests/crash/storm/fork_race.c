/* SPDX-License-Identifier: MIT */
/*
 * Regression: forks while another thread changes descriptors.
 *
 * fork(2) copies the table of descriptors first and the memory later (copy_process() in
 * kernel/fork.c: copy_files(), then copy_mm()). A thread that receives a descriptor in between
 * leaves the child a memory that names a descriptor which the child does not have: a number that is
 * free, or that is something else there. Seen as EBADF in a storm; worse was a file of the
 * program's that the library closed.
 *
 * One thread makes the library receive and close descriptors all the time, first by discarding
 * connections, then by attaching; children are forked meanwhile. Each puts decoys in the place of
 * whatever is free, uses the handle, detaches or both, and checks every reply and the decoys.
 *
 * Environment: FORK_RACE_MS (1500), for each part.
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

#define SIZE        4u
#define COMMANDS    12
#define DECOYS      32
#define CHILDREN    4
#define HANDLES_MAX 300u

/* In memory that the children share. */
struct report {
    atomic_bool stop;
    atomic_uint rounds;
    atomic_uint bad;
    atomic_bool told;
    char text[256];
};

static struct lendisd broker;
static struct report *report;
/* What a child uses. */
static _Atomic(struct lendis_pool *) pool;
static struct lendis_pool *handles[HANDLES_MAX];

static void complain(const char *what, const char *why)
{
    atomic_fetch_add(&report->bad, 1);
    if (!atomic_exchange(&report->told, true))
        snprintf(report->text, sizeof report->text, "%s: %s", what, why);
}

static struct lendis_pool *attach(unsigned flags)
{
    struct lendis_options options = {.size = sizeof options, .flags = flags};
    struct lendis_pool *made;
    int result = lendis_attach(broker.socket_path, "p", &options, &made);

    if (result != 0)
        give_up("attach: %s", lendis_strerror(result));
    return made;
}

/* Each discarded connection is replaced, so the next lease fetches a descriptor. */
static void *fetch(void *unused)
{
    (void)unused;
    while (!atomic_load(&report->stop)) {
        struct lendis_lease *lease;

        if (lendis_acquire(pool, 1000, &lease) != 0)
            continue;
        lendis_discard(lease);
        atomic_fetch_add(&report->rounds, 1);
    }
    return NULL;
}

/* The children see each handle before it is attached, while it is, and afterwards. It is never
 * detached while one could be using it. */
static void *attach_again(void *unused)
{
    (void)unused;
    while (!atomic_load(&report->stop) && atomic_load(&report->rounds) < HANDLES_MAX) {
        struct lendis_lease *lease;

        pool = handles[atomic_load(&report->rounds)] = attach(LENDIS_LAZY);
        sleep_us(500);
        if (lendis_acquire(pool, 1000, &lease) == 0)
            lendis_release(lease);
        atomic_fetch_add(&report->rounds, 1);
        sleep_us(1000);
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

_Noreturn static void be_child(int kind)
{
    int decoys[DECOYS];

    place_decoys(decoys);
    if (kind != 0)
        use_handle();
    if (kind <= 1)
        lendis_detach(pool);
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
                be_child(i);
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

/* Results: true if it went well. */
static bool part(unsigned number, const char *name, void *(*beside)(void *))
{
    const char *limit = getenv("FORK_RACE_MS");
    unsigned children;
    pthread_t thread;
    bool right;

    memset(report, 0, sizeof *report);
    if (pthread_create(&thread, NULL, beside, NULL) != 0)
        give_up("no thread");
    children = fork_children(now_ms() + (limit && *limit ? atoi(limit) : 1500));
    atomic_store(&report->stop, true);
    pthread_join(thread, NULL);
    if (atomic_load(&report->told))
        fprintf(stderr, "%s\n", report->text);
    right = atomic_load(&report->bad) == 0 && children > 0 && atomic_load(&report->rounds) > 0;
    printf("%sok %u - %u children forked beside %u rounds of %s, %u bad\n", right ? "" : "not ",
           number, children, atomic_load(&report->rounds), name, atomic_load(&report->bad));
    return right;
}

int main(void)
{
    struct redis_server redis = {0};
    struct lendis_pool *first;
    bool right;

    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        give_up("mmap: %s", strerror(errno));
    redis_start(&redis);
    lendisd_start(&broker, "[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\n", redis.unix_url, SIZE,
                  SIZE);
    pool = first = attach(0);
    right = part(1, "discarding", fetch);
    right = part(2, "attaching", attach_again) && right;
    printf("1..2\n");
    lendis_detach(first);
    for (unsigned i = 0; i < HANDLES_MAX; i++)
        lendis_detach(handles[i]);
    lendisd_kill(&broker);
    return right ? 0 : 1;
}
