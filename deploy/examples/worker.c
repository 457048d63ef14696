/* SPDX-License-Identifier: MIT */
/*
 * A prefork program that borrows its Redis connections: four workers count visits.
 *
 *   cc worker.c -o worker $(pkg-config --cflags --libs lendis)
 *   ./worker [POOL]
 *
 * The handle is made once, before fork(2), and works in every child. $LENDIS_SOCKET names the
 * broker's socket unless it is /run/lendis/lendis.sock.
 */
#include <lendis_hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 4

static int work(struct lendis_pool *pool)
{
    redisReply *reply = lendis_command(pool, "INCR %s", "visits");
    const char *problem;
    int result = EXIT_FAILURE;

    if (!reply) {
        lendis_pool_error(pool, &problem);
        fprintf(stderr, "worker %d: %s\n", (int)getpid(), problem);
        return EXIT_FAILURE;
    }
    if (reply->type == REDIS_REPLY_INTEGER) {
        printf("worker %d: visit %lld\n", (int)getpid(), reply->integer);
        result = EXIT_SUCCESS;
    } else {
        fprintf(stderr, "worker %d: Redis says: %s\n", (int)getpid(),
                reply->str ? reply->str : "?");
    }
    freeReplyObject(reply);
    return result;
}

int main(int argc, char **argv)
{
    struct lendis_pool *pool;
    int result = lendis_attach(NULL, argc > 1 ? argv[1] : "main", NULL, &pool);
    int failed = 0, started = 0, status;

    if (result != 0) {
        fprintf(stderr, "cannot attach: %s\n", lendis_strerror(result));
        return EXIT_FAILURE;
    }
    for (; started < WORKERS; started++) {
        pid_t child = fork();

        if (child < 0)
            break;
        if (child == 0)
            exit(work(pool));
    }
    while (wait(&status) > 0)
        failed += status != 0;
    lendis_detach(pool);
    return started == WORKERS && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
