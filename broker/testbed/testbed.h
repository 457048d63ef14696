/* SPDX-License-Identifier: MIT */
/*
 * What tests, benchmarks and lendis' measuring tools stand on: a private directory, and in it
 * programs of their own, a real redis-server and a real lendisd.
 *
 * A process owns everything that it starts here: programs get PR_SET_PDEATHSIG, so nothing outlives
 * it however it ends, and the directory goes with it. Functions without a result give up when their
 * work cannot be done: they say why, print the servers' logs and end the process with status 1.
 * Nothing here sleeps for a fixed time: everything polls a condition up to a limit.
 *
 * Start programs from the main thread: PR_SET_PDEATHSIG fires when the starting *thread* ends
 * (prctl(2)).
 *
 * Environment: TMPDIR; LENDIS_KEEP=1 keeps the directory of a process that failed; LENDISD is the
 * broker's program, else see testbed_program(); REDIS_SERVER, else redis-server. With REDIS_TLS,
 * which is a tls_mode, all URLs of servers are those with TLS, and configurations have what pools
 * need for it.
 */
#ifndef LENDIS_TESTBED_H
#define LENDIS_TESTBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>
#include <hiredis/hiredis.h>
#include "broker/base/proc_text.h"

#define TESTBED_PATH_SIZE 128

/*
 * Of a tool for people: logs are printed by give_up() alone, not because the tool ends with another
 * status than 0, and Ctrl-C ends it in silence. To be called first.
 */
void testbed_is_tool(void);

/* ---- time and conditions ---- */

/* CLOCK_MONOTONIC in nanoseconds. */
static inline int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline int64_t now_ms(void)
{
    return now_ns() / 1000000;
}

void sleep_us(int64_t us);

/* Polls every millisecond: true as soon as the expression is, false when it still was not after
 * limit_ms. As in assert_true(eventually(count_fds(pid) == before, 1000)). */
#define eventually(expression, limit_ms)                                                           \
    ({                                                                                             \
        int64_t eventually_until = now_ns() + (int64_t)(limit_ms)*1000000;                         \
        bool eventually_held;                                                                      \
        while (!(eventually_held = (expression)) && now_ns() < eventually_until)                   \
            sleep_us(1000);                                                                        \
        eventually_held;                                                                           \
    })

/* Ends the process (a forked worker: that worker) with status 1, after this message and the logs.
 */
void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- the private directory ---- */

/* The directory, made by the first call; mode 0700. */
const char *scratch_directory(void);

/* Lets processes of other users pass through it (mode 0711), for tests of permissions. */
void scratch_share(void);

/* `path`, of TESTBED_PATH_SIZE, becomes directory/name; the name is formatted. */
void scratch_path(char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- programs ---- */

/*
 * The path of a program that belongs to this one: beside it, in ../sbin as it is installed, in
 * $LENDIS_BUILD, in build; else `name`, for PATH. Static storage.
 */
const char *testbed_program(const char *name);

/* Looks for somebody else's program in PATH, then where daemons are, which is not in everybody's
 * PATH. A name with a slash is a path. False: it is not there. */
bool program_find(const char *name, char *path, size_t size);

/*
 * Starts a program with its output appended to log_path, SIGKILLed when this thread ends, with no
 * descriptor of ours, and with RLIMIT_NOFILE `nofile` unless that is 0. argv[0] is looked for in
 * PATH.
 */
pid_t program_start(const char *const argv[], const char *log_path, rlim_t nofile);

/* Waits until it ends. Results: its wait status (waitpid(2)); -1, it still ran after limit_ms. */
int program_wait(pid_t pid, int limit_ms);

/* True once it ended by itself; it can still be waited for. */
bool program_ended(pid_t pid);

/*
 * Runs a program to its end, at most limit_ms (then it is killed and the test given up). Results:
 * its exit status, 128 + signal if it was killed, and its stdout and stderr, zero-terminated, in
 * `output`.
 */
int program_run(const char *const argv[], char *output, size_t size, int limit_ms);

/* The path of a program of ours, "lendisctl" say: $LENDIS_BUILD/name, else build/name. Static
 * storage. */
const char *built_program(const char *name);

/* A socket bound to a free loopback port, not listening, with SO_REUSEADDR: as long as it is open,
 * only a server that binds with SO_REUSEADDR as well can have the port. */
int reserve_port(int *port);

/* ---- processes ---- */

/* Open descriptors of a process; -1 when it is gone. */
int count_fds(pid_t pid);

/* Prints what they are to stderr, for the failure message of a leak. */
void print_fds(pid_t pid);

/* Its memory. False: the process is gone or may not be read. */
bool process_memory(pid_t pid, struct smaps *memory);

struct process_use {
    uint64_t ticks;    /* utime + stime, sysconf(_SC_CLK_TCK) a second */
    uint64_t switches; /* voluntary: times that it went to sleep */
};

/* False: the process is gone. */
bool process_use(pid_t pid, struct process_use *use);

/* CPU time that it uses within `ms`, in milliseconds. */
unsigned process_cpu_ms(pid_t pid, int ms);

/* ---- a real Redis ---- */

struct certificate; /* certificates.h */

struct redis_server {
    /* Set by the caller before redis_start(); all zero is a server without password on a Unix
     * socket. */
    bool tcp;                      /* on a free loopback port as well */
    const char *password;          /* requirepass */
    const struct certificate *tls; /* with TLS on a free loopback port as well, as this */
    unsigned maxclients;           /* 0: Redis' default */
    const char *const *arguments;  /* further ones, NULL-terminated: "--timeout", "1", NULL */

    /* Set by redis_start(). */
    pid_t pid; /* 0: not running */
    int port;  /* 0: none; kept over restarts */
    int port_fd;
    int tls_port; /* likewise */
    int tls_port_fd;
    char socket_path[TESTBED_PATH_SIZE];
    char log_path[TESTBED_PATH_SIZE];
    char unix_url[TESTBED_PATH_SIZE + 16]; /* unix:///path?db=0 */
    char tcp_url[64];                      /* redis://127.0.0.1:port/0 */
    char tls_url[64];                      /* rediss://127.0.0.1:tls_port/0 */
};

/* Starts it and waits until it answers PING. After redis_stop() or redis_kill(): again, at the same
 * address. */
void redis_start(struct redis_server *server);

/* SIGTERM, SIGKILL; returns when it is gone. Nothing happens when it does not run. */
void redis_stop(struct redis_server *server);
void redis_kill(struct redis_server *server);
void redis_restart(struct redis_server *server);

/* SIGSTOP and SIGCONT: a server that hangs, with its connections open. */
void redis_pause(struct redis_server *server);
void redis_continue(struct redis_server *server);

/* A plain connection of the test's own, authenticated, that gives up on what takes longer than 5 s;
 * redisFree() it. */
redisContext *redis_open(const struct redis_server *server);

/* The reply to one command on a connection of its own; freeReplyObject() it. Error replies are
 * replies. */
redisReply *redis_do(const struct redis_server *server, const char *format, ...);

/*
 * A number of INFO ALL: redis_info(&server, "connected_clients"). The connection that asks is taken
 * off connected_clients. Gives up when there is no such field.
 */
long long redis_info(const struct redis_server *server, const char *field);

/* ---- the broker ---- */

struct lendisd {
    /* Set by the caller before lendisd_start(), or 0. */
    rlim_t nofile;                /* RLIMIT_NOFILE of the broker */
    const char *const *arguments; /* further ones, NULL-terminated */

    /* Set by lendisd_start(). */
    pid_t pid; /* 0: not running */
    char config_path[TESTBED_PATH_SIZE];
    char socket_path[TESTBED_PATH_SIZE];
    char log_path[TESTBED_PATH_SIZE];
};

/*
 * Writes a configuration and starts lendisd with it, until its socket accepts. The text follows
 * "[broker]\nsocket = ...\n", so it may begin with further keys of [broker]:
 *
 *   lendisd_start(&broker, "log_level = debug\n[pool p]\nredis = %s\nsize = 4\nmin_idle = 4\n",
 * redis.unix_url);
 */
void lendisd_start(struct lendisd *broker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Only writes the configuration: before lendisd_launch(), or before a SIGHUP. */
void lendisd_configure(struct lendisd *broker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Starts it with the configuration that it had; `wait` until its socket accepts. */
void lendisd_launch(struct lendisd *broker, bool wait);

/* SIGTERM; its wait status: 0 is a clean exit. Gives up after 10 s. -1, it was not running. */
int lendisd_stop(struct lendisd *broker);

void lendisd_kill(struct lendisd *broker);
void lendisd_restart(struct lendisd *broker); /* kill and launch */
void lendisd_pause(struct lendisd *broker);
void lendisd_continue(struct lendisd *broker);

/* A raw connection to a broker's socket, for clients that do not follow the rules; its
 * descriptor blocks. Results: the descriptor; -errno. */
int lendisd_connect(const char *socket_path);

/* True if the log has this text now. It is behind what the broker does: for conditions of
 * eventually(), and for what another than the broker's log writes there. */
bool lendisd_log_has(const struct lendisd *broker, const char *text);

/* True as soon as the log has this text, false when it has not got it in 10 s. */
bool lendisd_logged(const struct lendisd *broker, const char *text);

/* True if the log has no such text, nor gets it within a moment. */
bool lendisd_silent_about(const struct lendisd *broker, const char *text);

#endif
