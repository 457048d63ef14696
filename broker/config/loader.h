/* SPDX-License-Identifier: MIT */
/*
 * One run of reading a configuration: what is read, and how what is wrong with it is reported, each
 * problem in one line with its place. Nothing here knows what values mean.
 */
#ifndef LENDIS_BROKER_CONFIG_LOADER_H
#define LENDIS_BROKER_CONFIG_LOADER_H

#include "broker/config/config.h"
#include "broker/config/keys.h"

#define CONFIG_TEXT_SIZE 512

/* One run of config_load(). */
struct loader {
    struct config *config;
    config_report *report;
    void *context;
    char *const *environment;
    FILE *file;
    char *buffer; /* getline(3)'s */
    size_t buffer_size;
    unsigned line;
    bool in_broker;
    struct pool_config *pool; /* the section we are in, unless in_broker */
    bool skipping;            /* in a section that was refused */
    size_t line_max;          /* characters of a line, as inih has it */
    unsigned errors;
    bool no_memory;
};

/* The value that is being read: where it is from and whose it is. */
struct place {
    struct loader *loader;
    const struct pool_config *pool; /* NULL: the [broker] section */
    const struct key *key;
    struct config_origin origin;
};

/* Reports `text`, as one line, whatever is quoted in it. */
void config_report_text(const struct loader *loader, enum log_level level, char *text);

/* Reports an error: in a line of the file, of a value. */
void config_complain_line(struct loader *loader, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_complain(const struct place *place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Likewise something that is no error. */
void config_warn(const struct place *place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where `pool` has the key of a field. */
struct place config_place_of(struct loader *loader, const struct pool_config *pool,
                             size_t field_offset);
#define PLACE_OF(loader, pool, field)                                                              \
    config_place_of(loader, pool, offsetof(struct pool_config, field))

/* Results: a copy, the caller's; NULL: there is no memory, which the loader then knows. */
char *config_keep(struct loader *loader, const char *text);

#endif
