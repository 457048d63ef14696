/* SPDX-License-Identifier: MIT */
/*
 * What a pool serves: the addresses at which a program that knows nothing of lendis finds it
 * (`serves` of lendis.conf). The broker checks the list, and the preloaded library reads it in the
 * catalog, by this one parser.
 *
 *   127.0.0.1:6379 [::1]:6379 localhost unix:///run/redis/redis.sock /run/redis/other.sock
 */
#ifndef LENDIS_SERVED_H
#define LENDIS_SERVED_H

#include "libclient/shared/redis_url.h"

/* Alone: nothing. */
#define SERVED_NOTHING "none"

/*
 * The next address of the list at *at, and moves *at behind it: redis://HOST:PORT or unix:///PATH,
 * where redis://, unix:// and :6379 may be left out. Separators are blanks and commas. Results: 1,
 * and redis_url_free() must follow; 0, there is no more; -EINVAL, and why it is no address;
 * -ENOMEM.
 */
int served_next(const char **at, struct redis_url *url, char why[REDIS_URL_WHY_SIZE]);

#endif
