/* SPDX-License-Identifier: MIT */
/* Waits in steps that do not block. */
#ifndef LENDIS_ASYNC_H
#define LENDIS_ASYNC_H

#include "libclient/pool.h"

/* Cancels and frees the waits of this process that are under way. */
void async_cancel_all(struct lendis_pool *pool);

#endif
