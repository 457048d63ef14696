/* SPDX-License-Identifier: MIT */
/* Hunts combiners: see hunter.h. */
#include "tests/crash/storm/hunter.h"

#include <signal.h>
#include <sys/wait.h>
#include "lendis/mailbox.h"

/* False: not a process of the worker processes, but a child of one, say. */
static bool find_in_processes(const struct processes *processes, pid_t pid, unsigned *number)
{
    for (unsigned i = 0; i < processes->count; i++)
        if (processes->pids[i] == pid && pid > 0) {
            *number = i;
            return true;
        }
    return false;
}

/* A taken command, and who has it. */
static bool find_combiner(const struct observer *observer, const struct processes *processes,
                          uint32_t slot, struct quarry *quarry)
{
    const struct segment *segment = &observer->segment;
    uint64_t mail = shm_load_relaxed(&segment->slots[slot].mail);
    uint32_t worker;

    if (mail_state(mail) != MAIL_TAKEN || mail_connection(mail) >= segment->connection_max)
        return false;
    quarry->index = mail_connection(mail);
    quarry->word = shm_load_relaxed(&segment->connections[quarry->index].word);
    worker = word_owner(quarry->word);
    if (word_state(quarry->word) != WORD_LEASED || !mail_fits(mail, quarry->word) ||
        worker >= observer->catalog.worker_max)
        return false;
    quarry->pid = (pid_t)observer->catalog.workers[worker].pid;
    return find_in_processes(processes, quarry->pid, &quarry->number);
}

/* How many commands it has taken and not answered, now that nothing of it moves. */
static unsigned count_taken(const struct observer *observer, struct quarry *quarry)
{
    const struct segment *segment = &observer->segment;
    unsigned taken = 0;

    for (uint32_t slot = 0; slot < segment->slot_max; slot++) {
        uint64_t mail = shm_load_relaxed(&segment->slots[slot].mail);

        if (mail_state(mail) != MAIL_TAKEN || mail_connection(mail) != quarry->index ||
            !mail_fits(mail, quarry->word))
            continue;
        quarry->sent = mail_was_sent(segment, mail);
        taken++;
    }
    return taken;
}

/* Returns when it has stopped; false: it ended instead. */
static bool stop(pid_t pid)
{
    siginfo_t info = {0};

    return kill(pid, SIGSTOP) == 0 &&
           waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT) == 0 &&
           info.si_code == CLD_STOPPED;
}

bool hunter_lost(const struct observer *observer, const struct quarry *quarry)
{
    return shm_load_relaxed(&observer->segment.connections[quarry->index].word) != quarry->word;
}

bool hunter_catch(const struct observer *observer, const struct processes *processes, uint32_t from,
                  struct quarry *quarry)
{
    uint32_t slots = observer->segment.slot_max, i = 0;

    while (i < slots && !find_combiner(observer, processes, (from + i) % slots, quarry))
        i++;
    if (i == slots || !stop(quarry->pid))
        return false;
    quarry->taken = hunter_lost(observer, quarry) ? 0 : count_taken(observer, quarry);
    if (quarry->taken > 0)
        return true;
    kill(quarry->pid, SIGCONT);
    return false;
}
