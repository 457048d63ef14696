/* SPDX-License-Identifier: MIT */
/* Texts for programs: see judge.h. */
#include "tests/support/judge.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/testbed/internal.h"

/* The process that judges: what goes there and what comes back, and who started it. */
static int judge;
static FILE *answers;
static pid_t judge_owner;

/* Its packages are for the system's own Python, which need not be the first in PATH. */
static void become_judge(int socket, pid_t parent)
{
    die_with(parent);
    dup2(socket, STDIN_FILENO);
    dup2(socket, STDOUT_FILENO);
    execl("/usr/bin/python3", "python3", "tests/support/judge.py", (char *)NULL);
    fprintf(stderr, "/usr/bin/python3: %s\n", strerror(errno));
    _exit(127);
}

static void start_judge(void)
{
    pid_t parent = getpid(), child;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        give_up("socketpair: %s", strerror(errno));
    fflush(NULL);
    child = fork();
    if (child == 0)
        become_judge(ends[1], parent);
    close(ends[1]);
    judge = ends[0];
    answers = child < 0 ? NULL : fdopen(judge, "r");
    if (!answers)
        give_up("fork: %s", strerror(errno));
    judge_owner = parent;
}

/* Results: NULL; what is wrong, in static storage. */
static const char *problem_of(const char *kind, const char *text)
{
    static char problem[2048];

    if (judge_owner != getpid())
        start_judge();
    dprintf(judge, "%s %zu\n%s", kind, strlen(text), text);
    if (!fgets(problem, sizeof problem, answers))
        give_up("tests/support/judge.py ended: is python3-prometheus-client installed?");
    problem[strcspn(problem, "\n")] = '\0';
    return problem[0] ? problem : NULL;
}

const char *openmetrics_problem(const char *text)
{
    return problem_of("openmetrics", text);
}

bool json_is_valid(const char *text)
{
    const char *problem = problem_of("json", text);

    if (problem)
        fprintf(stderr, "not JSON: %s\n", problem);
    return !problem;
}

/* The line that begins with `start`; NULL: none. */
static const char *find_line(const char *text, const char *start, const char *next)
{
    size_t length = strlen(start);

    for (const char *at = text; (at = strstr(at, start)); at++)
        if ((at == text || at[-1] == '\n') && strchr(next, at[length]))
            return at;
    return NULL;
}

double openmetrics_value(const char *text, const char *series)
{
    const char *line = find_line(text, series, " ");

    return line ? strtod(line + strlen(series), NULL) : NAN;
}

bool openmetrics_has(const char *text, const char *name)
{
    return find_line(text, name, "{ ") != NULL;
}
