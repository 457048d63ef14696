/* SPDX-License-Identifier: MIT */
/*
 * Requests that are answered here, without Redis: what a virtual connection has of its own, and
 * what a pooled one has already. Only where the answer is exactly that of Redis; a request that
 * Redis would refuse goes to Redis.
 */
#ifndef LENDIS_PRELOAD_ANSWERS_H
#define LENDIS_PRELOAD_ANSWERS_H

#include "libclient/preload/virtual.h"

/*
 * `request` is the whole of one command, which is `sighting`. True: it was answered.
 */
bool answer_request(struct virtual *virtual, const char *request, size_t size,
                    const struct sighting *sighting);

/* Whether each of these whole commands could be answered here, or handed over by its own. */
bool answer_can_serve(const struct virtual *virtual, const char *request, size_t size);

/*
 * Whether AUTH, or HELLO 2 AUTH, is the pool's own login: the broker is asked, and the password is
 * kept nowhere.
 */
bool answer_is_own_login(const struct virtual *virtual, const char *request, size_t size);

#endif
