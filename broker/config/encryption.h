/* SPDX-License-Identifier: MIT */
/*
 * The keys of TLS: rules among them, and whether the files that they name can be used, which is
 * tried with the library that will use them. A pool whose address is not rediss:// may have none of
 * them: what is meant to be encrypted is never sent in the clear.
 */
#ifndef LENDIS_BROKER_CONFIG_ENCRYPTION_H
#define LENDIS_BROKER_CONFIG_ENCRYPTION_H

#include "broker/config/loader.h"
#include "broker/tls/tls.h"

/* What can be said without the files. */
void config_check_tls(struct loader *loader, const struct pool_config *pool);

/* Finds the files and tries them. */
void config_read_tls(struct loader *loader, struct pool_config *pool);

/* What the library is given; it points into `pool`. */
struct tls_settings pool_tls_settings(const struct pool_config *pool);

/* The same files, rules and peer. */
bool pool_tls_same(const struct pool_config *a, const struct pool_config *b);

void pool_tls_free(struct pool_tls *tls);

#endif
