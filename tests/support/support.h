/* SPDX-License-Identifier: MIT */
/*
 * What system tests, crash tests and benchmarks have in common: a private directory, a real
 * redis-server and a real lendisd in it, a Redis that misbehaves on demand, forked workers, and a
 * look into segments.
 *
 * A test process owns everything that it starts here: servers and workers get PR_SET_PDEATHSIG, so
 * nothing outlives the test however it ends, and the directory goes with it. Functions without a
 * result give up when their work cannot be done: they say why, print the servers' logs and end the
 * process with status 1. Logs are also printed when the process ends with another status than 0.
 * Nothing here sleeps for a fixed time: everything polls a condition up to a limit.
 *
 * Start servers and crews from the main thread: PR_SET_PDEATHSIG fires when the starting *thread*
 * ends (prctl(2)).
 *
 * Environment: TMPDIR; LENDIS_KEEP=1 keeps the directory of a failed test; LENDISD is the broker's
 * program, else $LENDIS_BUILD/lendisd, else build/lendisd; REDIS_SERVER, else redis-server.
 */
#ifndef LENDIS_TESTS_SUPPORT_H
#define LENDIS_TESTS_SUPPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>
#include <hiredis/hiredis.h>
#include "lendis/catalog.h"
#include "lendis/segment.h"

#define SUPPORT_PATH_SIZE 128

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

/* Polls every millisecond. True as soon as `condition` is; false when it still was not after
 * limit_ms. */
bool wait_until(bool (*condition)(void *context), void *context, int limit_ms);

/* The same for an expression: assert_true(eventually(count_fds(pid) == before, 1000)). */
#define eventually(expression, limit_ms)                                                           \
    ({                                                                                             \
        int64_t eventually_until = now_ns() + (int64_t)(limit_ms)*1000000;                         \
        bool eventually_held;                                                                      \
        while (!(eventually_held = (expression)) && now_ns() < eventually_until)                   \
            sleep_us(1000);                                                                        \
        eventually_held;                                                                           \
    })

/* Ends the test process (in a worker: the worker) with status 1, after this message and the logs.
 */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the private directory ---- */

/* The directory, made by the first call; mode 0700. */
const char *scratch_directory(void);

/* Lets processes of other users pass through it (mode 0711), for tests of permissions. */
void scratch_share(void);

/* `path`, of SUPPORT_PATH_SIZE, becomes directory/name; the name is formatted. */
void scratch_path(char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the end of every server's log to stderr. */
void print_logs(void);

/* ---- programs ---- */

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

/* The text is one JSON value, without exponents in its numbers. */
bool json_is_valid(const char *text);

/* Open descriptors of a process; -1 when it is gone. */
int count_fds(pid_t pid);

/* Prints what they are to stderr, for the failure message of a leak. */
void print_fds(pid_t pid);

/* /proc/PID/smaps_rollup, in bytes: proc(5). */
struct memory_use {
    size_t rss;
    size_t pss;
    size_t private; /* Private_Clean + Private_Dirty: what would be freed if it ended */
};

/* False: the process is gone or may not be read. */
bool memory_use(pid_t pid, struct memory_use *use);

/* A socket bound to a free loopback port, not listening, with SO_REUSEADDR: as long as it is open,
 * only a server that binds with SO_REUSEADDR as well can have the port. */
int reserve_port(int *port);

/* ---- a real Redis ---- */

struct redis_server {
    /* Set by the caller before redis_start(); all zero is a server without password on a Unix
     * socket. */
    bool tcp;                     /* on a free loopback port as well */
    const char *password;         /* requirepass */
    unsigned maxclients;          /* 0: Redis' default */
    const char *const *arguments; /* further ones, NULL-terminated: "--timeout", "1", NULL */

    /* Set by redis_start(). */
    pid_t pid; /* 0: not running */
    int port;  /* 0: none; kept over restarts */
    int port_fd;
    char socket_path[SUPPORT_PATH_SIZE];
    char log_path[SUPPORT_PATH_SIZE];
    char unix_url[SUPPORT_PATH_SIZE + 16]; /* unix:///path?db=0 */
    char tcp_url[64];                      /* redis://127.0.0.1:port/0 */
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
    char config_path[SUPPORT_PATH_SIZE];
    char socket_path[SUPPORT_PATH_SIZE];
    char log_path[SUPPORT_PATH_SIZE];
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

/* A raw connection to a broker's socket, for clients that do not follow the rules. Results: the
 * descriptor; -errno. */
int lendisd_connect(const char *socket_path);

/* True if the log has this text. */
bool lendisd_logged(const struct lendisd *broker, const char *text);

/* ---- forked workers ---- */

struct crew_control {
    atomic_uint ready; /* workers that called crew_ready() */
    atomic_uint go;
    atomic_uint stop;
};

struct crew {
    unsigned count;
    pid_t *pids;   /* 0: ended and reaped */
    int *statuses; /* wait statuses of those */
    int (*function)(struct crew *crew, unsigned number);
    void *context; /* the caller's; a worker has its copy of what it points to */
    size_t result_size;
    size_t size; /* of the mapping below */
    struct crew_control *control;
    char *results;
};

/*
 * Forks `count` workers, each of which runs `function` and ends with its result as exit status.
 * Each has result_size bytes of zeroed memory, at crew_result(), that the parent sees as well.
 * Workers do not use cmocka's assertions, which would go on with the next test: they return what
 * they found.
 */
void crew_start(struct crew *crew, unsigned count, size_t result_size,
                int (*function)(struct crew *crew, unsigned number), void *context);

/* Reaps worker `number` if need be (SIGKILL first) and forks it anew, with the result as it was. */
void crew_replace(struct crew *crew, unsigned number);

void *crew_result(const struct crew *crew, unsigned number);

/* Sends a signal, without waiting for anything. */
void crew_signal(const struct crew *crew, unsigned number, int signal);

/* Waits until all have ended. Results: true, and statuses are all there; false, some still run
 * after limit_ms. */
bool crew_wait(struct crew *crew, int limit_ms);

/* Reaps worker `number`; its wait status, or -1 when it still ran after limit_ms. */
int crew_wait_one(struct crew *crew, unsigned number, int limit_ms);

/* Of all that were reaped, those that did not exit with 0. */
unsigned crew_failures(const struct crew *crew);

/* Kills those that still run, reaps them, frees everything. */
void crew_end(struct crew *crew);

/* A common start: workers call crew_ready(), which returns when the parent called crew_go().
 * crew_go() first waits until all are ready and gives up after 20 s. */
void crew_ready(struct crew *crew);
void crew_go(struct crew *crew);

/* The parent asks the workers to end; they look at crew_stopping() now and then. */
void crew_stop(struct crew *crew);
static inline bool crew_stopping(const struct crew *crew)
{
    return atomic_load_explicit(&crew->control->stop, memory_order_relaxed);
}

/* ---- a Redis that misbehaves ---- */

enum fake_action {
    FAKE_ANSWER = 0,   /* a proper reply */
    FAKE_SILENT,       /* no reply at all, the connection stays open */
    FAKE_STALL,        /* half of the reply, then silence */
    FAKE_GARBAGE,      /* bytes that are no RESP */
    FAKE_CLOSE,        /* closes without a byte of reply */
    FAKE_CLOSE_MIDWAY, /* half of the reply, then closes */
    FAKE_RESET, /* half of the reply, then closes with RST (TCP only; a Unix socket just closes) */
    FAKE_TRICKLE,    /* the reply in pieces of one byte, a write each, 1 ms apart */
    FAKE_TWICE,      /* two replies to one command, in one write */
    FAKE_LATE_TWICE, /* two replies, the second 20 ms later */
    FAKE_ERROR,      /* -ERR refused by the test (to AUTH: -WRONGPASS) */
};

/* In memory shared with the fake's process: change actions and read counters at any time. */
struct fake_control {
    atomic_uint command; /* enum fake_action: what commands get */
    atomic_uint
        handshake;      /* enum fake_action: what AUTH, HELLO, SELECT, CLIENT, PING and RESET get */
    atomic_uint survey; /* enum fake_action: what COMMAND gets */
    atomic_uint answer_first; /* so many commands are answered properly before `command` applies */
    atomic_uint refuse;       /* 1: connections are closed as soon as they are accepted */
    atomic_uint accepted;     /* connections so far */
    atomic_uint open;         /* connections open now */
    atomic_uint commands;     /* commands so far, without those of handshakes and surveys */
    atomic_uint handshakes;   /* commands of handshakes so far */
    atomic_uint surveys;      /* COMMANDs so far */
    char survey_reply[2048];  /* RESP: the proper reply to COMMAND; "": an empty list */
};

/*
 * A process of its own that speaks just enough Redis: handshake commands get what a server gives,
 * any other command a bulk string that repeats its last argument ("GET key" yields "key"), unless
 * an action says otherwise.
 */
struct fake_redis {
    pid_t pid;
    int port;
    struct fake_control *control;
    char socket_path[SUPPORT_PATH_SIZE];
    char unix_url[SUPPORT_PATH_SIZE + 16];
    char tcp_url[64];
};

void fake_start(struct fake_redis *fake, enum fake_action command);
void fake_stop(struct fake_redis *fake);

/* ---- a look into a pool's segment ---- */

/* Attached over the wire as a worker of its own that never leases; both mappings are read-only. */
struct observer {
    int socket;
    uint32_t worker;
    struct catalog catalog;
    struct segment segment;
    uint32_t pool; /* its index in the catalog */
};

/* Gives up when the broker refuses or does not answer within 5 s. Survives the broker's death. */
void segment_observe(struct observer *observer, const char *socket_path, const char *pool);
void observer_close(struct observer *observer);

struct word_count {
    unsigned in[WORD_STATES]; /* words in each state: in[WORD_IDLE] */
    unsigned opened;          /* all but EMPTY and OPENING */
    unsigned total;
    unsigned waiting; /* cells of the queue that hold a waiter */
};

/*
 * I1: every word is in a valid state, with an owner that can exist, so the states sum to the pool's
 * size. Otherwise false, and the words are printed.
 */
bool observe_words(const struct observer *observer, struct word_count *count);

/* True if all opened words are IDLE, at least `idle` of them, none is being opened, and nobody
 * waits. */
bool pool_is_full(const struct observer *observer, unsigned idle);

/* Waits for pool_is_full(); prints the words when it did not become so within limit_ms. */
bool pool_fills(const struct observer *observer, unsigned idle, int limit_ms);

/* Words leased by this worker, and words in a state. */
unsigned leased_by(const struct observer *observer, uint32_t worker);
unsigned words_in(const struct observer *observer, enum word_state state);

/* Chunks of the segment that belong to some slot. */
unsigned chunks_in_use(const struct observer *observer);

/* A counter of enum counter, summed over workers, those that departed included. For a moment a
 * worker that departs is in both sums: compare with eventually(). */
uint64_t pool_counter(const struct observer *observer, enum counter counter);

/* What the broker says about the pool: catalog_read_pool(). */
void observe_pool(const struct observer *observer, struct catalog_pool *pool);

void print_words(const struct observer *observer);

#endif
