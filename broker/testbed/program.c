/* SPDX-License-Identifier: MIT */
/* Programs that are started, and where they are. */
#include "broker/testbed/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before the request took effect */
}

/* The child's part of program_start(): never returns. */
static void become(const char *const argv[], int output, rlim_t nofile)
{
    struct rlimit limit = {.rlim_cur = nofile, .rlim_max = nofile};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    if (nofile != 0 && setrlimit(RLIMIT_NOFILE, &limit) < 0)
        dprintf(STDERR_FILENO, "setrlimit: %s\n", strerror(errno));
    execvp(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static pid_t start(const char *const argv[], int output, rlim_t nofile)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        give_up("fork: %s", strerror(errno));
    if (pid == 0) {
        die_with(parent);
        scratch_forget();
        become(argv, output, nofile);
    }
    scratch_add_child(pid);
    return pid;
}

pid_t program_start(const char *const argv[], const char *log_path, rlim_t nofile)
{
    int log;
    pid_t pid;

    scratch_directory(); /* whoever makes it cleans up */
    log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        give_up("%s: %s", log_path, strerror(errno));
    scratch_add_log(log_path);
    pid = start(argv, log, nofile);
    close(log);
    return pid;
}

bool program_ended(pid_t pid)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == pid;
}

int program_wait(pid_t pid, int limit_ms)
{
    int status;

    if (!eventually(program_ended(pid), limit_ms))
        return -1;
    if (waitpid(pid, &status, 0) != pid)
        give_up("waitpid: %s", strerror(errno));
    scratch_remove_child(pid);
    return status;
}

void program_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    scratch_remove_child(pid);
}

/* Reads `from` into `output` until its end; what does not fit is dropped. False: out of time. */
static bool read_all(int from, char *output, size_t size, int limit_ms)
{
    int64_t until_ms = now_ms() + limit_ms;
    size_t used = 0;

    for (;;) {
        struct pollfd readable = {.fd = from, .events = POLLIN};
        char dropped[4096];
        bool room = size - used > 1;
        ssize_t got;

        output[used] = '\0';
        if (now_ms() >= until_ms)
            return false;
        if (poll(&readable, 1, (int)(until_ms - now_ms())) <= 0)
            continue;
        got = read(from, room ? output + used : dropped, room ? size - used - 1 : sizeof dropped);
        if (got <= 0)
            return true;
        if (room)
            used += (size_t)got;
    }
}

int program_run(const char *const argv[], char *output, size_t size, int limit_ms)
{
    int64_t until_ms = now_ms() + limit_ms;
    int ends[2], status;
    pid_t pid;

    scratch_directory();
    if (pipe2(ends, O_CLOEXEC) < 0)
        give_up("pipe2: %s", strerror(errno));
    pid = start(argv, ends[1], 0);
    close(ends[1]);
    if (!read_all(ends[0], output, size, limit_ms))
        give_up("%s still ran after %d ms; it said: %s", argv[0], limit_ms, output);
    close(ends[0]);
    status = program_wait(pid, (int)(until_ms - now_ms()));
    if (status == -1)
        give_up("%s still ran after %d ms; it said: %s", argv[0], limit_ms, output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The folder of this program's file, in `path` of `size` bytes. False: not known, or too long. */
static bool own_folder(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size);
    char *slash;

    if (length < 0 || (size_t)length >= size)
        return false;
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

const char *testbed_program(const char *name)
{
    static char path[4096];
    char own[2048];
    bool known = own_folder(own, sizeof own);

    if (known) {
        snprintf(path, sizeof path, "%s/%s", own, name);
        if (access(path, X_OK) == 0)
            return path;
        snprintf(path, sizeof path, "%s/../sbin/%s", own, name);
        if (access(path, X_OK) == 0)
            return path;
    }
    if (access(built_program(name), X_OK) == 0)
        return built_program(name);
    snprintf(path, sizeof path, "%s", name);
    return path;
}

const char *built_program(const char *name)
{
    static char path[4096];
    const char *build = getenv("LENDIS_BUILD");

    snprintf(path, sizeof path, "%s/%s", build && *build ? build : "build", name);
    return path;
}

bool program_find(const char *name, char *path, size_t size)
{
    const char *environment = getenv("PATH"), *at;
    char folders[8192];

    snprintf(path, size, "%s", name);
    if (strchr(name, '/'))
        return access(path, X_OK) == 0;
    snprintf(folders, sizeof folders, "%s:/usr/local/sbin:/usr/sbin:/sbin",
             environment ? environment : "");
    for (at = folders; *at; at += *at == ':') {
        size_t length = strcspn(at, ":");

        snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (access(path, X_OK) == 0)
            return true;
        at += length;
    }
    return false;
}

struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);

    if (length >= sizeof address.sun_path)
        give_up("too long for a socket: %s", path);
    memcpy(address.sun_path, path, length);
    return address;
}

int reserve_port(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int reserved = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (reserved < 0 || setsockopt(reserved, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(reserved, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(reserved, (struct sockaddr *)&address, &size) < 0)
        give_up("no free port: %s", strerror(errno));
    *port = ntohs(address.sin_port);
    return reserved;
}
