/* SPDX-License-Identifier: MIT */
/* Reading ahead: see plan.h. */
#include "libclient/preload/plan.h"

#include <string.h>

static void note(struct plan *plan, bool *what, const struct sighting *sighting)
{
    *what = true;
    if (!plan->why[0])
        memcpy(plan->why, sighting->verb, sizeof plan->why);
}

static void add(struct plan *plan, const struct sighting *sighting, bool is_first)
{
    const struct command *command = &sighting->command;

    if (is_first)
        plan->first = *sighting;
    switch (sighting->meaning) {
    case MEANS_SELECT:
        if (is_first)
            plan->select = sighting->number;
        note(plan, &plan->own, sighting);
        break;
    case MEANS_NAME:
    case MEANS_ASK_NAME:
    case MEANS_LOGIN:
    case MEANS_QUIT:
        note(plan, &plan->own, sighting);
        break;
    case MEANS_LASTING:
        note(plan, &plan->lasting, sighting);
        break;
    case MEANS_RESET:
        note(plan, &plan->ties, sighting);
        break;
    case MEANS_NOTHING:
        /* It reports what its own connection has written before. */
        if (command->flags & COMMAND_AFTER_WRITE)
            note(plan, &plan->lasting, sighting);
        else if (command->flags & COMMAND_BLOCKING)
            note(plan, &plan->blocks, sighting);
        else if (command->kind != COMMAND_OTHER || (command->flags & COMMAND_SESSION))
            note(plan, &plan->ties, sighting);
        break;
    }
    if (!command_may_share(command) || sighting->meaning != MEANS_NOTHING)
        plan->shares = false;
}

void plan_make(struct plan *plan, const char *data, size_t size, stream_classifier *classifier,
               void *context)
{
    struct request request = {0};
    struct sighting sighting;

    *plan = (struct plan){.shares = true, .select = -1};
    while (size > 0) {
        size_t used;
        int result = request_feed(&request, data, size, &used);

        if (result < 0) {
            plan->foreign = true;
            return;
        }
        if (stream_sight(&request, classifier, context, &sighting))
            add(plan, &sighting, plan->commands == 0);
        else
            plan->unknown = true;
        data += used;
        size -= used;
        if (result == 1) {
            plan->commands++;
            request_end(&request);
        }
    }
    plan->partial = !request_is_between(&request);
}

size_t plan_first_end(const char *data, size_t size)
{
    struct request request = {0};
    size_t used = 0;

    return request_feed(&request, data, size, &used) == 1 ? used : 0;
}
