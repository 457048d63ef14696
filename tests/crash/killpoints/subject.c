/* SPDX-License-Identifier: MIT */
/* The process that crashes, and the scenarios: see subject.h. */
#include "tests/crash/killpoints/subject.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libclient/pool.h"
#include "lendis/queue.h"
#include "lendis_hiredis.h"

/* Far longer than anything takes, a stop of the process included. */
#define LONG_MS  20000
#define SHORT_MS 3
/* The end of every connection held, of which there are at most so many. */
#define WARM_MAX 16

static bool ok(struct subject *subject, const char *what, int result)
{
    if (result == 0)
        return true;
    /* Its lease was taken from it; what was on the wire is not known. */
    if (subject->plan.action == STEP_EXPEL && atomic_load(&subject->report->steps.reached) &&
        (result == LENDIS_E_REVOKED || result == LENDIS_E_UNCERTAIN || result == LENDIS_E_DOWN))
        atomic_store(&subject->report->excused, true);
    snprintf(subject->report->text, sizeof subject->report->text, "%s: %s (%d)", what,
             lendis_strerror(result), result);
    return false;
}

/* ---- what a subject does before ---- */

static void await(const atomic_bool *flag)
{
    while (!atomic_load(flag))
        sleep_us(50);
}

static int attach(struct subject *subject, unsigned flags)
{
    struct lendis_options options = {
        .size = sizeof options, .flags = flags, .attach_timeout_ms = LONG_MS};

    return lendis_attach(subject->socket_path, subject->pool_name, &options, &subject->pool);
}

static bool prepare_nothing(struct subject *subject)
{
    (void)subject;
    return true;
}

static bool prepare_lazy(struct subject *subject)
{
    return ok(subject, "attach", attach(subject, LENDIS_LAZY));
}

static bool prepare_attached(struct subject *subject)
{
    if (!ok(subject, "attach", attach(subject, 0)))
        return false;
    atomic_store(&subject->report->worker, 1 + atomic_load(&subject->pool->local->current)->worker);
    return true;
}

/* Every descriptor is in the cache. */
static bool prepare_warm(struct subject *subject)
{
    struct lendis_lease *leases[WARM_MAX];
    bool right = prepare_attached(subject);
    unsigned count = 0;

    while (right && count < subject->size && count < WARM_MAX)
        right = ok(subject, "warm", lendis_acquire(subject->pool, LONG_MS, &leases[count++]));
    while (right && count > 0)
        right = ok(subject, "warm", lendis_release(leases[--count]));
    return right;
}

static bool prepare_lease(struct subject *subject)
{
    return prepare_warm(subject) &&
           ok(subject, "acquire", lendis_acquire(subject->pool, LONG_MS, &subject->lease));
}

/* The reply to a command that lendis did not see is on its way. */
static bool prepare_unread(struct subject *subject)
{
    static const char command[] = "*2\r\n$4\r\nECHO\r\n$6\r\nunread\r\n";

    return prepare_lease(subject) &&
           send(lendis_lease_fd(subject->lease), command, sizeof command - 1, MSG_NOSIGNAL) > 0;
}

/* A child that was forked before has a copy of every descriptor, and never uses the handle. */
static bool prepare_lease_and_child(struct subject *subject)
{
    pid_t pid;

    if (!prepare_lease(subject))
        return false;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        atomic_store(&subject->report->child, true);
        for (;;)
            pause();
    }
    if (!ok(subject, "fork", pid > 0 ? 0 : -errno))
        return false;
    await(&subject->report->child);
    return true;
}

/* A handle of the parent's, which nobody in this process has used. */
static bool prepare_inherited(struct subject *subject)
{
    subject->pool = subject->master;
    return true;
}

/* ---- phases ---- */

static bool phase_attach(struct subject *subject)
{
    return ok(subject, "attach", attach(subject, 0));
}

static bool phase_lease(struct subject *subject)
{
    struct lendis_lease *lease;

    return ok(subject, "acquire", lendis_acquire(subject->pool, LONG_MS, &lease)) &&
           ok(subject, "release", lendis_release(lease));
}

static bool phase_release(struct subject *subject)
{
    return ok(subject, "release", lendis_release(subject->lease));
}

static bool phase_discard(struct subject *subject)
{
    return ok(subject, "discard", lendis_discard(subject->lease));
}

static bool phase_timeout(struct subject *subject)
{
    struct lendis_lease *lease;
    int result = lendis_acquire(subject->pool, SHORT_MS, &lease);

    if (result == LENDIS_E_TIMEOUT)
        return true;
    return ok(subject, "acquire", result) && ok(subject, "release", lendis_release(lease));
}

/* What a program with an event loop does. */
static bool phase_poll(struct subject *subject)
{
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    int result;

    if (!ok(subject, "begin", lendis_acquire_begin(subject->pool, LONG_MS, &wait)))
        return false;
    while ((result = lendis_acquire_finish(wait, &lease)) == LENDIS_E_AGAIN) {
        struct pollfd fd = {.fd = lendis_acquire_fd(wait), .events = POLLIN};

        poll(&fd, 1, LONG_MS);
    }
    return ok(subject, "finish", result) && ok(subject, "release", lendis_release(lease));
}

static bool phase_poll_and_cancel(struct subject *subject)
{
    struct lendis_lease *lease;
    struct lendis_wait *wait;
    struct pollfd fd = {.events = POLLIN};
    int result;

    if (!ok(subject, "begin", lendis_acquire_begin(subject->pool, LONG_MS, &wait)))
        return false;
    fd.fd = lendis_acquire_fd(wait);
    poll(&fd, 1, SHORT_MS);
    result = lendis_acquire_finish(wait, &lease);
    if (result == 0)
        return ok(subject, "release", lendis_release(lease));
    lendis_acquire_cancel(wait);
    return ok(subject, "finish", result == LENDIS_E_AGAIN ? 0 : result);
}

/* True if `reply` is this text; frees it. */
static bool reply_is(struct subject *subject, redisReply *reply, const char *text)
{
    bool right = reply && reply->str && strcmp(reply->str, text) == 0;

    if (!reply)
        return ok(subject, "command", lendis_pool_error(subject->pool, NULL));
    if (!right)
        snprintf(subject->report->text, sizeof subject->report->text, "a reply is %.100s, not %s",
                 reply->str ? reply->str : "no text", text);
    freeReplyObject(reply);
    return right;
}

static bool phase_write(struct subject *subject)
{
    return reply_is(subject, lendis_command(subject->pool, "SET subject:%d 1 EX 60", (int)getpid()),
                    "OK");
}

static bool phase_command(struct subject *subject)
{
    char key[32], value[48];

    snprintf(key, sizeof key, "subject:%d", (int)getpid());
    snprintf(value, sizeof value, "value of %s", key);
    return reply_is(subject, lendis_command(subject->pool, "SET %s %s EX 60", key, value), "OK") &&
           reply_is(subject, lendis_command(subject->pool, "GET %s", key), value);
}

static bool phase_read(struct subject *subject)
{
    return reply_is(subject, lendis_command(subject->pool, "GET %s", PEER_KEY), PEER_VALUE);
}

static bool sized_is_right(struct subject *subject, redisReply *reply, size_t size)
{
    bool right = reply && peer_value_is(reply, size);

    if (!reply)
        return ok(subject, "command", lendis_pool_error(subject->pool, NULL));
    if (!right)
        snprintf(subject->report->text, sizeof subject->report->text,
                 "a value of %zu bytes is %zu bytes, %.40s", size, reply->len,
                 reply->str ? reply->str : "");
    freeReplyObject(reply);
    return right;
}

/* Request and reply take a chunk each. */
static bool phase_echo_page(struct subject *subject)
{
    char value[PEER_PAGE];

    memset(value, 'v', sizeof value);
    return sized_is_right(subject, lendis_command(subject->pool, "ECHO %b", value, sizeof value),
                          sizeof value);
}

static bool phase_read_chunk(struct subject *subject)
{
    return sized_is_right(subject, lendis_command(subject->pool, "GET peer:%u", PEER_CHUNK),
                          PEER_CHUNK);
}

static bool phase_read_large(struct subject *subject)
{
    return sized_is_right(subject, lendis_command(subject->pool, "GET peer:%u", PEER_LARGE),
                          PEER_LARGE);
}

static bool phase_read_hasty(struct subject *subject)
{
    return ok(subject, "hasty", peer_read_hastily(subject->pool));
}

static bool phase_slow(struct subject *subject)
{
    return reply_is(subject,
                    lendis_command(subject->pool, "EVAL_RO %s 0 %s", PEER_SPIN, PEER_SPIN_SLOW),
                    "slow");
}

/* One batch for the combiner, one mailbox, several replies. */
static bool phase_pipeline(struct subject *subject)
{
    struct lendis_pipeline *pipeline = lendis_pipeline_new(subject->pool);
    redisReply *reply;
    bool right;

    if (!pipeline)
        return ok(subject, "pipeline", -ENOMEM);
    for (int i = 0; i < 3; i++)
        lendis_pipeline_append(pipeline, "GET %s", PEER_KEY);
    reply = lendis_pipeline_exec(pipeline);
    lendis_pipeline_free(pipeline);
    if (!reply)
        return ok(subject, "pipeline", lendis_pool_error(subject->pool, NULL));
    right = reply->type == REDIS_REPLY_ARRAY && reply->elements == 3;
    for (size_t i = 0; right && i < 3; i++)
        right = reply->element[i]->type == REDIS_REPLY_STRING &&
                strcmp(reply->element[i]->str, PEER_VALUE) == 0;
    freeReplyObject(reply);
    return right || ok(subject, "the replies of a pipeline", -EBADMSG);
}

static bool phase_detach(struct subject *subject)
{
    lendis_detach(subject->pool);
    return true;
}

/* ---- a second thread, which waits in the worker's own slot ---- */

static void *wait_beside(void *context)
{
    struct subject *subject = context;
    struct lendis_lease *lease;

    subject->helper_result = lendis_acquire(subject->pool, LONG_MS, &lease);
    if (subject->helper_result == 0)
        subject->helper_result = lendis_release(lease);
    return NULL;
}

static bool before_beside(struct subject *subject)
{
    struct attachment *attachment = atomic_load(&subject->pool->local->current);
    const shm_u32 *wake = &attachment->segment.slots[attachment->worker].wake;

    if (!ok(subject, "thread", -pthread_create(&subject->helper, NULL, wait_beside, subject)))
        return false;
    return ok(subject, "the thread does not wait",
              eventually(shm_load32(wake) == WAKE_ASLEEP, 5000) ? 0 : -ETIMEDOUT);
}

static bool after_beside(struct subject *subject)
{
    pthread_join(subject->helper, NULL);
    return ok(subject, "the other thread", subject->helper_result);
}

/* ---- the scenarios ---- */

/* Without a handle there is nothing that a child could use. While a thread detaches no other may
 * use the handle, a forking one included. */
#define NO_HANDLE (ALL_ACTIONS & ~(ACTION_BIT(STEP_FORK_USE) | ACTION_BIT(STEP_FORK_DETACH)))

#define KILL_OR_STOP (ACTION_BIT(STEP_KILL) | ACTION_BIT(STEP_STOP) | ACTION_BIT(STEP_EXPEL))

/* A stopped combiner keeps what it has taken for the pool's stall_timeout: one scenario waits for
 * that. */
#define STOPS (ACTION_BIT(STEP_STOP) | ACTION_BIT(STEP_STOP_KILL))

/*
 * Not detach_beside_child with exec: nothing tells the broker of the execve(2) of a process whose
 * child has a copy of its socket. What such a process held comes back when it ends.
 */
const struct scenario scenarios[] = {
    {.name = "attach",
     .actions = NO_HANDLE,
     .idle = 3,
     .stuck = 0,
     .prepare = prepare_nothing,
     .phase = phase_attach},
    {.name = "attach_on_first_use",
     .actions = ALL_ACTIONS,
     .idle = 3,
     .stuck = 1,
     .prepare = prepare_lazy,
     .phase = phase_lease},
    {.name = "lease_idle",
     .actions = ALL_ACTIONS,
     .idle = 3,
     .stuck = 1,
     .prepare = prepare_warm,
     .phase = phase_lease},
    {.name = "lease_with_fetch",
     .actions = ALL_ACTIONS,
     .idle = 3,
     .stuck = 1,
     .prepare = prepare_attached,
     .phase = phase_lease},
    {.name = "wait",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_lease},
    {.name = "wait_with_fetch",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_attached,
     .phase = phase_lease},
    {.name = "wait_before_another",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_lease},
    {.name = "wait_behind_another",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_lease},
    {.name = "wait_in_further_slot",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 2,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .before = before_beside,
     .phase = phase_lease,
     .after = after_beside},
    {.name = "time_out",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_OVER,
     .prepare = prepare_warm,
     .phase = phase_timeout},
    {.name = "time_out_or_not",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_timeout},
    {.name = "poll",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_poll},
    {.name = "poll_and_cancel",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_poll_and_cancel},
    {.name = "hand_over",
     .actions = ALL_ACTIONS,
     .idle = 1,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .prepare = prepare_lease,
     .phase = phase_release},
    {.name = "discard",
     .actions = ALL_ACTIONS,
     .idle = 1,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .prepare = prepare_lease,
     .phase = phase_discard},
    {.name = "release_unclean",
     .actions = ALL_ACTIONS,
     .idle = 1,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .prepare = prepare_unread,
     .phase = phase_release},
    {.name = "command",
     .actions = ALL_ACTIONS,
     .idle = 3,
     .stuck = 1,
     .prepare = prepare_warm,
     .phase = phase_command},
    {.name = "command_waits",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_write},
    /* The subject gets the connection and the other's command with it. */
    {.name = "combine_read",
     .actions = ALL_ACTIONS & ~ACTION_BIT(STEP_STOP_KILL),
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    {.name = "combine_write",
     .actions = ALL_ACTIONS & ~STOPS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_WRITE,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    /* The other gets the connection, and the subject's command with it. */
    {.name = "combined",
     .actions = ALL_ACTIONS,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_WRITE,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    /* The subject sends for another, whose reply takes a chunk, comes in several reads, or is
     * passed on to it with the connection. */
    {.name = "combine_page",
     .actions = ACTION_BIT(STEP_KILL),
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_READ_PAGE,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    {.name = "combine_chunk",
     .actions = ACTION_BIT(STEP_KILL),
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_READ_CHUNK,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    {.name = "combine_large",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_READ_LARGE,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_read},
    /* The other's limit passes while the subject has its command. */
    {.name = "combine_abandoned",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .waits_for = PEER_READ_HASTY,
     .trigger = WHEN_ASLEEP,
     .prepare = prepare_warm,
     .phase = phase_slow},
    /* The other sends for the subject. */
    {.name = "combined_page",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .prepare = prepare_warm,
     .phase = phase_echo_page},
    {.name = "combined_chunk",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .prepare = prepare_warm,
     .phase = phase_read_chunk},
    {.name = "combined_without_chunks",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .no_chunks = true,
     .prepare = prepare_warm,
     .phase = phase_read_large},
    {.name = "combined_pipeline",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .prepare = prepare_warm,
     .phase = phase_pipeline},
    /* The subject reads on where the other left off. */
    {.name = "take_over",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_READ,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .prepare = prepare_warm,
     .phase = phase_read_large},
    /* The subject's limit passes: while the other has its command, and while nobody has. */
    {.name = "abandon",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .waits_for = PEER_SLOW,
     .trigger = WHEN_ASLEEP,
     .one = true,
     .prepare = prepare_warm,
     .phase = phase_read_hasty},
    {.name = "give_up",
     .actions = KILL_OR_STOP,
     .idle = 0,
     .stuck = 1,
     .waiter = WAITER_BEHIND,
     .trigger = WHEN_OVER,
     .prepare = prepare_warm,
     .phase = phase_read_hasty},
    {.name = "detach",
     .actions = NO_HANDLE,
     .idle = 3,
     .stuck = 0,
     .prepare = prepare_warm,
     .phase = phase_detach},
    {.name = "detach_with_lease",
     .actions = NO_HANDLE,
     .idle = 1,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .prepare = prepare_lease,
     .phase = phase_detach},
    {.name = "detach_beside_child",
     .actions = NO_HANDLE & ~ACTION_BIT(STEP_EXEC),
     .idle = 1,
     .stuck = 1,
     .waiter = WAITER_FIRST,
     .prepare = prepare_lease_and_child,
     .phase = phase_detach},
    {.name = "first_use_after_fork",
     .actions = ALL_ACTIONS,
     .idle = 3,
     .stuck = 1,
     .prepare = prepare_inherited,
     .phase = phase_command},
};
const unsigned scenario_count = sizeof scenarios / sizeof *scenarios;

/* ---- the process ---- */

static bool run(struct subject *subject, const struct scenario *scenario)
{
    bool right;

    if (!scenario->prepare(subject))
        return false;
    atomic_store(&subject->report->stage, SUBJECT_READY);
    await(&subject->report->go);
    if (scenario->before && !scenario->before(subject))
        return false;
    atomic_store(&subject->report->stage, SUBJECT_RUNS);
    steps_arm(&subject->plan);
    right = scenario->phase(subject);
    steps_disarm();
    right = right || atomic_load(&subject->report->excused);
    if (scenario->after)
        right = scenario->after(subject) && right;
    return right;
}

int subject_run(struct subject *subject, const struct scenario *scenario)
{
    struct subject_report *report = subject->report;
    bool right;
    int status = 0;
    pid_t child;

    subject->plan.report = &report->steps;
    subject->plan.pool = &subject->pool;
    right = run(subject, scenario);
    atomic_store(&report->stage, right ? SUBJECT_DONE : SUBJECT_FAILED);
    await(&report->finish);
    child = atomic_load(&report->steps.child);
    if (child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status))
        snprintf(report->steps.text, sizeof report->steps.text, "ended by signal %d",
                 WTERMSIG(status));
    return right && status == 0 ? 0 : 1;
}
