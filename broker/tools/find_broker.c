/* SPDX-License-Identifier: MIT */
/*
 * Finding a broker without its help: see find_broker.h.
 *
 * connect(2) succeeds through the listener's backlog, whatever the broker does, and SO_PEERCRED
 * says who called listen(2) (unix(7)). With socket activation that is the service manager: then
 * the processes are searched for the catalog that names our socket. A process' memfds can be opened
 * through /proc/PID/fd by whoever may trace it (proc(5), ptrace(2)): root and, as long as the
 * broker has no secret (secret.h), its own user. That user can ask one that has a secret for the
 * same memfds.
 */
#include "broker/tools/find_broker.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "lendis/wire.h"
#include "libclient/shared/broker_socket.h"

/* A broker that is asked and does not answer is given up. */
#define ASK_MS 2000

/* What a search knows and what it found so far. */
struct search {
    const char *socket_path; /* the catalog must name it; NULL: any will do */
    pid_t pid;               /* the process being inspected */
    uint32_t pid_inside;     /* the same, as that process sees itself; 0: any will do */
    int error;               /* of a catalog that was there and could not be used */
    uint32_t abi_major, abi_minor;
    struct broker *broker;
    ino_t claimed[CATALOG_MAX_POOLS]; /* by which file; 0: by none yet */
};

static int fail(char *problem, size_t size, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(char *problem, size_t size, int error, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(problem, size, format, list);
    va_end(list);
    return error;
}

typedef bool take_memfd(int fd, struct search *search);

/* Whether this memfd, which it closes, could not shrink under a mapping and is what is wanted. */
static bool offer(int fd, take_memfd *take, struct search *search)
{
    int seals = fcntl(fd, F_GET_SEALS);
    bool done = seals >= 0 && (seals & F_SEAL_SHRINK) && take(fd, search);

    close(fd);
    return done;
}

struct wanted {
    char target[64];
    take_memfd *take;
    struct search *search;
};

static bool offer_if_wanted(void *context, int fds, const char *name, const char *target)
{
    const struct wanted *wanted = context;
    int fd = -1;

    if (strcmp(target, wanted->target) == 0)
        fd = openat(fds, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && offer(fd, wanted->take, wanted->search);
}

/* Offers each memfd called `name` of the process with this folder, opened read-only, until one
 * is taken. Results: 0; -errno. */
static int each_memfd(int proc, const char *name, take_memfd *take, struct search *search)
{
    struct wanted wanted = {.take = take, .search = search};

    snprintf(wanted.target, sizeof wanted.target, "/memfd:%s (deleted)", name);
    return proc_each_descriptor(proc, offer_if_wanted, &wanted);
}

/* The same socket, whatever it is called on either side. */
static bool same_socket(const char *a, const char *b)
{
    struct stat at_a, at_b;

    return strcmp(a, b) == 0 || (stat(a, &at_a) == 0 && stat(b, &at_b) == 0 &&
                                 at_a.st_dev == at_b.st_dev && at_a.st_ino == at_b.st_ino);
}

static bool use_catalog(int fd, struct search *search)
{
    struct catalog *catalog = &search->broker->catalog;
    char path[sizeof catalog->header->socket_path + 1] = "";
    int result = catalog_map(fd, catalog);

    if (result == -EPROTONOSUPPORT) {
        struct catalog_header header;

        if (pread(fd, &header, sizeof header, 0) == sizeof header) {
            search->abi_major = header.abi_major;
            search->abi_minor = header.abi_minor;
        }
    }
    if (result != 0) {
        search->error = result;
        return false;
    }
    memcpy(path, catalog->header->socket_path, sizeof path - 1);
    if ((search->socket_path && !same_socket(path, search->socket_path)) ||
        (search->pid_inside && catalog->header->broker_pid != search->pid_inside)) {
        catalog_unmap(catalog); /* another broker's, or a worker's copy of the descriptor */
        return false;
    }
    return true;
}

/* Takes a segment that the catalog knows. Two that claim one pool: a worker corrupted one, so take
 * neither. */
static bool use_segment(int fd, struct search *search)
{
    struct segment segment;
    struct stat stat;
    uint32_t pool;

    if (fstat(fd, &stat) < 0 || segment_map(fd, false, &segment) != 0)
        return false;
    pool = *(volatile uint32_t *)&((struct segment_header *)segment.base)->pool; /* one read */
    if (pool >= CATALOG_MAX_POOLS ||
        segment.instance != search->broker->catalog.pools[pool].segment_instance ||
        search->claimed[pool] == stat.st_ino) {
        segment_unmap(&segment);
    } else if (search->claimed[pool]) {
        segment_unmap(&segment);
        segment_unmap(&search->broker->segments[pool]);
    } else {
        search->claimed[pool] = stat.st_ino;
        segment.places = &search->broker->catalog.pools[pool].places;
        search->broker->segments[pool] = segment;
    }
    return false;
}

/* The process' number in the innermost namespace that it has one in: the last one behind NSpid.
 * 0: not known. */
static uint32_t innermost_pid(int proc)
{
    char *text = read_text_at(proc, "status"), *line = text ? strstr(text, "\nNSpid:") : NULL,
         *last = NULL;
    uint32_t pid;

    if (line) {
        line[1 + strcspn(line + 1, "\n")] = '\0';
        last = strrchr(line, '\t');
    }
    pid = last ? (uint32_t)strtoul(last, NULL, 10) : 0;
    free(text);
    return pid;
}

/* The letter of the process' state; 0: not known. */
static char process_state(int proc)
{
    char text[512];
    const char *state = NULL;

    if (read_start(proc, "stat", text, sizeof text))
        state = proc_stat_field(text, 3);
    return state ? *state : 0;
}

static bool in_our_pid_namespace(int proc)
{
    struct stat its, ours;

    return fstatat(proc, "ns/pid", &its, 0) == 0 && stat("/proc/self/ns/pid", &ours) == 0 &&
           its.st_dev == ours.st_dev && its.st_ino == ours.st_ino;
}

/*
 * Maps the catalog and segments of process search->pid into search->broker. Results: 0; -ENOENT,
 * not a broker, or not the one that is searched for; -EACCES; -ESRCH, no such process; what
 * catalog_map() says; -errno.
 */
static int inspect(struct search *search)
{
    struct broker *broker = search->broker;
    int proc, result;

    *broker = (struct broker){.pid = search->pid};
    memset(search->claimed, 0, sizeof search->claimed);
    search->error = 0;
    /* All that follows goes through this descriptor: should the pid be used again, it gives ESRCH.
     */
    proc = proc_open(search->pid);
    if (proc < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    if (search->socket_path)
        search->pid_inside = innermost_pid(proc);
    result = each_memfd(proc, CATALOG_MEMFD_NAME, use_catalog, search);
    if (result == 0 && !broker->catalog.header)
        result = search->error ? search->error : -ENOENT;
    if (result == 0)
        result = each_memfd(proc, SEGMENT_MEMFD_NAME, use_segment, search);
    if (result == 0) {
        broker->state = process_state(proc);
        broker->pids_are_ours = in_our_pid_namespace(proc);
    } else {
        broker_close(broker);
    }
    close(proc);
    return result;
}

/* The pid of the process that listens at `path`. Results: the pid; 0, not visible from here;
 * -errno. */
static pid_t listener_of(const char *path)
{
    struct ucred credentials = {.pid = 0};
    socklen_t size = sizeof credentials;
    pid_t result;
    int fd = broker_socket_connect(path);

    if (fd < 0)
        return fd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        result = -errno;
    else
        result = credentials.pid;
    close(fd);
    return result;
}

/* ---- asking ---- */

/* The next descriptor of the answer. -1: there is none any more. */
static int next_shared(int socket)
{
    struct wire_outcome outcome;
    int fd = -1;
    ssize_t got = wire_receive(socket, &outcome, sizeof outcome, &fd, ASK_MS);

    if (got > 0 && fd >= 0 && wire_is(&outcome, (size_t)got, WIRE_OUTCOME, sizeof outcome))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Which process it is, as far as its /proc is open to all. */
static void note_process(struct broker *broker)
{
    int proc;

    broker->pid = (pid_t)broker->catalog.header->broker_pid;
    proc = proc_open(broker->pid);
    if (proc < 0)
        return;
    broker->state = process_state(proc);
    broker->pids_are_ours = innermost_pid(proc) == (uint32_t)broker->pid;
    close(proc);
}

/* A broker that has a password is closed to all but root: it is asked for what it shares.
 * Results: 0; -EACCES, it does not give it, or does not answer. */
static int ask(struct search *search)
{
    struct wire_control asked = {.verb = WIRE_SHOW, .connection = WIRE_ANY, .pid = WIRE_ANY};
    int socket = broker_socket_connect(search->socket_path), fd;
    bool found = false;

    if (socket < 0)
        return -EACCES;
    *search->broker = (struct broker){.pid = 0};
    memset(search->claimed, 0, sizeof search->claimed);
    search->pid_inside = 0;
    wire_header(&asked.header, WIRE_CONTROL, sizeof asked);
    if (wire_send(socket, &asked, -1) == 0 && (fd = next_shared(socket)) >= 0)
        found = offer(fd, use_catalog, search);
    for (uint32_t i = 0; found && i < CATALOG_MAX_POOLS && (fd = next_shared(socket)) >= 0; i++)
        offer(fd, use_segment, search);
    close(socket);
    if (!found)
        return -EACCES;
    note_process(search->broker);
    return 0;
}

/*
 * Inspects every process. Results: 0, exactly one is the broker of search->socket_path; -EEXIST,
 * several are; -EACCES, none is, and some could not be inspected; -ENOENT.
 */
static int inspect_all(struct search *search)
{
    struct broker *broker = search->broker;
    struct broker found = {.pid = 0};
    int result = -ENOENT;
    struct dirent *entry;
    DIR *list = opendir("/proc");

    if (!list)
        return -errno;
    while ((entry = readdir(list)) && result != -EEXIST) {
        int one;

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        search->pid = (pid_t)strtol(entry->d_name, NULL, 10);
        one = inspect(search);
        if (one == 0 && result == 0) {
            broker_close(broker);
            result = -EEXIST;
        } else if (one == 0) {
            found = *broker;
            result = 0;
        } else if (result == -ENOENT && one == -EACCES) {
            /* Of a catalog in another layout nobody can say whose socket it belongs to. */
            result = one;
        }
    }
    closedir(list);
    if (result == 0)
        *broker = found;
    else
        broker_close(&found);
    return result;
}

static int explain(const struct search *search, int error, const char *path, char *problem,
                   size_t size)
{
    switch (error) {
    case -EACCES:
    case -EPERM:
        return fail(
            problem, size, error,
            "the broker of %s may not be inspected: run this as root or as the broker's user",
            path);
    case -EPROTONOSUPPORT:
        return fail(problem, size, error,
                    "the broker of %s shares data of layout %u.%u, this %s knows %u.%u: use the "
                    "%s that was installed with that lendisd",
                    path, search->abi_major, search->abi_minor, program_invocation_short_name,
                    LENDIS_ABI_MAJOR, LENDIS_ABI_MINOR, program_invocation_short_name);
    case -EPROTO:
        return fail(problem, size, error,
                    "the broker of %s shares a catalog that this %s cannot read: use the %s "
                    "that was installed with that lendisd",
                    path, program_invocation_short_name, program_invocation_short_name);
    case -EEXIST:
        return fail(
            problem, size, error,
            "several processes share a catalog for %s: lendisctl can choose the broker's with "
            "--pid",
            path);
    case -ENAMETOOLONG:
        return fail(problem, size, error, "%s is too long for a socket's path", path);
    default:
        return fail(problem, size, error, "%s: %s", path, strerror(-error));
    }
}

/* `connected` is what connect(2) said. */
static int explain_absence(int connected, int error, const char *path, char *problem, size_t size)
{
    const char *more =
        error == -EACCES ? " (not every process could be inspected: try as root)" : "";

    if (connected >= 0 || connected == -EAGAIN)
        return fail(problem, size, -ENOENT,
                    "something listens at %s, but no lendisd that belongs to it was found%s", path,
                    more);
    if (connected == -ENOENT || connected == -ECONNREFUSED)
        return fail(problem, size, -ENOENT,
                    "no broker at %s (%s): start lendisd, or name its socket with --socket or "
                    "$LENDIS_SOCKET%s",
                    path, strerror(-connected), more);
    return fail(problem, size, -ENOENT, "no broker at %s: %s%s", path, strerror(-connected), more);
}

int broker_find(const char *socket_path, pid_t pid, struct broker *broker, char *problem,
                size_t size)
{
    struct search search = {.broker = broker, .pid = pid};
    char name[32];
    pid_t listener;
    int result;

    if (pid > 0) {
        snprintf(name, sizeof name, "process %d", (int)pid);
        result = inspect(&search);
        if (result == -ENOENT)
            return fail(problem, size, result, "%s is not a lendisd", name);
        if (result == -ESRCH)
            return fail(problem, size, result, "there is no %s", name);
        return result == 0 ? 0 : explain(&search, result, name, problem, size);
    }
    search.socket_path = socket_path;
    listener = listener_of(socket_path);
    if (listener == -ENAMETOOLONG)
        return explain(&search, listener, socket_path, problem, size);
    if (listener > 0) {
        search.pid = listener;
        result = inspect(&search);
        /* Anything else is an answer; these may be the service manager that listens on the broker's
         * behalf. */
        if (result != -ENOENT && result != -ESRCH && result != -EACCES)
            return result == 0 ? 0 : explain(&search, result, socket_path, problem, size);
    }
    result = inspect_all(&search);
    if (result == -EACCES && listener >= 0)
        result = ask(&search);
    if (result == 0)
        return 0;
    if (result == -EACCES && (listener > 0 || listener == -EACCES))
        return explain(&search, result, socket_path, problem, size);
    /* With nobody listening, an unreadable catalog belongs to some other broker. */
    if (result == -EACCES || result == -ENOENT ||
        (listener < 0 && (result == -EPROTO || result == -EPROTONOSUPPORT)))
        return explain_absence(listener, result, socket_path, problem, size);
    return explain(&search, result, socket_path, problem, size);
}

void broker_close(struct broker *broker)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        segment_unmap(&broker->segments[i]);
    catalog_unmap(&broker->catalog);
}

void broker_source(const struct broker *broker, struct statistics_source *source)
{
    source->catalog = &broker->catalog;
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++)
        source->segments[i] = &broker->segments[i];
}

size_t broker_command(const struct broker *broker, uint32_t pid, char *text, size_t size)
{
    size_t got;

    if (!broker->pids_are_ours || pid == 0)
        return 0;
    got = proc_read_start((pid_t)pid, "comm", text, size);
    return got > 1 ? got - 1 : 0; /* without the line's end */
}
