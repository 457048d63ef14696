/* SPDX-License-Identifier: MIT */
/* A sink that keeps the bytes of replies: see reply_bytes.h. */
#include "libclient/reply_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/connection/resp.h"

static int bytes_take(void *context, const char *data, size_t size)
{
    struct reply_bytes *bytes = context;

    if (size == 0)
        return 0; /* a take-over begins with what has come so far: nothing, perhaps */
    if (size > bytes->room - bytes->size) {
        size_t room = (bytes->size + size) * 2;
        char *grown = realloc(bytes->data, room);

        if (!grown)
            return -ENOMEM;
        bytes->data = grown;
        bytes->room = room;
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
    return 0;
}

static void bytes_restart(void *context)
{
    ((struct reply_bytes *)context)->size = 0;
}

static bool bytes_whole(void *context, uint32_t replies)
{
    const struct reply_bytes *bytes = context;
    struct resp_scan scan = {0};
    size_t at = 0, used;

    for (; replies > 0 && at < bytes->size; replies--, at += used)
        if (resp_scan(&scan, bytes->data + at, bytes->size - at, &used) != 1)
            return false;
    return replies == 0 && at == bytes->size;
}

struct reply_sink reply_bytes_sink(struct reply_bytes *bytes)
{
    return (struct reply_sink){bytes_take, bytes_restart, bytes, bytes_whole};
}
