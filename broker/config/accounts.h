/* SPDX-License-Identifier: MIT */
/*
 * Users and groups by name, looked up when the configuration is read. The user database may be a
 * service elsewhere, so this never runs but while a configuration is read.
 */
#ifndef LENDIS_BROKER_CONFIG_ACCOUNTS_H
#define LENDIS_BROKER_CONFIG_ACCOUNTS_H

#include "broker/config/loader.h"

/* Parses a list of names into `field`. */
void config_parse_accounts(const struct place *place, const char *text, struct id_names *field);

void id_names_free(struct id_names *names);

#endif
