/* SPDX-License-Identifier: MIT */
/* Redis' memory: see redis_memory.h. */
#include "broker/report/redis_memory.h"

#include <stdio.h>
#include "broker/base/proc_text.h"

/* Of the asking connection itself too little is known to take it off the clients' memory: it is a
 * part of all that is compared. */
bool redis_memory_add(redisContext *context, struct redis_memory *sum, char *problem, size_t size)
{
    redisReply *reply = redisCommand(context, "INFO ALL");
    bool known = reply && reply->type == REDIS_REPLY_STRING;

    if (known) {
        sum->rss += info_field(reply->str, "used_memory_rss");
        sum->used += info_field(reply->str, "used_memory");
        sum->clients += info_field(reply->str, "mem_clients_normal");
        sum->connections += info_field(reply->str, "connected_clients") - 1;
    } else {
        snprintf(problem, size, "%s",
                 !reply                             ? context->errstr
                 : reply->type == REDIS_REPLY_ERROR ? reply->str
                                                    : "no answer to INFO");
    }
    if (reply)
        freeReplyObject(reply);
    return known;
}
