/* SPDX-License-Identifier: MIT */
/*
 * What a value means: from text to a field and back. A value that is wrong is reported with what is
 * allowed, and leaves its field as it was.
 */
#ifndef LENDIS_BROKER_CONFIG_VALUES_H
#define LENDIS_BROKER_CONFIG_VALUES_H

#include "broker/config/loader.h"

/* Parses `text` into the key's field of `target`, the section's struct. */
void config_parse_value(const struct place *place, const char *text, void *target);

/* Gives all fields of `target` their defaults. */
void config_set_defaults(struct loader *loader, const struct section *section, void *target);

/* A duration as it is written, with the largest unit that divides it. */
void config_format_duration(uint64_t ms, char *text, size_t size);

void redis_address_free(struct redis_address *address);

#endif
