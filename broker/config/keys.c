/* SPDX-License-Identifier: MIT */
/* The table of keys: see keys.h. */
#include "broker/config/keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "broker/base/log.h"
#include "broker/config/config.h"
#include "lendis/mailbox.h"
#include "lendis/wire.h"

#define USERNAME_MAX    63u
#define CLIENT_NAME_MAX 63u

static const char *const level_names[] = {"err", "warning", "notice", "info", "debug", NULL};

static const char *const reset_names[] = {"tracked", "always", "never", NULL};
static const char *const order_names[] = {"last_used", "round_robin", NULL};

const char *const config_role_names[] = {"primary", "replica", "local", NULL};

static const char *const fallback_names[] = {"error", "direct", NULL};

#define HOURS(n) (UINT64_C(3600000) * (n))

static const struct key broker_keys[] = {
    {"socket", KEY_SOCKET, offsetof(struct broker_config, socket), LENDIS_DEFAULT_SOCKET, 0, 0,
     "Socket that workers attach at; it is made with mode 0660. Its directory must exist.", NULL},
    {"log_level", KEY_CHOICE, offsetof(struct broker_config, log_level), "notice", LOG_LEVEL_ERR, 0,
     "Least urgent messages that are logged: err, warning, notice, info or debug.", level_names},
    {"max_workers", KEY_COUNT, offsetof(struct broker_config, max_workers), "1024", 1,
     LENDIS_MAX_WORKERS, "Processes that can be attached at the same time, over all pools.", NULL},
    {"dial_concurrency", KEY_COUNT, offsetof(struct broker_config, dial_concurrency), "8", 1, 256,
     "Connections that are being opened at the same time at most, over all pools.", NULL},
    {"dial_rate", KEY_COUNT, offsetof(struct broker_config, dial_rate), "0", 0, 100000,
     "Connections that are being opened per second at most, over all pools; 0 means no limit.",
     NULL},
    {"metrics", KEY_LISTEN, offsetof(struct broker_config, metrics), NULL, 0, 0,
     "Where metrics are told by HTTP, at /metrics: unix:///PATH, or HOST:PORT on loopback. Without "
     "it: nowhere.",
     NULL},
    {"drain_timeout", KEY_DURATION, offsetof(struct broker_config, drain_timeout_ms), "10s", 0,
     HOURS(1), "How long a broker that was told to stop waits for leases to come back.", NULL},
    {"exit_after_idle", KEY_DURATION, offsetof(struct broker_config, exit_after_idle_ms), "0s", 0,
     HOURS(24),
     "A broker without workers for this long exits; the next worker starts it again, by socket "
     "activation. 0s: it stays.",
     NULL},
};

static const struct key pool_keys[] = {
    {"role", KEY_CHOICE, offsetof(struct pool_config, role), "primary", ROLE_PRIMARY, 0,
     "What the Redis of this pool is: primary, takes writes; replica, of a primary; local, for "
     "this host alone. A service's "
     "members must have the role that they are named for.",
     config_role_names},
    {"primary", KEY_TEXT, offsetof(struct pool_config, primary), NULL, 1, CATALOG_NAME_SIZE - 1,
     "Makes this a service, which has no redis of its own: the pool that writes and leases go to.",
     NULL},
    {"replicas", KEY_TEXT, offsetof(struct pool_config, replicas), NULL, 1,
     SERVICE_REPLICAS_SIZE - 1,
     "Of a service: the pools that commands go to that only read, the least busy one that is up; "
     "without one, to the primary.",
     NULL},
    {"enabled", KEY_SWITCH, offsetof(struct pool_config, enabled), "yes", 0, 0,
     "The switch for a gradual roll-out. A pool that is switched off has no connections; what its "
     "workers get is said by "
     "fallback.",
     NULL},
    {"fallback", KEY_CHOICE, offsetof(struct pool_config, fallback), "error", FALLBACK_ERROR, 0,
     "What workers get from a pool that is switched off: error, LENDIS_E_DISABLED; direct, "
     "connections of their own, which the "
     "broker opens for them, up to size in each process, within per_uid_leases, per_uid_workers "
     "and "
     "fallback_connections.",
     fallback_names},
    {"fallback_connections", KEY_COUNT, offsetof(struct pool_config, fallback_connections), "1024",
     1, LENDIS_MAX_WORKERS,
     "Connections of their own that all processes together have at the same time, with fallback = "
     "direct.",
     NULL},
    {"redis", KEY_REDIS, offsetof(struct pool_config, redis), NULL, 0, 0,
     "Where Redis is: redis://HOST:PORT/DB (IPv6 addresses in brackets) or unix:///PATH?db=N. "
     "Required.",
     NULL},
    {"username", KEY_TEXT, offsetof(struct pool_config, username), NULL, 1, USERNAME_MAX,
     "Redis user (ACL) to log in as; needs password_file.", NULL},
    {"password_file", KEY_PATH, offsetof(struct pool_config, password_file), NULL, 0, 0,
     "File that holds the password. A name without a leading slash is a systemd credential.", NULL},
    {"size", KEY_COUNT, offsetof(struct pool_config, size), "16", 1, CONFIG_SIZE_MOST,
     "Connections at most. While one is replaced, there is one more.", NULL},
    {"min_idle", KEY_COUNT, offsetof(struct pool_config, min_idle), "1", 0, CONFIG_SIZE_MOST,
     "Connections that are kept open for the next comer; at most size.", NULL},
    {"max_idle", KEY_COUNT, offsetof(struct pool_config, max_idle), "0", 0, CONFIG_SIZE_MOST,
     "Idle connections beyond this many are closed after a second; at least min_idle. 0 means no "
     "limit.",
     NULL},
    {"reserve_size", KEY_COUNT, offsetof(struct pool_config, reserve_size), "0", 0,
     CONFIG_SIZE_MOST,
     "Connections beyond size that are opened when somebody has waited for reserve_after, and "
     "closed "
     "when they are idle.",
     NULL},
    {"reserve_after", KEY_DURATION, offsetof(struct pool_config, reserve_after_ms), "500ms", 1,
     HOURS(1), "How long somebody must have waited before one of reserve_size is opened.", NULL},
    {"max_idle_time", KEY_DURATION, offsetof(struct pool_config, max_idle_time_ms), "10min", 0,
     HOURS(720),
     "A connection that nobody used for this long is closed, down to min_idle; 0 means never.",
     NULL},
    {"max_lifetime", KEY_DURATION, offsetof(struct pool_config, max_lifetime_ms), "1h", 0,
     HOURS(720), "A connection is replaced when it is this old; 0 means never.", NULL},
    {"lifetime_jitter", KEY_COUNT, offsetof(struct pool_config, lifetime_jitter), "10", 0, 100,
     "Percent of max_lifetime, up to which each connection lives shorter, at random.", NULL},
    {"max_uses", KEY_COUNT, offsetof(struct pool_config, max_uses), "0", 0, 1000000000,
     "A connection is replaced when it was lent this often; 0 means never.", NULL},
    {"connect_timeout", KEY_DURATION, offsetof(struct pool_config, connect_timeout_ms), "5s", 1,
     600000, "Limit for connecting and logging in to Redis.", NULL},
    {"wait_timeout", KEY_DURATION, offsetof(struct pool_config, wait_timeout_ms), "5s", 1,
     HOURS(24), "How long a worker waits for a connection unless it says otherwise.", NULL},
    {"command_timeout", KEY_DURATION, offsetof(struct pool_config, command_timeout_ms), "10s", 0,
     HOURS(24), "Limit for one command and its reply; 0 means none.", NULL},
    {"check_interval", KEY_DURATION, offsetof(struct pool_config, check_interval_ms), "30s", 0,
     HOURS(24),
     "A connection that nobody used for this long is asked whether it lives; 0 means never.", NULL},
    {"check_timeout", KEY_DURATION, offsetof(struct pool_config, check_timeout_ms), "1s", 1, 60000,
     "Limit for that; a connection that fails is replaced.", NULL},
    {"fail_fast_after", KEY_COUNT, offsetof(struct pool_config, fail_fast_after), "8", 0, 1000000,
     "After so many failed dials in a row, with no connection left, nobody waits until one "
     "succeeds; 0 means that all wait as long as they may.",
     NULL},
    {"wait_queue", KEY_COUNT, offsetof(struct pool_config, wait_queue), "0", 0, LENDIS_MAX_SLOTS,
     "How many may wait for a connection or for their command's turn at the same time; who comes "
     "then is told that the pool is busy. 0 means no limit.",
     NULL},
    {"order", KEY_CHOICE, offsetof(struct pool_config, order), "last_used", ORDER_LAST_USED, 0,
     "Which idle connection is lent first: last_used or round_robin.", order_names},
    {"check_on_lease", KEY_SWITCH, offsetof(struct pool_config, check_on_lease), "yes", 0, 0,
     "Whether a connection that was idle is looked at before it is lent, which takes no round "
     "trip.",
     NULL},
    {"dial_backoff_min", KEY_DURATION, offsetof(struct pool_config, dial_backoff_min_ms), "50ms",
     10, HOURS(1), "Longest pause after the first dial that failed; it doubles with each.", NULL},
    {"dial_backoff_max", KEY_DURATION, offsetof(struct pool_config, dial_backoff_max_ms), "10s", 10,
     HOURS(1), "Longest pause between dials while they fail.", NULL},
    {"tcp_keepalive", KEY_DURATION, offsetof(struct pool_config, tcp_keepalive_ms), "1min", 0,
     HOURS(9),
     "TCP asks after a peer that was silent for this long; in whole seconds. 0 means never.", NULL},
    {"client_name", KEY_TEXT, offsetof(struct pool_config, client_name), NULL, 1, CLIENT_NAME_MAX,
     "What CLIENT LIST calls the pool's connections; lendis-POOL if it is not set.", NULL},
    {"stall_timeout", KEY_DURATION, offsetof(struct pool_config, stall_timeout_ms), "1s",
     MAIL_STALL_LEAST_MS, 60000,
     "A worker that holds a connection for others and is stopped loses it after this time; one "
     "that is only slow keeps it.",
     NULL},
    {"reset", KEY_CHOICE, offsetof(struct pool_config, reset), "tracked", RESET_TRACKED, 0,
     "What is done with a connection that is given back: tracked, it is reset if its session was "
     "changed or may have been; always, after every exclusive lease; never, the next one finds "
     "database, name, transaction and watches as the last one left them.",
     reset_names},
    {"lease_timeout", KEY_DURATION, offsetof(struct pool_config, lease_timeout_ms), "0", 0,
     HOURS(24),
     "A lease that is held for longer is revoked: its connection is closed and replaced. At least "
     "100ms; 0 means never.",
     NULL},
    {"leak_warn_after", KEY_DURATION, offsetof(struct pool_config, leak_warn_after_ms), "0", 0,
     HOURS(24),
     "A lease that is held for longer is logged once, with its holder's pid and command line. At "
     "least 100ms and less than lease_timeout; 0 means never.",
     NULL},
    {"per_uid_leases", KEY_COUNT, offsetof(struct pool_config, per_uid_leases), "0", 0,
     LENDIS_MAX_CONNECTIONS,
     "Connections that the processes of one user may hold at the same time; 0 means no limit.",
     NULL},
    {"per_uid_workers", KEY_COUNT, offsetof(struct pool_config, per_uid_workers), "0", 0,
     LENDIS_MAX_WORKERS,
     "Processes of one user that may be attached to the pool at the same time; 0 means no limit.",
     NULL},
    {"allow_uids", KEY_IDS, offsetof(struct pool_config, allow_uids), NULL, 0, 0,
     "User ids that may use the pool, as in 33 1000-1999. With none of allow_uids, allow_users, "
     "allow_gids and allow_groups, whoever can open the socket may; else one of them is enough.",
     NULL},
    {"allow_users", KEY_USERS, offsetof(struct pool_config, allow_users), NULL, 0, 0,
     "Users that may use the pool, by name; they are looked up when the configuration is read.",
     NULL},
    {"allow_gids", KEY_IDS, offsetof(struct pool_config, allow_gids), NULL, 0, 0,
     "Group ids that may use the pool; supplementary groups count.", NULL},
    {"allow_groups", KEY_GROUPS, offsetof(struct pool_config, allow_groups), NULL, 0, 0,
     "Groups that may use the pool, by name; supplementary groups count.", NULL},
    {"exclusive_commands", KEY_NAMES, offsetof(struct pool_config, exclusive_commands), NULL, 0,
     CONFIG_NAMES_MAX,
     "Commands, of modules say, that get a connection for themselves, as in GRAPH.QUERY FT.SEARCH. "
     "What Redis knows to block gets one anyway.",
     NULL},
};

#define BROKER_KEYS (sizeof broker_keys / sizeof *broker_keys)
#define POOL_KEYS   (sizeof pool_keys / sizeof *pool_keys)
_Static_assert(BROKER_KEYS <= CONFIG_KEYS_MAX && POOL_KEYS <= CONFIG_KEYS_MAX,
               "a key needs a place for its origin");

const struct section config_sections[SECTION_COUNT] = {
    [SECTION_BROKER] = {"broker", broker_keys, BROKER_KEYS},
    [SECTION_POOL] = {"pool", pool_keys, POOL_KEYS},
};

const struct key *config_find_key(const struct section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->keys[i].name, name) == 0)
            return &section->keys[i];
    return NULL;
}

/* How many letters must be changed, added or left out to make `b` of `a`: Levenshtein's distance.
 * Up to 32 letters each; longer ones are as far apart as they can be. */
size_t config_distance(const char *a, const char *b)
{
    size_t row[33], size = strlen(b);

    if (strlen(a) > 32 || size > 32)
        return 32;
    for (size_t i = 0; i <= size; i++)
        row[i] = i;
    for (; *a; a++) {
        size_t diagonal = row[0]++;

        for (size_t i = 1; i <= size; i++) {
            size_t changed = diagonal + (tolower((unsigned char)*a) != b[i - 1]);
            size_t shorter = row[i] < row[i - 1] ? row[i] + 1 : row[i - 1] + 1;

            diagonal = row[i];
            row[i] = changed < shorter ? changed : shorter;
        }
    }
    return row[size];
}

void config_suggest(const struct section *section, const char *name, char *text, size_t size)
{
    const struct key *nearest = &section->keys[0];

    for (size_t i = 1; i < section->count; i++)
        if (config_distance(name, section->keys[i].name) < config_distance(name, nearest->name))
            nearest = &section->keys[i];
    if (config_distance(name, nearest->name) * 3 <= strlen(name))
        snprintf(text, size, "is %s meant?", nearest->name);
    else
        snprintf(text, size, "lendisd --list-keys tells which are");
}
