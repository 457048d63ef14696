/* SPDX-License-Identifier: MIT */
/*
 * What must hold for the whole: keys against each other, names of pools, members of services,
 * passwords (passwords.h). Every problem is reported at the key where it is best mended.
 */
#ifndef LENDIS_BROKER_CONFIG_CHECKS_H
#define LENDIS_BROKER_CONFIG_CHECKS_H

#include "broker/config/loader.h"

/* One pool; its password is not read. */
void config_check_pool(struct loader *loader, struct pool_config *pool);

/* All pools. */
void config_check(struct loader *loader);

#endif
