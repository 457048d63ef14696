/* SPDX-License-Identifier: MIT */
/*
 * A process' directory, the programs that it started, and their end: on exit, when a helper gives
 * up, and on the signals that end a process. Only the process that made the directory cleans up;
 * its forked workers leave with _exit() and never come here.
 */
#include "broker/testbed/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How much of each log is printed. */
#define LOG_TAIL 8192

/* The scratch directory's own part of a path; the rest of TESTBED_PATH_SIZE is for names in it, and
 * sun_path has 108 bytes (unix(7)). */
#define DIRECTORY_MAX 72

#define CHILDREN_MAX 128

static struct {
    pid_t owner; /* the process that cleans up; 0: nothing was made yet */
    char directory[DIRECTORY_MAX];
    pid_t children[CHILDREN_MAX];
    char logs[CHILDREN_MAX][TESTBED_PATH_SIZE];
    unsigned log_count;
    bool is_tool;
} scratch;

static const int ending_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGABRT};

/* ---- what runs in signal handlers too: async-signal-safe calls alone, signal-safety(7) ---- */

static void print(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));

    (void)written;
}

static void print_log(const char *path)
{
    static char text[LOG_TAIL];
    int log = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got, written;

    if (log < 0)
        return;
    if (lseek(log, -LOG_TAIL, SEEK_END) < 0)
        lseek(log, 0, SEEK_SET);
    print("---- ");
    print(path);
    print("\n");
    got = read(log, text, sizeof text);
    close(log);
    written = got > 0 ? write(STDERR_FILENO, text, (size_t)got) : 0;
    (void)written;
}

static void print_logs(void)
{
    for (unsigned i = 0; i < scratch.log_count; i++)
        print_log(scratch.logs[i]);
}

static void kill_children(void)
{
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        if (scratch.children[i] <= 0)
            continue;
        kill(scratch.children[i], SIGKILL);
        waitpid(scratch.children[i], NULL, 0);
        scratch.children[i] = 0;
    }
}

static bool keep_directory(bool failed)
{
    const char *keep = getenv("LENDIS_KEEP");

    if (!failed || !keep || !*keep || strcmp(keep, "0") == 0)
        return false;
    print("kept: ");
    print(scratch.directory);
    print("\n");
    return true;
}

static void end_by_signal(int signal_number)
{
    if (getpid() == scratch.owner) {
        bool quiet = scratch.is_tool && signal_number != SIGALRM && signal_number != SIGABRT;

        if (!quiet) {
            print("ended by a signal: ");
            print(signal_number == SIGALRM ? "time limit\n" : "killed or aborted\n");
        }
        kill_children();
        if (!quiet)
            print_logs();
        if (!keep_directory(true)) {
            pid_t remover = _Fork(); /* fork() may take malloc's locks */

            if (remover == 0) {
                execl("/bin/rm", "rm", "-rf", "--", scratch.directory, (char *)NULL);
                _exit(127);
            }
            if (remover > 0)
                waitpid(remover, NULL, 0);
        }
    }
    /* Installed with SA_RESETHAND: this time it ends the process. */
    raise(signal_number);
}

/* ---- what does not ---- */

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    remove(path);
    return 0;
}

static void end_by_exit(int status, void *unused)
{
    (void)unused;
    if (getpid() != scratch.owner)
        return;
    kill_children();
    if (status != 0 && !scratch.is_tool)
        print_logs();
    if (!keep_directory(status != 0))
        nftw(scratch.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    scratch.owner = 0;
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = end_by_signal, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < sizeof ending_signals / sizeof *ending_signals; i++)
        sigaction(ending_signals[i], &action, NULL);
}

void scratch_forget(void)
{
    /* cmocka takes these and goes on with its next test, which a forked child must not do. */
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    sigset_t none;

    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        signal(crashes[i], SIG_DFL);
    for (size_t i = 0; i < sizeof ending_signals / sizeof *ending_signals; i++)
        signal(ending_signals[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

const char *scratch_directory(void)
{
    const char *parent = getenv("TMPDIR");
    static const char name[] = "lendis-testbed.XXXXXX";

    if (scratch.owner)
        return scratch.directory;
    if (!parent || !*parent || strlen(parent) + 1 + sizeof name > DIRECTORY_MAX)
        parent = "/tmp";
    snprintf(scratch.directory, sizeof scratch.directory, "%s/%s", parent, name);
    if (!mkdtemp(scratch.directory))
        give_up("mkdtemp %s: %s", scratch.directory, strerror(errno));
    scratch.owner = getpid();
    on_exit(end_by_exit, NULL);
    take_signals();
    return scratch.directory;
}

void testbed_is_tool(void)
{
    scratch.is_tool = true;
}

void scratch_share(void)
{
    if (chmod(scratch_directory(), 0711) < 0)
        give_up("chmod: %s", strerror(errno));
}

void scratch_path(char *path, const char *format, ...)
{
    size_t used = (size_t)snprintf(path, TESTBED_PATH_SIZE, "%s/", scratch_directory());
    va_list arguments;
    int added;

    va_start(arguments, format);
    added = vsnprintf(path + used, TESTBED_PATH_SIZE - used, format, arguments);
    va_end(arguments);
    if (added < 0 || (size_t)added >= TESTBED_PATH_SIZE - used)
        give_up("too long a path: %s", path);
}

void scratch_add_child(pid_t pid)
{
    for (unsigned i = 0; i < CHILDREN_MAX; i++)
        if (scratch.children[i] == 0) {
            scratch.children[i] = pid;
            return;
        }
    give_up("more than %d programs at a time", CHILDREN_MAX);
}

void scratch_remove_child(pid_t pid)
{
    for (unsigned i = 0; i < CHILDREN_MAX; i++)
        if (scratch.children[i] == pid)
            scratch.children[i] = 0;
}

void scratch_add_log(const char *path)
{
    for (unsigned i = 0; i < scratch.log_count; i++)
        if (strcmp(scratch.logs[i], path) == 0)
            return;
    if (scratch.log_count < CHILDREN_MAX)
        snprintf(scratch.logs[scratch.log_count++], TESTBED_PATH_SIZE, "%s", path);
}

void give_up(const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    if (scratch.owner && getpid() != scratch.owner)
        _exit(1);
    if (scratch.is_tool) {
        kill_children();
        print_logs();
    }
    exit(1);
}

void sleep_us(int64_t us)
{
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    nanosleep(&pause, NULL);
}
