/* SPDX-License-Identifier: MIT */
/*
 * The configuration: lendis.conf and the environment, checked and in private memory. One table of
 * keys (keys.c) drives parsing, the environment, the defaults, --print-config and --list-keys.
 *
 * Everything wrong is reported, not only the first thing, each with its place and with what is
 * allowed. Secrets come from files alone; they are never printed and are wiped when the
 * configuration is freed.
 */
#ifndef LENDIS_BROKER_CONFIG_H
#define LENDIS_BROKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "broker/base/log.h"
#include "lendis/catalog.h"

#define CONFIG_DEFAULT_PATH "/etc/lendis/lendis.conf"

struct id_range {
    uint32_t first;
    uint32_t last;
};

struct id_list {
    struct id_range *ranges;
    size_t count;
};

/* Users or groups by name. */
struct id_names {
    char *text; /* the names, separated by a blank */
    struct id_list ids;
};

/* Where a pool's Redis is: `host` and `port`, or `path`. */
struct redis_address {
    char *text; /* as configured; holds no secret */
    char *host;
    char *path;
    uint16_t port;
    uint32_t db;
    bool tls; /* rediss:// */
};

/* How a pool with such an address uses TLS: encryption.h. */
struct pool_tls {
    char *ca_file; /* as configured; NULL: not set, likewise the next ones */
    char *ca_path;
    char *cert_file;
    char *key_file;
    char *server_name;
    char *ciphers;
    char *ciphersuites;
    uint32_t verify; /* enum tls_verify */
    uint32_t mode;   /* enum tls_mode */
    uint32_t min_version;
    uint32_t max_version;
    /* Where the files are, with credentials of the service found. */
    char *ca_file_at, *cert_file_at, *key_file_at;
};

/* Where a key was set: a line of the file, a variable of the environment, or (both 0) its default.
 */
struct config_origin {
    unsigned line;
    const char *variable; /* points into the environment: "NAME=value" */
};

/* The least lifetime of a password that has an end. */
#define PASSWORD_LIFETIME_LEAST_MS 1000u

/* A section has at most so many keys. */
#define CONFIG_KEYS_MAX 64u

struct broker_config {
    struct config_origin origins[CONFIG_KEYS_MAX];
    unsigned line; /* of the section; 0: it has none */
    char *socket;
    char *metrics;      /* NULL: none */
    uint32_t log_level; /* enum log_level */
    uint32_t max_workers;
    uint32_t dial_concurrency;
    uint32_t dial_rate; /* dials a second; 0: no limit */
    uint32_t drain_timeout_ms;
    uint32_t exit_after_idle_ms; /* 0: never */
};

struct pool_config {
    struct config_origin origins[CONFIG_KEYS_MAX];
    unsigned line; /* of the section */
    char name[CATALOG_NAME_SIZE];
    struct redis_address redis;
    struct pool_tls tls;
    char *username;
    char *password_file;
    char *password_path;    /* of the file, where a credential of the service was meant */
    char *password_command; /* instead of the file */
    uint32_t password_command_timeout_ms;
    uint32_t password_lifetime_ms; /* 0: it does not end */
    /* What was in the file when the configuration was read, without the newline at its end. The
     * pool takes it from here (credential.h). */
    char *password;
    size_t password_size;
    uint32_t size;
    uint32_t min_idle;
    uint32_t max_idle;         /* 0: no limit */
    uint32_t max_idle_time_ms; /* 0: no limit; likewise the next ones */
    uint32_t max_lifetime_ms;
    uint32_t lifetime_jitter; /* percent */
    uint32_t max_uses;
    uint32_t reserve_size; /* connections beyond size */
    uint32_t reserve_after_ms;
    uint32_t check_interval_ms; /* 0: no checks */
    uint32_t check_timeout_ms;
    uint32_t fail_fast_after; /* dials; 0: never */
    uint32_t order;           /* enum lending_order */
    bool check_on_lease;
    uint32_t wait_queue; /* 0: no limit */
    uint32_t dial_backoff_min_ms;
    uint32_t dial_backoff_max_ms;
    uint32_t tcp_keepalive_ms; /* 0: off */
    char *client_name;         /* NULL: lendis-POOL */
    uint32_t connect_timeout_ms;
    uint32_t wait_timeout_ms;
    uint32_t command_timeout_ms; /* 0: none */
    uint32_t stall_timeout_ms;
    uint32_t reset;              /* enum reset_policy */
    uint32_t lease_timeout_ms;   /* 0: none */
    uint32_t leak_warn_after_ms; /* 0: never */
    uint32_t per_uid_leases;     /* 0: no limit */
    uint32_t per_uid_workers;    /* 0: no limit */
    struct id_list allow_uids;   /* all four empty: whoever can open the socket */
    uint32_t role;               /* enum pool_role */
    bool is_member;              /* of a service */
    char *serves;                /* addresses, separated by a blank; NULL: its own */
    char *primary;               /* of a service, which has no `redis`; else NULL */
    char *replicas;              /* of a service: names, separated by a blank */
    bool enabled;
    uint32_t fallback; /* enum fallback_policy */
    uint32_t fallback_connections;
    struct id_list allow_gids;
    struct id_names allow_users; /* looked up when the configuration was read */
    struct id_names allow_groups;
    char *exclusive_commands; /* names in capitals, each once, sorted, separated by a blank */
};

struct config {
    char *path; /* of the file */
    struct broker_config broker;
    struct pool_config *pools;
    uint32_t pool_count;
};

/* Gets each problem as one line of text: `FILE:LINE: [SECTION] KEY: what is wrong`. Errors and
 * warnings. */
typedef void config_report(enum log_level level, const char *text, void *context);

/*
 * Reads the file at `path` and what `environment` (as environ(7)) overrides in it. Results: 0, and
 * *config is the caller's until config_free(); -EINVAL, something was reported as an error;
 * -ENOMEM.
 */
int config_load(const char *path, char *const *environment, config_report *report, void *context,
                struct config *config);

/*
 * Sets a key of pool `pool` (NULL: of [broker]) in a configuration that is in force. Only numbers,
 * times, choices and switches can be set so, and not what counts at the start alone. Results: 0;
 * -EINVAL, something was reported as an error and nothing has changed.
 */
int config_set(struct config *config, struct pool_config *pool, const char *name, const char *value,
               config_report *report, void *context);

/* What of [broker] counts at the start alone: the name of the first such key that differs; NULL:
 * none. */
const char *config_needs_restart(const struct broker_config *now, const struct broker_config *then);

/* Wipes the secrets and frees what one pool has. */
void pool_config_free(struct pool_config *pool);

/* Wipes the secrets and frees everything. */
void config_free(struct config *config);

/* Writes the configuration in effect as a file that config_load() takes; no secrets. */
void config_print(const struct config *config, FILE *out);

/* Writes what keys there are, tab-separated: section, key, type, default, range, help, more. */
void config_list_keys(FILE *out);

/* The pool logs in to Redis. */
static inline bool pool_config_logs_in(const struct pool_config *pool)
{
    return pool->password_file || pool->password_command;
}

bool id_list_contains(const struct id_list *list, uint32_t id);

#endif
