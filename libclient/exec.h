/* SPDX-License-Identifier: MIT */
/* Commands by a pool's handle: what lendis_exec() and its kind stand on. */
#ifndef LENDIS_EXEC_H
#define LENDIS_EXEC_H

#include "libclient/call.h"

/*
 * lendis_exec() with a sink: leases, sends, gives back, and repeats what may be repeated ("When an
 * answer is lost" in include/lendis/README.md). timeout_ms as lendis_exec(); a refused request is
 * -EINVAL.
 */
int exec_command(struct lendis_pool *pool, const char *request, size_t size, int timeout_ms,
                 const struct reply_sink *sink);

/*
 * lendis_exec(), that waits at most wait_ms for its turn (0: as long as timeout_ms says), and as
 * timeout_ms says for the reply.
 */
int exec_bytes(struct lendis_pool *pool, const void *request, size_t request_size, int timeout_ms,
               int wait_ms, void **reply, size_t *reply_size);

#endif
