/* SPDX-License-Identifier: MIT */
/*
 * Variables that override the file: LENDIS_BROKER_<KEY> and LENDIS_POOL_<NAME>_<KEY>. Those that
 * mean nothing here are reported as warnings, with the nearest one that would.
 */
#ifndef LENDIS_BROKER_CONFIG_ENVIRONMENT_H
#define LENDIS_BROKER_CONFIG_ENVIRONMENT_H

#include "broker/config/loader.h"

/* Takes over what the loader's environment says. */
void config_read_environment(struct loader *loader);

/* `name` as it is written in a variable. Returns its length. */
size_t environment_name(const char *name, char *text);

/* Results: the value of variable `name`; NULL: there is none. */
const char *environment_look_up(char *const *environment, const char *name);

#endif
