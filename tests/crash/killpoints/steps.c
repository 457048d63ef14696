/* SPDX-License-Identifier: MIT */
/* Kill points: see steps.h. */
#include "tests/crash/killpoints/steps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include "lendis/shm.h"
#include "lendis_hiredis.h"
#include "libclient/pool.h"

/* The linker's: where the program is in memory. */
extern const char __executable_start[];

static struct step_plan plan;
/* Only the thread that armed: a helper thread of the same process is not at the same place. */
static _Thread_local bool armed;

const char *step_action_name(enum step_action action)
{
    static const char *const names[STEP_ACTIONS] = {
        [STEP_KILL] = "kill",           [STEP_STOP] = "stop",
        [STEP_STOP_KILL] = "stop_kill", [STEP_FORK_EXIT] = "fork_exit",
        [STEP_FORK_USE] = "fork_use",   [STEP_FORK_DETACH] = "fork_detach",
        [STEP_FORK_KILL] = "fork_kill", [STEP_EXEC] = "exec",
        [STEP_EXPEL] = "expel",
    };

    return names[action];
}

void steps_arm(const struct step_plan *wanted)
{
    plan = *wanted;
    atomic_store(&plan.report->steps, 0);
    armed = true;
}

void steps_disarm(void)
{
    armed = false;
}

/* A new worker's first commands, on the handle that it inherited in the middle of a call. */
static bool child_uses(struct lendis_pool *pool)
{
    struct step_report *report = plan.report;
    struct lendis_lease *lease;
    redisReply *reply;
    char token[32];
    bool right;
    int result;

    snprintf(token, sizeof token, "child:%d", (int)getpid());
    reply = lendis_command(pool, "ECHO %s", token);
    if (!reply) {
        snprintf(report->text, sizeof report->text, "the child's command: %s",
                 lendis_strerror(lendis_pool_error(pool, NULL)));
        return false;
    }
    right = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, token) == 0;
    if (!right)
        snprintf(report->text, sizeof report->text, "the child's ECHO %s got %.100s", token,
                 reply->str ? reply->str : "no text");
    freeReplyObject(reply);
    result = lendis_acquire(pool, -1, &lease);
    if (result == 0)
        result = lendis_release(lease);
    if (result != 0)
        snprintf(report->text, sizeof report->text, "the child's lease: %s",
                 lendis_strerror(result));
    return right && result == 0;
}

_Noreturn static void be_child(void)
{
    struct lendis_pool *pool = *plan.pool;
    bool right = true;

    switch (plan.action) {
    case STEP_FORK_USE:
        right = child_uses(pool);
        break;
    case STEP_FORK_DETACH:
        lendis_detach(pool);
        break;
    case STEP_FORK_KILL:
        for (;;)
            pause();
    default:
        break;
    }
    _exit(right ? 0 : 1);
}

static void fork_here(void)
{
    pid_t pid = fork();

    if (pid == 0)
        be_child();
    if (pid < 0)
        snprintf(plan.report->text, sizeof plan.report->text, "fork: %s", strerror(errno));
    atomic_store(&plan.report->child, pid);
}

/* Loses its place: whatever ended the socket, the broker sees only that. Waits until it has. */
static void be_expelled(void)
{
    struct attachment *attachment = atomic_load(&(*plan.pool)->local->current);
    const shm_u32 *tenant;

    if (!attachment || !atomic_load(&attachment->filled) || attachment->socket < 0)
        return; /* it has none yet, or none any more */
    tenant = &attachment->segment.slots[attachment->worker].tenant;
    shutdown(attachment->socket, SHUT_RDWR);
    for (int i = 0; i < 10000 && atomic_load(tenant) == attachment->tenant; i++)
        usleep(100);
}

void lendis_step(const char *where)
{
    int saved = errno;

    if (!armed)
        return;
    if (atomic_fetch_add(&plan.report->steps, 1) + 1 != plan.target)
        return;
    armed = false;
    /* Steps of shm.h are inlined, so this is a place in the function that takes the step. */
    atomic_store(&plan.report->site,
                 (uintptr_t)__builtin_return_address(0) - (uintptr_t)__executable_start);
    snprintf(plan.report->where, sizeof plan.report->where, "%s", where);
    atomic_store(&plan.report->reached, true);
    switch (plan.action) {
    case STEP_KILL:
        raise(SIGKILL);
        break;
    case STEP_STOP:
    case STEP_STOP_KILL:
        raise(SIGSTOP);
        break;
    case STEP_FORK_KILL:
        fork_here();
        raise(SIGKILL);
        break;
    case STEP_EXPEL:
        be_expelled();
        break;
    case STEP_EXEC:
        /* Reads its input, which ends when the test wants it to. */
        execlp("cat", "cat", (char *)NULL);
        break;
    default:
        fork_here();
        break;
    }
    errno = saved;
}
