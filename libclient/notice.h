/* SPDX-License-Identifier: MIT */
/*
 * Errors by which a server says something of itself, its node or the connection
 * (shared/server_error.h), as a worker meets them among its replies: reports to the broker what it
 * has to inspect.
 */
#ifndef LENDIS_NOTICE_H
#define LENDIS_NOTICE_H

#include "libclient/pool.h"

/* `text` is an error reply that came over `lease`, from its "-" on. Costs a system call where the
 * broker has something to do and does not know it yet. */
void notice_error(const struct lendis_lease *lease, const char *text, size_t size);

#endif
