/* SPDX-License-Identifier: MIT */
/* The table of commands: see commands.h. */
#include "broker/ctl/commands.h"

#include <string.h>
#include "broker/base/option_table.h"

#define SHOW "show "

/* In the order of help, completions and manual. */
static const struct command commands[] = {
    {
        .name = SHOW "pools",
        .arguments = "[POOL]",
        .text = "a line for each pool: its state, connections, waiters, workers and counters",
        .more =
            "STATE is *lending*; *pausing* or *draining* while leases are still out, *paused* or "
            "*drained* once none is; *service* for a service, which has no connections of its own "
            "(_primary_ in *lendis.conf*(5)). BACKEND is *up*, *down* or *unknown* (not tried "
            "yet). "
            "SIZE is how many connections there may be, OPEN how many there are: IDLE are free, "
            "LEASED are with a worker, OTHER are on their way (being opened, given to a waiter, "
            "checked or replaced). WAITING counts waiting threads and commands, WORKERS attached "
            "processes. LEASES, WAITS and TIMEOUTS count since the broker started: all leases, "
            "those that had to wait, and waits that ended without a connection. Below the table "
            "are the last error of each backend that is down, the pools whose server's name is "
            "being looked up, and the members of each service with their state, and unwell "
            "(MEMBERS OF A SERVICE in *lendis.conf*(5)). The BACKEND of a service is that of its "
            "primary. Also there: how old the password of a pool is and when the next one is asked "
            "for, where _password_command_ gives one, and why it is not as it should be.",
        .most = 1,
        .show = show_pools,
    },
    {
        .name = SHOW "connections",
        .arguments = "[POOL]",
        .text = "a line for each connection: its state, who holds it and for how long",
        .more = "GENERATION is how often the connection was replaced. WORKER is the place of the "
                "worker "
                "that holds it, or to which it is on its way, and PID is that worker's process. "
                "USES is "
                "how often it was leased. Places without a connection (*empty*) are shown with "
                "*--all*.",
        .most = 1,
        .show = show_connections,
    },
    {
        .name = SHOW "workers",
        .arguments = "[POOL]",
        .text = "a line for each attached process: who it is, what it holds and its counters",
        .more =
            "PID is the process as the broker sees it. HELD is how many leases it holds; LEASES, "
            "WAITS and TIMEOUTS are its counters; FETCHES is how many descriptors it got from the "
            "broker. STATE is *attached* as a rule. A *resting* process lives on but has closed "
            "its "
            "socket to the broker, or the broker has hung up on it. It has no lease any more, but "
            "nobody else gets its place in the table until it ends or attaches again.",
        .most = 1,
        .show = show_workers,
    },
    {
        .name = SHOW "stats",
        .arguments = "[POOL]",
        .text = "every counter of each pool, with what it means",
        .more =
            "Connections are counted in all and by state (*idle*, *leased*, *opening*, and "
            "*stale*: "
            "with the broker, to be checked or replaced). Reasons that have not occurred are left "
            "out.",
        .most = 1,
        .show = show_stats,
    },
    {
        .name = SHOW "latency",
        .arguments = "[POOL]",
        .text = "how long waits, leases and commands take: count, mean, p50 to p99.9, maximum",
        .more =
            "How long calls waited for a connection (*wait*), how long commands took that another "
            "worker sent (*command*), how long connections were leased (*lease*), and how many "
            "commands went to Redis in one write (*batch*), since the broker started. A quantile "
            "is off by 6.25 % at most. Of leases shorter than 67 ms one in 32 is measured; of "
            "longer ones all that were used.",
        .most = 1,
        .show = show_latency,
    },
    {
        .name = SHOW "leases",
        .arguments = "[POOL]",
        .text = "who holds a connection, the longest first",
        .most = 1,
        .show = show_leases,
    },
    {
        .name = SHOW "waiters",
        .arguments = "[POOL]",
        .text = "who waits, the longest first",
        .more = "They wait for a CONNECTION, or for the REPLY to a command that was handed over; "
                "SERVED BY "
                "is then "
                "the worker that has the command.",
        .most = 1,
        .show = show_waiters,
    },
    {
        .name = SHOW "preload",
        .arguments = "[POOL]",
        .text = "what became of the connections of unmodified programs (*lendis-run*(1))",
        .more = "A line for each program and pool; programs that have ended, and processes that "
                "are another host's or container's, have one together. PROCESSES are those that "
                "are attached, VIRTUAL are "
                "connections that there are now. The rest counts since the processes began: "
                "REQUESTS went out on a leased connection, COPIED were handed over because none "
                "was idle, ANSWERED needed no server. PINNED are leases that were kept beyond a "
                "request, and PINNED BY says why: for a transaction, a blocking command, a changed "
                "session, or another reason. REAL are connections that became the program's own, "
                "and REAL BECAUSE says why. See *COUNTERS*.",
        .most = 1,
        .show = show_preload,
    },
    {
        .name = SHOW "config",
        .arguments = "[POOL]",
        .text = "the configuration in effect, without secrets",
        .more = "As *lendisd --print-config* prints it.",
        .most = 1,
        .show = show_config,
    },
    {
        .name = "metrics",
        .arguments = "",
        .text = "all statistics as text for Prometheus and compatible programs",
        .more = "See *METRICS*. The listener of *lendisd* answers with the same text; this command "
                "also "
                "works when the broker hangs.",
        .show = show_metrics,
    },
    {
        .name = "top",
        .arguments = "",
        .text = "a live view of pools, workers and leases",
        .more =
            "It shows pools (key *p*), workers (*w*) or leases (*l*), and looks again every "
            "second. "
            "*<* and *>* choose the column to sort by, *r* reverses the order, */* asks for a text "
            "and shows only lines that contain it, arrows and page keys scroll, *+* and *-* change "
            "the interval, *h* shows all keys, *q* quits. When the broker is gone, the view says "
            "so, "
            "keeps what it showed last, and goes on with the next broker. 80 columns and 24 lines "
            "are enough; more columns show more.",
        .kind = COMMAND_TOP,
    },
    {
        .name = "pause",
        .arguments = "[POOL]",
        .text = "stop lending and wait until all leases are back; new callers wait",
        .more = "No command is handed over any more. Whoever has a lease or a command under way "
                "finishes "
                "it; new callers wait, as long as they would for a connection (_wait_timeout_). "
                "Connections are closed as they come back. When *pause* returns, no process has a "
                "connection of the pool, and Redis has no client of it: Redis can be restarted or "
                "moved "
                "without a failing command, if that takes no longer than the workers wait.",
        .kind = COMMAND_ASK,
        .most = 1,
        .verb = WIRE_PAUSE,
    },
    {
        .name = "resume",
        .arguments = "[POOL]",
        .text = "lend again, after pause or drain",
        .more =
            "Without _POOL_, *pause*, *drain* and *resume* leave out pools that the configuration "
            "switches off (_enabled_ = *no*). With the name of such a pool, *resume* switches it "
            "on.",
        .kind = COMMAND_ASK,
        .most = 1,
        .verb = WIRE_RESUME,
    },
    {
        .name = "drain",
        .arguments = "[POOL]",
        .text = "switch the pool off: like pause, but new callers are refused at once",
        .more = "They, and those who wait already, get *LENDIS_E_DISABLED*.",
        .kind = COMMAND_ASK,
        .most = 1,
        .verb = WIRE_DRAIN,
    },
    {
        .name = "kill",
        .arguments = "[POOL]",
        .text = "revoke leases now: of a pool, of one connection of it, or of a process",
        .more =
            "*--connection* names the connection, *--worker* the process. Connections are closed "
            "and replaced. The holder's next use of the lease fails, "
            "and "
            "commands of others that were under way on the connection end as they do when a "
            "connection is lost. *--worker* needs no _POOL_: it means the process's leases in all "
            "pools. Whoever lost a lease may take another; to prevent that, *pause* first.",
        .kind = COMMAND_ASK,
        .most = 1,
        .verb = WIRE_KILL,
    },
    {
        .name = "reconnect",
        .arguments = "[POOL]",
        .text = "replace every connection that is open now; nobody waits for it",
        .more =
            "For each a new one is opened first, and the old one is closed when it comes back. The "
            "command returns when all are replaced. Use it when a server is to lose its clients, "
            "or "
            "after a change behind a load balancer or a host name.",
        .kind = COMMAND_ASK,
        .most = 1,
        .verb = WIRE_RECONNECT,
    },
    {
        .name = "set",
        .arguments = "[POOL] KEY=VALUE",
        .text = "set a key of a pool, or of [broker], until the next reload",
        .more = "Numbers, times, choices and switches of *lendis.conf*(5) can be set, written as "
                "there; "
                "without _POOL_, keys of *[broker]*. Workers follow from their next call on.",
        .kind = COMMAND_ASK,
        .least = 1,
        .most = 2,
        .verb = WIRE_SET,
    },
    {
        .name = "reload",
        .arguments = "",
        .text = "read the configuration again",
        .more =
            "See *Changes* in *lendis.conf*(5). If the new one has an error, the old one stays in "
            "force, and the error is printed and logged.",
        .kind = COMMAND_ASK,
        .verb = WIRE_RELOAD,
    },
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find(const char *prefix, const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const char *name = commands[i].name;

        if (strncmp(name, prefix, strlen(prefix)) == 0 && strcmp(name + strlen(prefix), word) == 0)
            return &commands[i];
    }
    return NULL;
}

const struct command *command_find(int count, char **words, int *taken)
{
    *taken = strcmp(words[0], "show") == 0 ? 2 : 1;
    if (*taken == 1)
        return find("", words[0]);
    return count > 1 ? find(SHOW, words[1]) : NULL;
}

const char *command_shown(void)
{
    static char list[256];
    size_t used = 0;

    for (size_t i = 0; i < COMMANDS && used < sizeof list; i++)
        if (strncmp(commands[i].name, SHOW, strlen(SHOW)) == 0)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     commands[i].name + strlen(SHOW));
    return list;
}

void command_print_help(size_t column, FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *command = &commands[i];
        bool shows =
            command->kind == COMMAND_SHOW && strncmp(command->name, SHOW, strlen(SHOW)) == 0;
        char label[64];

        /* Whatever is shown takes a pool, as the help's first line says. */
        snprintf(label, sizeof label, "  %s %s", command->name, shows ? "" : command->arguments);
        if (i > 0 && command->kind != commands[i - 1].kind)
            fputc('\n', out);
        option_table_print_line(label, command->text, column, out);
    }
}

void command_list(FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "%s\t%s\t%s\t%s\n", commands[i].name, commands[i].arguments, commands[i].text,
                commands[i].more ? commands[i].more : "");
}
