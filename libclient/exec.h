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

#endif
