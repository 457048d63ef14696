/* SPDX-License-Identifier: MIT */
/* Lists for the manual: see lists.h. */
#include "broker/ctl/lists.h"

#include "lendis/counters.h"
#include "lendis/reasons.h"

/* Kind, name, unit and text of one. */
static const char *const counters[][4] = {
#define WORKER(name, unit, text)  {"worker", #name "_total", unit, text},
#define PRELOAD(name, unit, text) {"preload", #name "_total", unit, text},
#define BROKER(name, unit, text)  {"broker", #name "_total", unit, text},
#define CLOSE(name, text)         {"close", "closed_" #name "_total", "connections", text},
#define REVOKE(name, text)        {"revoke", "revoked_" #name "_total", "leases", text},
#define DIAL(name, text)          {"dial", "dial_errors_" #name "_total", "attempts", text},
    /* clang-format off */
    WORKER_COUNTERS(WORKER)
    PRELOAD_COUNTERS(PRELOAD)
    BROKER_COUNTERS(BROKER)
    CLOSE_REASONS(CLOSE)
    REVOKE_REASONS(REVOKE)
    DIAL_REASONS(DIAL)
    /* clang-format on */
};

void list_counters(FILE *out)
{
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        fprintf(out, "%s\t%s\t%s\t%s\n", counters[i][0], counters[i][1], counters[i][2],
                counters[i][3]);
}
