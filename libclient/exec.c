/* SPDX-License-Identifier: MIT */
/* Commands by a pool's handle, whatever stands behind it; and lendis_exec(), which gives the
 * reply's bytes as they came. */
#include "libclient/exec.h"

#include <errno.h>
#include <stdlib.h>
#include "libclient/cancel.h"
#include "libclient/reply_bytes.h"
#include "libclient/service.h"

static int exec_within(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                       int wait_ms, const struct reply_sink *sink)
{
    uint32_t losses = 0;
    struct call call;

    if (call_init(&call, request, size, sink) != 0)
        return -EINVAL;
    if (command_needs_lease(&call.command, call.replies))
        return -EOPNOTSUPP;
    call.losses = &losses;
    return service_call(pool, &call, timeout_ms, wait_ms);
}

int exec_command(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                 const struct reply_sink *sink)
{
    return exec_within(pool, request, size, timeout_ms, 0, sink);
}

/* ---- lendis_exec() ---- */

int exec_bytes(struct lendis_pool *pool, const void *request, size_t request_size, int timeout_ms,
               int wait_ms, void **reply, size_t *reply_size)
{
    struct reply_bytes bytes = {0};
    struct reply_sink sink = reply_bytes_sink(&bytes);
    int result = exec_within(pool, request, request_size, timeout_ms, wait_ms, &sink);

    if (result != 0) {
        free(bytes.data);
        return result;
    }
    *reply = bytes.data;
    *reply_size = bytes.size;
    return 0;
}

LENDIS_PUBLIC int lendis_exec(struct lendis_pool *pool, const void *request, size_t request_size,
                              int timeout_ms, void **reply, size_t *reply_size)
{
    int before CANCEL_RESTORED = cancel_off();

    if (!pool || !request || !reply || !reply_size || timeout_ms < -1)
        return -EINVAL;
    return exec_bytes(pool, request, request_size, timeout_ms, 0, reply, reply_size);
}

LENDIS_PUBLIC void lendis_free(void *reply)
{
    free(reply);
}
