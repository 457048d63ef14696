/* SPDX-License-Identifier: MIT */
/*
 * A program that knows nothing of lendis: sockets, bytes and RESP alone. The tests run it with the
 * preloaded library. Each scenario is a function that returns 0, or prints what went wrong.
 */
#ifndef LENDIS_TESTS_PRELOAD_CLIENT_H
#define LENDIS_TESTS_PRELOAD_CLIENT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Ends the scenario, and the process, unless `condition` holds. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %m)\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The reply is exactly this. */
#define EXPECT(reply, expected)                                                                    \
    do {                                                                                           \
        const char *expect_got = (reply);                                                          \
        if (strcmp(expect_got, (expected)) != 0) {                                                 \
            fprintf(stderr, "%s:%d: %s instead of %s\n", __FILE__, __LINE__, expect_got,           \
                    (expected));                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A connected socket, to $REDIS_PORT at 127.0.0.1. */
int dial(void);
int dial_with(int flags);

/* A command in RESP; NULL ends it. Results: its size. */
size_t request(char *to, size_t room, ...);

/* Sends a command and returns the reply's bytes, static storage; "EOF" or "ERRNO n". */
const char *ask(int fd, ...);
void tell(int fd, const char *data, size_t size);
const char *hear(int fd);

/* SET and GET of a key of its own, `count` times. */
void talk(int fd, int count);

/* A child's end: 0, it went well. */
int child_status(pid_t pid);

/* The C library's own syscall(2), whatever was preloaded. */
extern long (*raw)(long number, ...);
void find_raw(void);

struct scenario {
    const char *name;
    int (*run)(void);
};

extern const struct scenario basic_scenarios[], process_scenarios[], raw_scenarios[],
    rare_scenarios[], attack_scenarios[];

#endif
