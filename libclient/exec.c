/* SPDX-License-Identifier: MIT */
/* Commands by a pool's handle, whatever stands behind it; and lendis_exec(), which gives the
 * reply's bytes as they came. */
#include "libclient/exec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/cancel.h"
#include "libclient/connection/resp.h"
#include "libclient/service.h"

int exec_command(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                 const struct reply_sink *sink)
{
    uint32_t losses = 0;
    struct call call;

    if (call_init(&call, request, size, sink) != 0)
        return -EINVAL;
    if (command_needs_lease(&call.command, call.replies))
        return -EOPNOTSUPP;
    call.losses = &losses;
    return service_call(pool, &call, timeout_ms, 0);
}

/* ---- lendis_exec() ---- */

struct bytes {
    char *data;
    size_t size;
    size_t room;
};

static int bytes_take(void *context, const char *data, size_t size)
{
    struct bytes *bytes = context;

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
    ((struct bytes *)context)->size = 0;
}

static bool bytes_whole(void *context, uint32_t replies)
{
    const struct bytes *bytes = context;
    struct resp_scan scan = {0};
    size_t at = 0, used;

    for (; replies > 0 && at < bytes->size; replies--, at += used)
        if (resp_scan(&scan, bytes->data + at, bytes->size - at, &used) != 1)
            return false;
    return replies == 0 && at == bytes->size;
}

LENDIS_PUBLIC int lendis_exec(struct lendis_pool *pool, const void *request, size_t request_size,
                              int timeout_ms, void **reply, size_t *reply_size)
{
    int before CANCEL_RESTORED = cancel_off();
    struct bytes bytes = {0};
    struct reply_sink sink = {bytes_take, bytes_restart, &bytes, bytes_whole};
    int result;

    if (!pool || !request || !reply || !reply_size || timeout_ms < -1)
        return -EINVAL;
    result = exec_command(pool, request, request_size, timeout_ms, &sink);
    if (result != 0) {
        free(bytes.data);
        return result;
    }
    *reply = bytes.data;
    *reply_size = bytes.size;
    return 0;
}

LENDIS_PUBLIC void lendis_free(void *reply)
{
    free(reply);
}
