/* SPDX-License-Identifier: MIT */
/*
 * A client of clients.sh, by hiredis: so many processes, which each write and read numbers. With
 * `sync` one command after the other, and pipelines; with `async` on some connections at a time,
 * driven by poll(2). Prints how many turns were right. client sync|async PORT PROCESSES TURNS
 */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECTIONS 4
#define LIMIT_MS    20000

static int port, processes, turns;

static bool is(redisReply *reply, const char *wanted)
{
    bool same = reply && reply->str && strcmp(reply->str, wanted) == 0;

    freeReplyObject(reply);
    return same;
}

static bool turn(redisContext *redis, const char *name)
{
    void *first = NULL, *second = NULL;
    char echoed[40];
    bool good = is(redisCommand(redis, "SET %s %s", name, name), "OK") &&
                is(redisCommand(redis, "GET %s", name), name);

    redisAppendCommand(redis, "GET %s", name);
    redisAppendCommand(redis, "ECHO e%s", name);
    snprintf(echoed, sizeof echoed, "e%s", name);
    if (redisGetReply(redis, &first) != REDIS_OK || redisGetReply(redis, &second) != REDIS_OK)
        return false;
    good = is(first, name) && good;
    return is(second, echoed) && good;
}

static int sync_process(int index)
{
    redisContext *redis = redisConnect("127.0.0.1", port);
    int right = 0;

    for (int i = 0; redis && !redis->err && i < turns; i++) {
        char name[32];

        snprintf(name, sizeof name, "c-%d-%d", index, i);
        right += turn(redis, name);
    }
    if (redis)
        redisFree(redis);
    return right == turns ? 0 : 1;
}

/* ---- async ---- */

struct driven {
    redisAsyncContext *redis;
    bool reads, writes;
    int index, number, done, right; /* the process', its own, turns */
};

static void reads(void *data)
{
    ((struct driven *)data)->reads = true;
}

static void reads_not(void *data)
{
    ((struct driven *)data)->reads = false;
}

static void writes(void *data)
{
    ((struct driven *)data)->writes = true;
}

static void writes_not(void *data)
{
    ((struct driven *)data)->writes = false;
}

static void ends(void *data)
{
    ((struct driven *)data)->redis = NULL;
}

static void ask(struct driven *driven);

static void answered(redisAsyncContext *redis, void *answer, void *data)
{
    struct driven *driven = data;
    const redisReply *reply = answer;
    char wanted[32];

    snprintf(wanted, sizeof wanted, "a-%d-%d-%d", driven->index, driven->number, driven->done);
    driven->right += reply && reply->str && strcmp(reply->str, wanted) == 0;
    driven->done++;
    if (reply && driven->done < turns)
        ask(driven);
    else if (reply)
        redisAsyncDisconnect(redis);
}

static void ask(struct driven *driven)
{
    char name[32];

    snprintf(name, sizeof name, "a-%d-%d-%d", driven->index, driven->number, driven->done);
    redisAsyncCommand(driven->redis, NULL, NULL, "SET %s %s", name, name);
    redisAsyncCommand(driven->redis, answered, driven, "GET %s", name);
}

static void drive(struct driven *driven)
{
    *driven = (struct driven){driven->redis, false, false, driven->index, driven->number, 0, 0};
    driven->redis = redisAsyncConnect("127.0.0.1", port);
    driven->redis->ev.data = driven;
    driven->redis->ev.addRead = reads;
    driven->redis->ev.delRead = reads_not;
    driven->redis->ev.addWrite = writes;
    driven->redis->ev.delWrite = writes_not;
    driven->redis->ev.cleanup = ends;
    driven->writes = true; /* it connects */
    ask(driven);
}

/* One round of poll(2). False: all have ended, or nothing comes. */
static bool serve(struct driven *all)
{
    struct pollfd waited[CONNECTIONS];
    int live = 0;

    for (int i = 0; i < CONNECTIONS; i++) {
        waited[i].fd = all[i].redis ? all[i].redis->c.fd : -1;
        waited[i].events = (short)((all[i].reads ? POLLIN : 0) | (all[i].writes ? POLLOUT : 0));
        live += all[i].redis != NULL;
    }
    if (live == 0 || poll(waited, CONNECTIONS, LIMIT_MS) <= 0)
        return false;
    for (int i = 0; i < CONNECTIONS; i++) {
        if (all[i].redis && waited[i].revents & (POLLIN | POLLHUP | POLLERR))
            redisAsyncHandleRead(all[i].redis);
        if (all[i].redis && waited[i].revents & POLLOUT)
            redisAsyncHandleWrite(all[i].redis);
    }
    return true;
}

static int async_process(int index)
{
    struct driven all[CONNECTIONS];
    int right = 0;

    for (int i = 0; i < CONNECTIONS; i++) {
        all[i].index = index;
        all[i].number = i;
        drive(&all[i]);
    }
    while (serve(all)) {
    }
    for (int i = 0; i < CONNECTIONS; i++)
        right += all[i].right;
    return right == CONNECTIONS * turns ? 0 : 1;
}

int main(int argc, char *argv[])
{
    bool async = argc > 1 && strcmp(argv[1], "async") == 0;
    int right = 0, status;

    if (argc != 5)
        return 64;
    port = atoi(argv[2]);
    processes = atoi(argv[3]);
    turns = atoi(argv[4]);
    for (int i = 0; i < processes; i++)
        if (fork() == 0)
            _exit(async ? async_process(i) : sync_process(i));
    for (int i = 0; i < processes; i++)
        right += wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("right %d\n", right * turns);
    return 0;
}
