/* SPDX-License-Identifier: MIT */
/* Replies by copying: see copying.h. */
#include "libclient/preload/copying.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/exec.h"
#include "libclient/preload/answers.h"
#include "libclient/preload/counts.h"
#include "libclient/preload/map.h"
#include "libclient/preload/plan.h"
#include "libclient/preload/settings.h"
#include "libclient/preload/swap.h"
#include "libclient/preload/tally.h"

/* The program's own limit for a reply, if it is known and there is one. */
static int limit_ms(const struct virtual *virtual)
{
    int64_t ms = virtual->receive_ns / 1000000;

    return ms > 0 && ms < 3600000 ? (int)ms : -1;
}

int copy_handed_over(struct virtual *virtual, struct lendis_pool *pool, const char *request,
                     size_t size)
{
    size_t reply_size;
    int before = errno, result;
    void *reply;

    result = exec_bytes(pool, request, size, limit_ms(virtual),
                        settings.wait_ms > 0 ? settings.wait_ms : 1, &reply, &reply_size);
    if (result == 0) {
        result = swap_answer(virtual, reply, reply_size);
        lendis_free(reply);
        count_up(PRELOAD_handed);
        tally_opened(virtual);
        tally(virtual, COUNTER_virtual_copied);
        if (result != 0)
            result = LENDIS_E_UNCERTAIN; /* it was executed, and nobody can be told */
    }
    errno = before;
    return result;
}

int copy_one_by_one(struct virtual *virtual, const char *request, size_t size)
{
    int result = 0;

    while (size > 0 && result == 0) {
        size_t used = plan_first_end(request, size);
        struct lendis_pool *pool = route_pool(virtual->route, virtual->db);
        struct plan plan;

        plan_make(&plan, request, used, NULL, NULL);
        if (!plan.own || !answer_request(virtual, request, used, &plan.first))
            result = plan.first.meaning == MEANS_LOGIN || !pool
                         ? -EACCES
                         : copy_handed_over(virtual, pool, request, used);
        request += used;
        size -= used;
    }
    return result;
}

int copy_gather(struct virtual *virtual, const char *request, size_t size)
{
    char *grown;

    if (virtual->gathered_size + size > COPYING_MAX)
        return -ENOMEM;
    grown = realloc(virtual->gathered, virtual->gathered_size + size);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + virtual->gathered_size, request, size);
    virtual->gathered = grown;
    virtual->gathered_size += size;
    return 0;
}

int copy_gathered(struct virtual *virtual)
{
    size_t whole = 0, used;
    int result;

    while ((used = plan_first_end(virtual->gathered + whole, virtual->gathered_size - whole)) > 0)
        whole += used;
    if (whole == 0)
        return 0;
    result = copy_one_by_one(virtual, virtual->gathered, whole);
    virtual->gathered_size -= whole;
    memmove(virtual->gathered, virtual->gathered + whole, virtual->gathered_size);
    return result;
}
