/* SPDX-License-Identifier: MIT */
/*
 * What a pool logs in with: checks of its keys, and the first reading of its password file. Reading
 * may meet a file system that hangs, so it has a limit: a reload holds up the event loop.
 */
#ifndef LENDIS_BROKER_CONFIG_PASSWORDS_H
#define LENDIS_BROKER_CONFIG_PASSWORDS_H

#include "broker/config/loader.h"

/* Checks the keys alone. */
void config_check_login(struct loader *loader, struct pool_config *pool);

/* Reads the file, and inspects the program. */
void config_read_password(struct loader *loader, struct pool_config *pool);

#endif
