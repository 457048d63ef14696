/* SPDX-License-Identifier: MIT */
/*
 * Something happens to a worker at every step that it takes: it is killed, stopped, it forks, it
 * becomes another program, it loses its place with the broker and lives on. For each scenario
 * (subject.c) and each action (steps.h) the scenario runs again and again, with the action at step
 * 1, 2, 3, ... until it ends before the step comes. So every step is covered, by construction. The
 * idea is SQLite's, which fails the n-th allocation.
 *
 * Two other workers, one that holds connections and one that waits, and a real lendisd and
 * redis-server stay through all runs. After each run: no connection and no waiter is left behind
 * (I1, I6), whoever waited was served (I7), the others can lease every connection and get right
 * replies on it (I2, I3, I4), and the broker has as many descriptors and workers as before (I8).
 *
 * Built in the crash flavour; lendisd is the plain one. Usage: killpoints [SCENARIO [ACTION
 * [STEP]]]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libclient/membership/attachment.h"
#include "libclient/pool.h"
#include "lendis/mailbox.h"
#include "lendis/queue.h"
#include "tests/crash/killpoints/peer.h"
#include "tests/crash/killpoints/samples.h"
#include "tests/crash/killpoints/subject.h"

#define SIZE 3u /* connections of the pool */
/* What is promised (I6, I7), and when it is certainly broken: a busy machine is late now and
 * then, so the promise may be missed by one run in fifty, and the last limit by none. */
#define RECOVERY_NS INT64_C(100000000)
/* A stopped combiner is found after this: the least that can be set, for a quick run. */
#define STALL_MS MAIL_STALL_LEAST_MS
#define LIMIT_MS 1000
/* Of an idle connection beside a waiter (I7). */
#define BESIDE_NS INT64_C(10000000)
/* A scenario that takes more steps does not end. */
#define STEPS_MAX 300u
/* Runs of one case that may fail before the next case. */
#define FAILURES_MAX 2u

static struct {
    struct redis_server redis;
    struct lendisd broker;
    struct observer observer;
    struct processes peers;
    struct peer holder, waiter;
    struct lendis_pool *master;
    int broker_fds;      /* between runs */
    unsigned registered; /* workers between runs */
} world;

/* One run. */
static struct {
    const struct scenario *scenario;
    enum step_action action;
    unsigned step;
    struct subject subject;
    struct processes processes; /* of one */
    struct subject_report *report;
    int input[2];  /* what an exec'ed program reads */
    int execed[2]; /* ends at execve(2) */
    bool triggered;
    bool crashed;         /* it was killed or stopped, or became another program */
    bool waiting;         /* the waiter was told to */
    int64_t free_ns;      /* when a connection last became free, or its holder died */
    int64_t beside_ns;    /* since when a connection is idle beside the waiter; 0: it is not */
    int64_t beside_worst; /* longest such time */
    char problem[768];
} run;

/* Of all runs. */
static struct samples recoveries, served, beside, stalled;
static unsigned runs;

static bool problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool problem(const char *format, ...)
{
    va_list arguments;

    if (run.problem[0] != '\0')
        return false; /* the first one counts */
    va_start(arguments, format);
    vsnprintf(run.problem, sizeof run.problem, format, arguments);
    va_end(arguments);
    print_words(&world.observer);
    return false;
}

/* A measured time; what is later than promised is printed with its place. */
static void note(struct samples *samples, const char *what, int64_t ns, int64_t promise_ns)
{
    samples_add(samples, ns);
    if (ns > promise_ns)
        printf("# late: %s %s %u (before \"%s\"): %s %.1f ms\n", run.scenario->name,
               step_action_name(run.action), run.step, run.report->steps.where, what,
               (double)ns / 1e6);
}

/* ---- what the segment shows ---- */

static unsigned registered(void)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < world.observer.catalog.worker_max; i++)
        count += shm_load32(&world.observer.catalog.workers[i].pool) != 0;
    return count;
}

static bool queued(uint32_t slot)
{
    const struct segment *segment = &world.observer.segment;

    for (uint32_t i = 0; i < segment->cell_count; i++) {
        uint64_t cell = shm_load_relaxed(&segment->cells[i]);

        if (cell_state(cell) != CELL_FREE && cell_slot(cell) == slot)
            return true;
    }
    return false;
}

/* How many threads of this worker sleep in the queue. */
static unsigned asleep(uint32_t worker)
{
    const struct segment *segment = &world.observer.segment;
    unsigned count = 0;

    for (uint32_t i = 0; i < segment->slot_max; i++)
        if (atomic_load(&segment->slots[i].owner) == 1 + worker &&
            atomic_load(&segment->slots[i].wake) == WAKE_ASLEEP)
            count++;
    return count;
}

/* For how long a connection has been idle while the waiter, which is alive, waits. */
static void watch(void)
{
    int64_t now = now_ns();

    if (!run.waiting || words_in(&world.observer, WORD_IDLE) == 0 || !queued(world.waiter.worker)) {
        run.beside_ns = 0;
        return;
    }
    if (run.beside_ns == 0)
        run.beside_ns = now;
    if (now - run.beside_ns > run.beside_worst)
        run.beside_worst = now - run.beside_ns;
}

/* Polls ten times a millisecond, for times are measured here. */
#define watch_until(expression, limit_ms)                                                          \
    ({                                                                                             \
        int64_t watch_limit = now_ns() + (int64_t)(limit_ms)*1000000;                              \
        bool watch_held;                                                                           \
        while (!(watch_held = (expression)) && now_ns() < watch_limit) {                           \
            sleep_us(100);                                                                         \
            watch();                                                                               \
        }                                                                                          \
        watch_held;                                                                                \
    })

/* ---- the other workers ---- */

static int run_peer(struct processes *processes, unsigned number)
{
    (void)processes;
    return peer_run(number == 0 ? &world.holder : &world.waiter, world.broker.socket_path, "p");
}

/* Waits for the answer to the last order, which must have succeeded. */
static bool peer_did(struct peer *peer, unsigned count, int limit_ms, int64_t *when_ns)
{
    struct peer_answer answer;

    if (!watch_until(peer_answered(peer), limit_ms) || !peer_answer(peer, &answer, 0))
        return problem("the %s still waits after %d ms", peer->name, limit_ms);
    /* A write that a crashed process may have sent. */
    if (peer->order == PEER_WRITE && answer.result == LENDIS_E_UNCERTAIN &&
        (run.crashed || run.action == STEP_EXPEL))
        answer.result = 0;
    if (answer.result != 0 || answer.count != count)
        return problem("%u of %u: %s", answer.count, count, answer.text);
    if (when_ns)
        *when_ns = answer.when_ns;
    return true;
}

static bool hold(unsigned count)
{
    peer_ask_lease(&world.holder, count, LIMIT_MS);
    return peer_did(&world.holder, count, LIMIT_MS + 500, NULL);
}

/* The holder gives `count` back. */
static bool let_go(unsigned count)
{
    if (count == 0)
        return true;
    peer_ask_release(&world.holder, count);
    return peer_did(&world.holder, count, LIMIT_MS, &run.free_ns);
}

/* The waiter queues up, if it is not served at once. */
static bool start_waiting(void)
{
    if (run.scenario->waits_for == PEER_LEASE)
        peer_ask_lease(&world.waiter, 1, 5 * LIMIT_MS);
    else
        peer_ask_command(&world.waiter, run.scenario->waits_for);
    run.waiting = true;
    return watch_until(asleep(world.waiter.worker) > 0 || peer_answered(&world.waiter), LIMIT_MS) ||
           problem("the waiter neither waits nor leases");
}

/* What a stopped combiner has taken comes back when it is found to have stopped. */
static bool may_stall(void)
{
    return run.scenario->waits_for != PEER_LEASE &&
           (run.action == STEP_STOP || run.action == STEP_STOP_KILL);
}

/* The waiter, if there is one, gets its connection or reply soon, and gives the connection back. */
static bool waiter_is_served(void)
{
    int64_t when_ns;

    if (!run.waiting)
        return true;
    if (!peer_did(&world.waiter, 1, LIMIT_MS + (may_stall() ? 2 * (int)STALL_MS : 0), &when_ns))
        return false;
    run.waiting = false;
    if (may_stall()) {
        samples_add(&stalled, when_ns > run.free_ns ? when_ns - run.free_ns : 0);
        return true;
    }
    note(&served, "the waiter", when_ns > run.free_ns ? when_ns - run.free_ns : 0, RECOVERY_NS);
    note(&beside, "idle beside the waiter", run.beside_worst, BESIDE_NS);
    if (run.scenario->waits_for != PEER_LEASE)
        return true;
    peer_ask_release(&world.waiter, 1);
    return peer_did(&world.waiter, 1, LIMIT_MS, NULL);
}

/* ---- the world ---- */

static void world_end(void)
{
    processes_end(&world.peers);
    peer_close(&world.holder);
    peer_close(&world.waiter);
    if (world.master)
        lendis_detach(world.master);
    world.master = NULL;
    observer_close(&world.observer);
    lendisd_kill(&world.broker);
}

/* The broker makes them for the first who polls, and keeps them. */
static void make_poll_wakeups(void)
{
    unsigned before = registered();
    struct lendis_pool *pool;
    int result = lendis_attach(world.broker.socket_path, "p", NULL, &pool);

    if (result == 0)
        result = attachment_fetch_wakeups(atomic_load(&pool->local->current));
    if (result != 0)
        give_up("poll wake-ups: %s", lendis_strerror(result));
    lendis_detach(pool);
    if (!eventually(registered() == before, LIMIT_MS))
        give_up("who fetched the poll wake-ups does not leave");
}

static void world_start(void)
{
    int result;

    lendisd_start(&world.broker,
                  "[pool p]\nredis = %s\nsize = %u\nmin_idle = %u\n"
                  "stall_timeout = %ums\n",
                  world.redis.unix_url, SIZE, SIZE, STALL_MS);
    segment_observe(&world.observer, world.broker.socket_path, "p");
    if (!pool_fills(&world.observer, SIZE, 10000))
        give_up("the pool does not fill");
    peer_init(&world.holder, "holder");
    peer_init(&world.waiter, "waiter");
    processes_start(&world.peers, 2, 0, run_peer, NULL);
    peer_ready(&world.holder, world.peers.pids[0]);
    peer_ready(&world.waiter, world.peers.pids[1]);
    result = lendis_attach(world.broker.socket_path, "p", NULL, &world.master);
    if (result != 0)
        give_up("attach: %s", lendis_strerror(result));
    make_poll_wakeups();
    world.registered = registered();
    world.broker_fds = count_fds(world.broker.pid);
}

/* A child of ours that was forked from the master inherits every descriptor. */
static bool warm_master(void)
{
    struct lendis_lease *leases[SIZE];
    int result = 0;

    for (unsigned i = 0; i < SIZE; i++) {
        result = lendis_acquire(world.master, LIMIT_MS, &leases[i]);
        if (result != 0)
            return problem("lease %u of %u in the parent: %s", i + 1, SIZE,
                           lendis_strerror(result));
    }
    for (unsigned i = 0; i < SIZE; i++)
        lendis_release(leases[i]);
    return true;
}

/* Between runs everything is as it was: nothing is lost, nothing is left behind. */
static bool world_is_whole(void)
{
    if (!watch_until(pool_is_full(&world.observer, SIZE), LIMIT_MS))
        return problem("the pool is not full again");
    if (!eventually(chunks_in_use(&world.observer) == 0, LIMIT_MS))
        return problem("%u chunks are in use", chunks_in_use(&world.observer));
    if (!eventually(registered() == world.registered, LIMIT_MS))
        return problem("%u workers are registered, %u before", registered(), world.registered);
    if (!eventually(count_fds(world.broker.pid) == world.broker_fds, LIMIT_MS)) {
        print_fds(world.broker.pid);
        return problem("the broker has %d descriptors, %d before", count_fds(world.broker.pid),
                       world.broker_fds);
    }
    return hold(SIZE) && let_go(SIZE) && warm_master();
}

/* ---- the subject ---- */

enum state { RUNNING, OVER, STOPPED, GONE };

static int run_subject(struct processes *processes, unsigned number)
{
    run.subject.report = processes_result(processes, number);
    dup2(run.input[0], STDIN_FILENO);
    close(run.input[1]);
    return subject_run(&run.subject, run.scenario);
}

static void subject_start(void)
{
    run.subject.socket_path = world.broker.socket_path;
    run.subject.pool_name = "p";
    run.subject.size = SIZE;
    run.subject.master = world.master;
    run.subject.plan = (struct step_plan){.action = run.action, .target = run.step};
    if (pipe2(run.input, O_CLOEXEC) < 0 || pipe2(run.execed, O_CLOEXEC | O_NONBLOCK) < 0)
        give_up("pipe2: %s", strerror(errno));
    processes_start(&run.processes, 1, sizeof(struct subject_report), run_subject, NULL);
    run.report = processes_result(&run.processes, 0);
    close(run.input[0]);
    close(run.execed[1]);
}

static bool execed(void)
{
    char byte;

    return read(run.execed[0], &byte, 1) == 0;
}

static enum state subject_state(void)
{
    siginfo_t info = {0};

    if (waitid(P_PID, (id_t)run.processes.pids[0], &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) <
        0)
        give_up("waitid: %s", strerror(errno));
    if (info.si_pid != 0)
        return info.si_code == CLD_STOPPED ? STOPPED : GONE;
    if (atomic_load(&run.report->stage) >= SUBJECT_DONE)
        return OVER;
    return run.action == STEP_EXEC && execed() ? GONE : RUNNING;
}

static bool subject_sleeps(void)
{
    unsigned worker = atomic_load(&run.report->worker);

    return worker != 0 && asleep(worker - 1) >= (run.scenario->before ? 2u : 1u);
}

static bool subject_prepared(void)
{
    if (watch_until(atomic_load(&run.report->stage) != SUBJECT_PREPARES || subject_state() == GONE,
                    5 * LIMIT_MS) &&
        atomic_load(&run.report->stage) == SUBJECT_READY)
        return true;
    return problem("the subject does not get ready: %s", run.report->text);
}

/* Ends whatever is left of it: the process, a child that lingers, an exec'ed program. */
static void subject_end(void)
{
    pid_t child = atomic_load(&run.report->steps.child);

    close(run.input[1]);
    close(run.execed[0]);
    processes_signal(&run.processes, 0, SIGKILL);
    processes_wait_one(&run.processes, 0, 5 * LIMIT_MS);
    if (child > 0) {
        /* Ours since its parent died (PR_SET_CHILD_SUBREAPER), unless that had reaped it. */
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    processes_end(&run.processes);
}

/* ---- a run ---- */

/* What happens while the subject waits, or when it ends before it waits. */
static bool trigger(void)
{
    run.triggered = true;
    if (run.scenario->waiter == WAITER_BEHIND && !start_waiting())
        return false;
    if (run.scenario->trigger != WHEN_ASLEEP)
        return true;
    /* The first is for the waiter if that came first; who is expelled may have to queue up anew,
     * behind it. */
    return let_go((run.scenario->waiter == WAITER_FIRST && !run.scenario->one) ||
                          (run.scenario->waiter == WAITER_BEHIND && run.action == STEP_EXPEL)
                      ? 2
                      : 1);
}

/* Runs the phase until it is over or the action has happened. */
static bool phase(enum state *state)
{
    int64_t limit_ns = now_ns() + INT64_C(5000000) * LIMIT_MS;

    atomic_store(&run.report->go, true);
    for (;;) {
        *state = subject_state();
        if (!run.triggered && (*state != RUNNING || subject_sleeps()) && !trigger())
            return false;
        if (*state != RUNNING)
            break;
        if (now_ns() > limit_ns)
            return problem("the phase does not end");
        sleep_us(50);
        watch();
    }
    if (run.scenario->trigger == WHEN_OVER && !let_go(1))
        return false;
    run.crashed = *state != OVER;
    if (*state != STOPPED)
        run.free_ns = now_ns();
    return true;
}

/* With the subject stopped, the others go on on what is left. */
static bool others_go_on(void)
{
    /* What it has given back is not its any more, also if it was stopped before it rang. */
    unsigned returned =
        words_in(&world.observer, WORD_RETURNED) + words_in(&world.observer, WORD_UNCLEAN);
    unsigned left = SIZE - run.scenario->stuck + returned;

    if (left > SIZE)
        left = SIZE;
    return let_go(world.holder.held) && waiter_is_served() && hold(left) && let_go(left);
}

static bool resume(enum state *state)
{
    if (!others_go_on())
        return false;
    run.free_ns = now_ns();
    if (run.action == STEP_STOP_KILL) {
        processes_signal(&run.processes, 0, SIGKILL);
        *state = GONE;
        return true;
    }
    processes_signal(&run.processes, 0, SIGCONT);
    if (!watch_until(atomic_load(&run.report->stage) >= SUBJECT_DONE, 5 * LIMIT_MS))
        return problem("the subject does not go on after SIGCONT");
    *state = OVER;
    return true;
}

/* Everything is free again, and soon. */
static bool settle(enum state state)
{
    if (!waiter_is_served() || !let_go(world.holder.held))
        return false;
    if (!watch_until(pool_is_full(&world.observer, SIZE), LIMIT_MS))
        return problem("the pool is not full after %d ms", LIMIT_MS);
    if (run.crashed)
        note(&recoveries, "recovery", now_ns() - run.free_ns, RECOVERY_NS);
    if (state == GONE)
        return true;
    if (atomic_load(&run.report->stage) == SUBJECT_FAILED)
        return problem("the subject: %s", run.report->text);
    atomic_store(&run.report->finish, true);
    if (processes_wait_one(&run.processes, 0, 5 * LIMIT_MS) != 0)
        return problem("a forked child: %s", run.report->steps.text);
    return true;
}

/* With KILLPOINTS_SITES=FILE: where in the program's code each action happened, for sites.sh. */
static FILE *sites;

static void note_site(void)
{
    if (sites && atomic_load(&run.report->steps.reached))
        fprintf(sites, "%s %#lx %s\n", step_action_name(run.action),
                (unsigned long)atomic_load(&run.report->steps.site), run.scenario->name);
}

/* All chunks become, or were, those of a slot that nobody uses. */
static void take_chunks(bool take)
{
    const struct segment *segment = &atomic_load(&world.master->local->current)->segment;

    if (!take)
        chunks_free_all(segment, segment->slot_max - 1);
    while (take && chunk_claim(segment, segment->slot_max - 1) >= 0)
        continue;
}

static bool run_once(const struct scenario *scenario, enum step_action action, unsigned step,
                     bool *reached)
{
    enum state state;
    bool right;

    memset(&run, 0, sizeof run);
    run.scenario = scenario;
    run.action = action;
    run.step = step;
    subject_start();
    take_chunks(scenario->no_chunks);
    right = subject_prepared() && (scenario->idle == SIZE || hold(SIZE - scenario->idle)) &&
            (scenario->waiter != WAITER_FIRST || start_waiting()) && phase(&state) &&
            (state != STOPPED || resume(&state)) && settle(state);
    *reached = atomic_load(&run.report->steps.reached);
    note_site();
    if (!right)
        fprintf(stderr, "%s %s %u (before \"%s\"): %s\n", scenario->name, step_action_name(action),
                step, run.report->steps.where, run.problem);
    subject_end();
    take_chunks(false);
    if (right && !world_is_whole()) {
        fprintf(stderr, "%s %s %u, afterwards: %s\n", scenario->name, step_action_name(action),
                step, run.problem);
        right = false;
    }
    runs++;
    return right;
}

/* ---- all runs ---- */

static bool wanted(const char *name, int argc, char **argv, int at)
{
    return argc <= at || strcmp(argv[at], name) == 0;
}

/* One scenario with one action at every step. Results: the number of steps; 0, something failed. */
static unsigned run_case(const struct scenario *scenario, enum step_action action, unsigned only)
{
    unsigned step = only ? only : 1, failures = 0;
    bool reached = true;

    for (; reached && step <= STEPS_MAX; step++) {
        if (!run_once(scenario, action, step, &reached)) {
            world_end();
            world_start();
            reached = true;
            if (++failures >= FAILURES_MAX)
                break;
        }
        if (only)
            break;
    }
    if (step > STEPS_MAX)
        fprintf(stderr, "%s %s: more than %u steps\n", scenario->name, step_action_name(action),
                STEPS_MAX);
    return failures > 0 || step > STEPS_MAX ? 0 : only ? 1 : step - 2;
}

/* Prints one line of TAP. Results: the number of steps covered; 0, something failed. */
static unsigned run_scenario(unsigned number, const struct scenario *scenario, int argc,
                             char **argv)
{
    unsigned actions = 0, first = 0, steps = 0, before = runs;
    int64_t started = now_ms();
    bool right = true;

    for (enum step_action action = 0; action < STEP_ACTIONS; action++) {
        unsigned covered;

        if (!(scenario->actions & ACTION_BIT(action)) ||
            !wanted(step_action_name(action), argc, argv, 2))
            continue;
        covered = run_case(scenario, action, argc > 3 ? (unsigned)atoi(argv[3]) : 0);
        actions++;
        steps += covered;
        if (first == 0)
            first = covered;
        right = right && covered > 0;
    }
    printf("%sok %u - %s: %u steps, %u actions, %u runs, %lld ms\n", right ? "" : "not ", number,
           scenario->name, first, actions, runs - before, (long long)(now_ms() - started));
    fflush(stdout);
    return right ? steps : 0;
}

/* Results: true if Redis has exactly the pool's connections. */
static bool redis_agrees(void)
{
    return eventually(redis_info(&world.redis, "connected_clients") == SIZE, 5000);
}

int main(int argc, char **argv)
{
    unsigned number = 0, steps = 0;
    bool right = true, timely, agreed;

    setvbuf(stdout, NULL, _IOLBF, 0);
    /* Children of subjects that died are reaped here: prctl(2). Sleeps of 100 us are measured with.
     */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_TIMERSLACK, 1) < 0)
        give_up("prctl: %s", strerror(errno));
    if (getenv("KILLPOINTS_SITES")) {
        sites = fopen(getenv("KILLPOINTS_SITES"), "we");
        if (!sites)
            give_up("%s: %s", getenv("KILLPOINTS_SITES"), strerror(errno));
    }
    redis_start(&world.redis);
    peer_prepare(&world.redis);
    world_start();
    for (unsigned i = 0; i < scenario_count; i++) {
        unsigned covered;

        if (!wanted(scenarios[i].name, argc, argv, 1))
            continue;
        covered = run_scenario(++number, &scenarios[i], argc, argv);
        steps += covered;
        right = right && covered > 0;
    }
    timely = samples_report(&recoveries, "from the crash to a full pool", RECOVERY_NS, 2);
    timely = samples_report(&served, "until the waiter is served", RECOVERY_NS, 2) && timely;
    timely = samples_report(&beside, "a connection idle beside the waiter", BESIDE_NS, 2) && timely;
    samples_report(&stalled, "until what a stopped process took is served",
                   INT64_C(1000000) * STALL_MS, 100);
    printf("%sok %u - recovery takes at most 100 ms\n", timely ? "" : "not ", ++number);
    agreed = redis_agrees();
    printf("%sok %u - Redis has the pool's connections and no more\n", agreed ? "" : "not ",
           ++number);
    printf("1..%u\n# %u points (steps times actions) in %u runs\n", number, steps, runs);
    world_end();
    if (sites)
        fclose(sites);
    samples_free(&recoveries);
    samples_free(&served);
    samples_free(&beside);
    samples_free(&stalled);
    return right && timely && agreed ? 0 : 1;
}
