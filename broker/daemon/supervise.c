/* SPDX-License-Identifier: MIT */
/*
 * The supervising parent: see supervise.h. It speaks the service manager's side of sd_notify(3) on
 * a socket of its own, in a directory that nobody else may enter: whoever could send to it could
 * fill its queue, and the broker would wait. Besides, only messages with the broker's own process
 * id count (SCM_CREDENTIALS, unix(7)).
 *
 * As process 1 of a container it is the parent of whatever loses its own, so it waits for all that
 * ends.
 */
#include "broker/daemon/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include "broker/base/timer.h"
#include "broker/base/log.h"
#include "broker/base/service_manager.h"

/* Descriptors that are kept at most, as FileDescriptorStoreMax= in lendis.service. */
#define KEPT_MAX 4096u
/*
 * The broker is to show within this time that it runs. One that was silent for two such periods is
 * killed: when the first one ends this process itself may have been stopped, with what the broker
 * said unread or without room in the queue; it reads throughout the second.
 */
#define WATCHDOG_US UINT64_C(5000000)
/* Before another start; doubled up to the most while brokers die within it. */
#define RESTART_LEAST_US UINT64_C(100000)
#define RESTART_MOST_US  UINT64_C(5000000)
#define MESSAGE_SIZE     4096u
/* Of all that has ended, reaped in one wake-up. */
#define REAP_MOST 256
/* The kernel's limit for one message, SCM_MAX_FD. */
#define MESSAGE_FDS 253

struct kept {
    char *name;
    int fd;
};

struct supervisor {
    const char *config;
    sd_event *event;
    sd_event_source *restart;
    sd_event_source *watchdog;
    struct kept *kept;
    size_t count;
    int notify;
    char directory[64]; /* that of `notify`; "": there is none */
    char address[80];   /* of `notify`, as NOTIFY_SOCKET has it */
    pid_t broker;       /* 0: none runs */
    uint64_t started_us;
    uint64_t delay_us;
    bool silent; /* the broker, for a whole period of the watchdog */
    bool stopping;
    bool replacing;
    int status;
};

static uint64_t now_us(const struct supervisor *supervisor)
{
    uint64_t now = 0;

    sd_event_now(supervisor->event, CLOCK_MONOTONIC, &now);
    return now;
}

/* ---- what is kept ---- */

/* Takes `fd`. */
static void keep(struct supervisor *supervisor, const char *name, int fd)
{
    struct kept *grown;
    char *copy = NULL;

    if (supervisor->count < KEPT_MAX)
        copy = strdup(name);
    grown = copy ? realloc(supervisor->kept, (supervisor->count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(copy);
        close(fd);
        return;
    }
    supervisor->kept = grown;
    grown[supervisor->count++] = (struct kept){copy, fd};
}

static void forget(struct supervisor *supervisor, const char *name)
{
    size_t left = 0;

    for (size_t i = 0; i < supervisor->count; i++) {
        struct kept each = supervisor->kept[i];

        if (strcmp(each.name, name) != 0) {
            supervisor->kept[left++] = each;
            continue;
        }
        close(each.fd);
        free(each.name);
    }
    supervisor->count = left;
}

static void keep_passed(struct supervisor *supervisor)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);

    for (int i = 0; i < count; i++) {
        /* Out of the way of those that the broker will get. */
        int fd = fcntl(SD_LISTEN_FDS_START + i, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START);

        close(SD_LISTEN_FDS_START + i);
        if (fd >= 0)
            keep(supervisor, names[i], fd);
        free(names[i]);
    }
    free(names);
}

/* ---- starting ---- */

/* The names of all that is kept, separated by colons. NULL: no memory. */
static char *join_names(const struct supervisor *supervisor)
{
    size_t size = 1;
    char *names, *at;

    for (size_t i = 0; i < supervisor->count; i++)
        size += strlen(supervisor->kept[i].name) + 1;
    names = at = malloc(size);
    for (size_t i = 0; names && i < supervisor->count; i++)
        at += sprintf(at, "%s%s", i ? ":" : "", supervisor->kept[i].name);
    if (names)
        *at = '\0';
    return names;
}

/* In the child: descriptors 3, 4, ... are those that are kept. Between fork and exec of a process
 * without threads anything may be called. */
static int place_descriptors(const struct supervisor *supervisor)
{
    int count = (int)supervisor->count;

    /* First beyond all places, for one could be in another's. */
    for (int i = 0; i < count; i++) {
        int moved = fcntl(supervisor->kept[i].fd, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START + count);

        if (moved < 0)
            return -errno;
        supervisor->kept[i].fd = moved;
    }
    for (int i = 0; i < count; i++)
        if (dup2(supervisor->kept[i].fd, SD_LISTEN_FDS_START + i) < 0)
            return -errno;
    return 0;
}

static void run_broker(const struct supervisor *supervisor)
{
    char number[32], *names = join_names(supervisor);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (!names || place_descriptors(supervisor) != 0)
        _exit(EX_OSERR);
    setenv("NOTIFY_SOCKET", supervisor->address, 1);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("WATCHDOG_PID", number, 1);
    if (supervisor->count > 0) {
        setenv("LISTEN_PID", number, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(number, sizeof number, "%zu", supervisor->count);
        setenv("LISTEN_FDS", number, 1);
    }
    snprintf(number, sizeof number, "%ju", (uintmax_t)WATCHDOG_US);
    setenv("WATCHDOG_USEC", number, 1);
    execl("/proc/self/exe", "lendisd", "--config", supervisor->config, (char *)NULL);
    _exit(EX_OSERR);
}

static int start_broker(struct supervisor *supervisor)
{
    pid_t broker = fork();
    if (broker < 0)
        return -errno;
    if (broker == 0)
        run_broker(supervisor);
    supervisor->broker = broker;
    supervisor->started_us = now_us(supervisor);
    supervisor->replacing = false;
    supervisor->silent = false;
    return timer_set(supervisor->watchdog, WATCHDOG_US);
}

static int on_restart(sd_event_source *source, uint64_t usec, void *context)
{
    struct supervisor *supervisor = context;

    (void)source;
    (void)usec;
    if (start_broker(supervisor) < 0) {
        log_line(LOG_LEVEL_ERR, "the broker cannot be started again: %s", strerror(errno));
        return sd_event_exit(supervisor->event, EXIT_FAILURE);
    }
    return 0;
}

/* ---- its end ---- */

static int again(struct supervisor *supervisor)
{
    if (supervisor->replacing) {
        supervisor->delay_us = RESTART_LEAST_US;
        return on_restart(NULL, 0, supervisor);
    }
    if (now_us(supervisor) - supervisor->started_us > RESTART_MOST_US)
        supervisor->delay_us = RESTART_LEAST_US;
    log_line(LOG_LEVEL_WARNING, "the broker ended; it is started again in %ju ms",
             (uintmax_t)supervisor->delay_us / 1000);
    if (timer_set(supervisor->restart, supervisor->delay_us) != 0)
        return sd_event_exit(supervisor->event, EXIT_FAILURE);
    supervisor->delay_us *= 2;
    if (supervisor->delay_us > RESTART_MOST_US)
        supervisor->delay_us = RESTART_MOST_US;
    return 0;
}

/* The broker ended, with this wait status. */
static int on_death(struct supervisor *supervisor, int status)
{
    bool exited = WIFEXITED(status);

    timer_stop(supervisor->watchdog);
    supervisor->broker = 0;
    supervisor->status = exited ? WEXITSTATUS(status) : EXIT_FAILURE;
    if (supervisor->stopping)
        return sd_event_exit(supervisor->event, supervisor->status);
    /* What it ended with by itself will not be better next time. */
    if (exited && !supervisor->replacing &&
        (supervisor->status == 0 || supervisor->status == EX_CONFIG ||
         supervisor->status == EX_USAGE))
        return sd_event_exit(supervisor->event, supervisor->status);
    return again(supervisor);
}

/* SIGCHLD: the broker, or an orphan. */
static int on_children(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct supervisor *supervisor = context;
    int status, result = 0;

    (void)source;
    (void)info;
    for (int i = 0; i < REAP_MOST; i++) {
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid <= 0)
            return result;
        if (pid == supervisor->broker)
            result = on_death(supervisor, status);
    }
    kill(getpid(), SIGCHLD); /* there may be more */
    return result;
}

static int on_watchdog(sd_event_source *source, uint64_t usec, void *context)
{
    struct supervisor *supervisor = context;

    (void)source;
    (void)usec;
    if (supervisor->broker == 0)
        return 0;
    if (!supervisor->silent) {
        supervisor->silent = true;
        return timer_set(supervisor->watchdog, WATCHDOG_US);
    }
    log_line(LOG_LEVEL_WARNING, "the broker does not run any more; it is killed");
    kill(supervisor->broker, SIGKILL);
    return 0;
}

/* ---- notifications ---- */

/* Handles one line of a message that came with `fds`. Returns whether it is for our own manager. */
static bool is_ours(const char *line)
{
    static const char *const ours[] = {"FDSTORE", "FDNAME=", "FDPOLL=", "BARRIER=", "WATCHDOG="};

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strncmp(line, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

static void handle(struct supervisor *supervisor, char *text, int *fds, int count)
{
    const char *name = "stored";
    bool store = false, remove = false, relay = false;
    char *copy = strdup(text), *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        store |= strcmp(line, "FDSTORE=1") == 0;
        remove |= strcmp(line, "FDSTOREREMOVE=1") == 0;
        if (strncmp(line, "FDNAME=", 7) == 0)
            name = line + 7;
        if (strcmp(line, "WATCHDOG=1") == 0) {
            supervisor->silent = false;
            sd_event_source_set_time_relative(supervisor->watchdog, WATCHDOG_US);
        }
        relay |= !is_ours(line);
    }
    for (int i = 0; i < count; i++)
        if (store && !strchr(name, ':'))
            keep(supervisor, name, fds[i]);
        else
            close(fds[i]);
    if (remove)
        forget(supervisor, name);
    if (relay && copy && manager_listens())
        sd_notify(0, copy);
    free(copy);
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *context)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * MESSAGE_FDS)];
    } control;
    struct supervisor *supervisor = context;
    char text[MESSAGE_SIZE];
    struct iovec part = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    int fds[MESSAGE_FDS], count = 0;
    pid_t sender = 0;
    ssize_t got;

    (void)source;
    (void)events;
    got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return 0;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each)) {
        if (each->cmsg_level != SOL_SOCKET)
            continue;
        if (each->cmsg_type == SCM_RIGHTS) {
            count = (int)((each->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(each), (size_t)count * sizeof(int));
        } else if (each->cmsg_type == SCM_CREDENTIALS) {
            sender = ((struct ucred *)CMSG_DATA(each))->pid;
        }
    }
    text[got] = '\0';
    if (supervisor->broker != 0 && sender == supervisor->broker &&
        !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        handle(supervisor, text, fds, count);
    else
        for (int i = 0; i < count; i++)
            close(fds[i]);
    return 0;
}

/* A directory that only this user may enter, where there is one to be made. False: nowhere. */
static bool make_directory(struct supervisor *supervisor)
{
    const char *const places[] = {getenv("RUNTIME_DIRECTORY"),
                                  "/run/lendis",
                                  getenv("XDG_RUNTIME_DIR"),
                                  getenv("TMPDIR"),
                                  "/tmp",
                                  "/dev/shm"};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(supervisor->directory, sizeof supervisor->directory,
                              "%s/lendisd-XXXXXX", places[i] ? places[i] : "");

        if (places[i] && places[i][0] == '/' && length < (int)sizeof supervisor->directory &&
            mkdtemp(supervisor->directory)) /* mode 0700 */
            return true;
    }
    supervisor->directory[0] = '\0';
    return false;
}

/* Results: 0; -errno. */
static int open_notify(struct supervisor *supervisor)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int on = 1;

    if (!make_directory(supervisor)) {
        log_line(LOG_LEVEL_ERR, "there is no directory for a socket: of RUNTIME_DIRECTORY, "
                                "/run/lendis, XDG_RUNTIME_DIR, TMPDIR, /tmp and /dev/shm one must "
                                "be writable");
        return -ENOENT;
    }
    snprintf(supervisor->address, sizeof supervisor->address, "%s/notify", supervisor->directory);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", supervisor->address);
    supervisor->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (supervisor->notify < 0 ||
        setsockopt(supervisor->notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
        bind(supervisor->notify, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return 0;
}

static void close_notify(struct supervisor *supervisor)
{
    if (supervisor->notify >= 0) {
        close(supervisor->notify);
        unlink(supervisor->address);
    }
    if (supervisor->directory[0])
        rmdir(supervisor->directory);
}

/* ---- signals ---- */

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *context)
{
    struct supervisor *supervisor = context;
    int number = (int)info->ssi_signo;

    (void)source;
    if (number == SIGTERM || number == SIGINT) {
        supervisor->stopping = true;
        if (supervisor->broker == 0)
            return sd_event_exit(supervisor->event, EXIT_SUCCESS);
    }
    if (number == SIGUSR2)
        supervisor->replacing = true;
    if (supervisor->broker != 0)
        kill(supervisor->broker, number);
    return 0;
}

static int watch_signals(struct supervisor *supervisor)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    sigset_t mask;
    int result = 0;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&mask, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    result = sd_event_add_signal(supervisor->event, NULL, SIGCHLD, on_children, supervisor);
    if (result >= 0)
        kill(getpid(), SIGCHLD); /* what has ended already */
    for (size_t i = 0; result >= 0 && i < sizeof numbers / sizeof *numbers; i++)
        result = sd_event_add_signal(supervisor->event, NULL, numbers[i], on_signal, supervisor);
    return result;
}

/* ---- the whole ---- */

static int begin(struct supervisor *supervisor)
{
    int result = sd_event_new(&supervisor->event);

    if (result >= 0)
        result = watch_signals(supervisor);
    if (result >= 0)
        result = manager_watch(supervisor->event);
    if (result >= 0)
        result = open_notify(supervisor);
    if (result >= 0)
        result = sd_event_add_io(supervisor->event, NULL, supervisor->notify, EPOLLIN, on_notify,
                                 supervisor);
    if (result >= 0)
        result = timer_new(supervisor->event, &supervisor->restart, on_restart, supervisor);
    if (result >= 0)
        result = timer_new(supervisor->event, &supervisor->watchdog, on_watchdog, supervisor);
    if (result < 0)
        return result;
    keep_passed(supervisor);
    return start_broker(supervisor);
}

int supervise(const char *config)
{
    struct supervisor supervisor = {
        .config = config, .notify = -1, .delay_us = RESTART_LEAST_US, .status = EXIT_FAILURE};
    int result = begin(&supervisor);

    if (result >= 0)
        result = sd_event_loop(supervisor.event);
    else
        log_line(LOG_LEVEL_ERR, "cannot supervise: %s", strerror(-result));
    while (supervisor.count > 0)
        forget(&supervisor, supervisor.kept[0].name);
    free(supervisor.kept);
    sd_event_source_disable_unref(supervisor.restart);
    sd_event_source_disable_unref(supervisor.watchdog);
    sd_event_unref(supervisor.event);
    close_notify(&supervisor);
    return result < 0 ? EXIT_FAILURE : result;
}
