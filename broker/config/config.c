/* SPDX-License-Identifier: MIT */
/*
 * Reading the configuration: see config.h.
 *
 * inih splits lines into names and values. What it leaves open is done by the reader function that
 * feeds it: counting lines, noticing each section (inih tells only of keys), refusing lines that
 * are too long for inih's buffer or are no configuration at all. Indented lines are plain lines
 * here, never continuations.
 */
#include "broker/config/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "broker/base/listen.h"
#include "broker/base/secret.h"
#include "lendis/mailbox.h"
#include "lendis/wire.h"
#include "libclient/shared/command.h"
#include "libclient/shared/password_file.h"
#include "libclient/shared/redis_url.h"

#define TEXT_SIZE       512
#define USERNAME_MAX    63u
#define CLIENT_NAME_MAX 63u
#define NAMES_MAX       175u /* a line of the file; the catalog has room for it with all marks */
#define PATH_MAX_UNIX   (sizeof((struct sockaddr_un *)0)->sun_path - 1)

enum key_type {
    KEY_PATH,
    KEY_SOCKET,
    KEY_LISTEN,
    KEY_TEXT,
    KEY_CHOICE,
    KEY_SWITCH,
    KEY_COUNT,
    KEY_DURATION,
    KEY_REDIS,
    KEY_IDS,
    KEY_NAMES,
    KEY_USERS,
    KEY_GROUPS
};

static const char *const type_names[] = {
    [KEY_PATH] = "path",
    [KEY_SOCKET] = "path",
    [KEY_TEXT] = "text",
    [KEY_CHOICE] = "choice",
    [KEY_SWITCH] = "yes-or-no",
    [KEY_COUNT] = "count",
    [KEY_DURATION] = "duration",
    [KEY_REDIS] = "redis-url",
    [KEY_IDS] = "id-list",
    [KEY_NAMES] = "name-list",
    [KEY_USERS] = "user-list",
    [KEY_GROUPS] = "group-list",
    [KEY_LISTEN] = "listen-address",
};

static const char *const level_names[] = {"err", "warning", "notice", "info", "debug", NULL};

static const char *const reset_names[] = {"tracked", "always", "never", NULL};
static const char *const order_names[] = {"last_used", "round_robin", NULL};

static const char *const role_names[] = {"primary", "replica", "local", NULL};

static const char *const fallback_names[] = {"error", "direct", NULL};

struct key {
    const char *name;
    enum key_type type;
    size_t offset;        /* of the field in its struct */
    const char *fallback; /* the default, as it would be written; NULL: none */
    uint64_t min, max;    /* of counts, and of durations in milliseconds */
    const char *help;
    const char *const *choices; /* of KEY_CHOICE; the first one's value is min; NULL ends them */
};

#define HOURS(n)  (UINT64_C(3600000) * (n))
#define SIZE_MOST (LENDIS_MAX_CONNECTIONS - LENDIS_SPARE_PLACES)

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
     role_names},
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
    {"size", KEY_COUNT, offsetof(struct pool_config, size), "16", 1, SIZE_MOST,
     "Connections at most. While one is replaced, there is one more.", NULL},
    {"min_idle", KEY_COUNT, offsetof(struct pool_config, min_idle), "1", 0, SIZE_MOST,
     "Connections that are kept open for the next comer; at most size.", NULL},
    {"max_idle", KEY_COUNT, offsetof(struct pool_config, max_idle), "0", 0, SIZE_MOST,
     "Idle connections beyond this many are closed after a second; at least min_idle. 0 means no "
     "limit.",
     NULL},
    {"reserve_size", KEY_COUNT, offsetof(struct pool_config, reserve_size), "0", 0, SIZE_MOST,
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
     NAMES_MAX,
     "Commands, of modules say, that get a connection for themselves, as in GRAPH.QUERY FT.SEARCH. "
     "What Redis knows to block gets one anyway.",
     NULL},
};

struct section {
    const char *name; /* "broker" or "pool" */
    const struct key *keys;
    size_t count;
};

#define BROKER_KEYS (sizeof broker_keys / sizeof *broker_keys)
#define POOL_KEYS   (sizeof pool_keys / sizeof *pool_keys)
_Static_assert(BROKER_KEYS <= CONFIG_KEYS_MAX && POOL_KEYS <= CONFIG_KEYS_MAX,
               "a key needs a place for its origin");

static const struct section sections[] = {{"broker", broker_keys, BROKER_KEYS},
                                          {"pool", pool_keys, POOL_KEYS}};

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

/* The value that is being looked at: where it is from and whose it is. */
struct place {
    struct loader *loader;
    const struct pool_config *pool; /* NULL: the [broker] section */
    const struct key *key;
    struct config_origin origin;
};

/* ---- reports ---- */

/* One line, whatever is quoted in it. */
static void tell(const struct loader *loader, enum log_level level, char *text)
{
    for (char *at = text; *at; at++)
        if (iscntrl((unsigned char)*at))
            *at = '?';
    loader->report(level, text, loader->context);
}

static void __attribute__((format(printf, 3, 4)))
complain_line(struct loader *loader, unsigned line, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;
    int start;

    start = snprintf(text, sizeof text, "%s:%u: ", loader->config->path, line);
    if (start < 0 || (size_t)start >= sizeof text)
        start = 0;
    va_start(arguments, format);
    vsnprintf(text + start, sizeof text - (size_t)start, format, arguments);
    va_end(arguments);
    loader->errors++;
    tell(loader, LOG_LEVEL_ERR, text);
}

static void vcomplain(const struct place *place, enum log_level level, const char *format,
                      va_list arguments) __attribute__((format(printf, 3, 0)));

static void vcomplain(const struct place *place, enum log_level level, const char *format,
                      va_list arguments)
{
    struct loader *loader = place->loader;
    char text[TEXT_SIZE], what[TEXT_SIZE / 2], where[TEXT_SIZE / 3];
    const char *variable = place->origin.variable;

    vsnprintf(what, sizeof what, format, arguments);
    if (variable)
        snprintf(where, sizeof where, "%.*s", (int)strcspn(variable, "="), variable);
    else
        snprintf(where, sizeof where, "%s:%u", loader->config->path,
                 place->origin.line ? place->origin.line
                 : place->pool      ? place->pool->line
                                    : loader->config->broker.line);
    snprintf(text, sizeof text, "%s: [%s%s] %s: %s", where, place->pool ? "pool " : "broker",
             place->pool ? place->pool->name : "", place->key->name, what);
    if (level == LOG_LEVEL_ERR)
        loader->errors++;
    tell(loader, level, text);
}

static void __attribute__((format(printf, 2, 3)))
complain(const struct place *place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(place, LOG_LEVEL_ERR, format, arguments);
    va_end(arguments);
}

static void __attribute__((format(printf, 2, 3)))
warn(const struct place *place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(place, LOG_LEVEL_WARNING, format, arguments);
    va_end(arguments);
}

/* ---- values ---- */

static char *keep(struct loader *loader, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        loader->no_memory = true;
    return copy;
}

static void replace(struct loader *loader, char **field, const char *text)
{
    free(*field);
    *field = keep(loader, text);
}

/* The whole of `text`, up to `end`, as digits. False: it is not a number that fits. */
static bool parse_digits(const char *text, const char *end, uint64_t *number)
{
    uint64_t value = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *number = value;
    return true;
}

static void parse_count(const struct place *place, const char *text, uint32_t *field)
{
    uint64_t number;

    if (!parse_digits(text, text + strlen(text), &number))
        complain(place, "\"%s\" is not a number; %ju to %ju is allowed", text,
                 (uintmax_t)place->key->min, (uintmax_t)place->key->max);
    else if (number < place->key->min || number > place->key->max)
        complain(place, "%s is out of range; %ju to %ju is allowed", text,
                 (uintmax_t)place->key->min, (uintmax_t)place->key->max);
    else
        *field = (uint32_t)number;
}

struct unit {
    const char *name;
    uint64_t ms;
};

/* The largest first, so that format_duration() finds the best one. */
static const struct unit units[] = {{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
#define UNIT_COUNT (sizeof units / sizeof units[0])

static void format_duration(uint64_t ms, char *text, size_t size)
{
    size_t i = 0;

    while (i < UNIT_COUNT - 1 && (ms == 0 || ms % units[i].ms != 0))
        i++;
    if (ms == 0)
        snprintf(text, size, "0");
    else
        snprintf(text, size, "%ju%s", (uintmax_t)(ms / units[i].ms), units[i].name);
}

static void parse_duration(const struct place *place, const char *text, uint32_t *field)
{
    const char *unit = text + strspn(text, "0123456789");
    char least[32], most[32];
    uint64_t number, factor = 0;

    if (!parse_digits(text, unit, &number)) {
        complain(place,
                 "\"%s\" is not a duration; write a whole number and ms, s, min or h, as in 250ms",
                 text);
        return;
    }
    if (*unit == '\0' && number == 0) {
        factor = 1; /* nothing is nothing, whatever the unit */
    } else if (*unit == '\0') {
        complain(place, "%s has no unit; write ms, s, min or h behind it, as in %sms", text, text);
        return;
    }
    for (size_t i = 0; i < UNIT_COUNT; i++)
        if (strcmp(unit, units[i].name) == 0)
            factor = units[i].ms;
    if (factor == 0) {
        complain(place, "\"%s\" is not a unit of time; ms, s, min and h are allowed", unit);
        return;
    }
    if (number > UINT32_MAX || number * factor < place->key->min ||
        number * factor > place->key->max) {
        format_duration(place->key->min, least, sizeof least);
        format_duration(place->key->max, most, sizeof most);
        complain(place, "%s is out of range; %s to %s is allowed", text, least, most);
        return;
    }
    *field = (uint32_t)(number * factor);
}

static void parse_choice(const struct place *place, const char *text, uint32_t *field)
{
    const char *const *choices = place->key->choices;
    char allowed[TEXT_SIZE / 2] = "";
    size_t at = 0;

    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *field = (uint32_t)place->key->min + i;
            return;
        }
        if (at < sizeof allowed)
            at += (size_t)snprintf(allowed + at, sizeof allowed - at, "%s%s",
                                   i == 0           ? ""
                                   : choices[i + 1] ? ", "
                                                    : " and ",
                                   choices[i]);
    }
    complain(place, "\"%s\" is none of the choices; %s are allowed", text, allowed);
}

static void parse_switch(const struct place *place, const char *text, bool *field)
{
    static const char *const on[] = {"yes", "1", "true", "on"};
    static const char *const off[] = {"no", "0", "false", "off"};

    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
            *field = strcmp(text, on[i]) == 0;
            return;
        }
    }
    complain(place,
             "\"%s\" is neither yes nor no; yes, 1, true, on and no, 0, false, off are allowed",
             text);
}

static void parse_text(const struct place *place, const char *text, char **field)
{
    if (strlen(text) > place->key->max)
        complain(place, "%zu characters are too many; %ju are allowed", strlen(text),
                 (uintmax_t)place->key->max);
    else
        replace(place->loader, field, text);
}

static void parse_socket(const struct place *place, const char *text, char **field)
{
    if (text[0] != '/')
        complain(place, "\"%s\" is not an absolute path; write one that begins with /", text);
    else if (strlen(text) > PATH_MAX_UNIX)
        complain(place, "%zu characters are too many for a socket's path; %zu are allowed",
                 strlen(text), PATH_MAX_UNIX);
    else
        replace(place->loader, field, text);
}

static void parse_listen(const struct place *place, const char *text, char **field)
{
    union listen_address address;
    socklen_t size;
    const char *why = listen_parse(text, &address, &size);

    if (why)
        complain(place, "\"%s\" is no address to listen at: %s", text, why);
    else
        replace(place->loader, field, text);
}

/* One number or range out of allow_uids or allow_gids. */
static bool parse_range(const char *text, size_t size, struct id_range *range)
{
    const char *dash = memchr(text, '-', size);
    uint64_t first, last;

    if (!parse_digits(text, dash ? dash : text + size, &first))
        return false;
    last = first;
    if (dash && !parse_digits(dash + 1, text + size, &last))
        return false;
    /* 2^32 - 1 means "no id" to the kernel. */
    if (first > last || last >= UINT32_MAX)
        return false;
    *range = (struct id_range){.first = (uint32_t)first, .last = (uint32_t)last};
    return true;
}

static void parse_ids(const struct place *place, const char *text, struct id_list *field)
{
    struct id_list list = {0};

    for (const char *at = text + strspn(text, ", \t"); *at;) {
        size_t size = strcspn(at, ", \t");
        struct id_range *grown = realloc(list.ranges, (list.count + 1) * sizeof *grown);

        if (!grown) {
            place->loader->no_memory = true;
            break;
        }
        list.ranges = grown;
        if (!parse_range(at, size, &list.ranges[list.count])) {
            complain(place,
                     "\"%.*s\" is not an id; numbers and ranges such as 1000-1999 are allowed",
                     (int)(size < 80 ? size : 80), at);
            free(list.ranges);
            return;
        }
        list.count++;
        at += size;
        at += strspn(at, ", \t");
    }
    /* An empty list would let everybody in. */
    if (list.count == 0 && !place->loader->no_memory) {
        complain(place, "there is no value");
        return;
    }
    free(field->ranges);
    *field = list;
}

/* ---- users and groups by name ---- */

/* Answers of the user database are this large at most; root with every group is far below. */
#define ACCOUNT_ROOM 65536u

/*
 * Looks up user or group `name`. Results: 0 and *id; -ENOENT, there is none of that name; -errno,
 * the database could not be asked.
 */
static int look_up_account(bool group, const char *name, char *room, uint32_t *id)
{
    struct passwd user, *found_user = NULL;
    struct group members, *found_group = NULL;
    int error;

    if (group) {
        error = getgrnam_r(name, &members, room, ACCOUNT_ROOM, &found_group);
        if (found_group)
            *id = found_group->gr_gid;
    } else {
        error = getpwnam_r(name, &user, room, ACCOUNT_ROOM, &found_user);
        if (found_user)
            *id = found_user->pw_uid;
    }
    if (found_user || found_group)
        return 0;
    /* What databases say of a name that they do not have: getpwnam_r(3), "ERRORS". */
    return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM
               ? -ENOENT
               : -error;
}

static void complain_account(const struct place *place, const char *name, int result)
{
    const char *kind = place->key->type == KEY_GROUPS ? "group" : "user";

    if (result == -ENOENT)
        complain(place, "there is no %s \"%.80s\" on this host; a number goes into allow_%cids",
                 kind, name, kind[0]);
    else
        complain(place, "%s \"%.80s\" cannot be looked up: %s", kind, name, strerror(-result));
}

/* Adds the account `name`. False: it was complained of, or there is no memory. */
static bool add_account(const struct place *place, const char *name, struct id_list *ids)
{
    struct id_range *grown = realloc(ids->ranges, (ids->count + 1) * sizeof *grown);
    char *room = malloc(ACCOUNT_ROOM);
    uint32_t id = 0;
    int result;

    if (grown)
        ids->ranges = grown;
    if (!grown || !room) {
        place->loader->no_memory = true;
        free(room);
        return false;
    }
    result = look_up_account(place->key->type == KEY_GROUPS, name, room, &id);
    free(room);
    if (result != 0) {
        complain_account(place, name, result);
        return false;
    }
    ids->ranges[ids->count++] = (struct id_range){.first = id, .last = id};
    return true;
}

static void id_names_free(struct id_names *names)
{
    free(names->text);
    free(names->ids.ranges);
    *names = (struct id_names){0};
}

static void parse_accounts(const struct place *place, const char *text, struct id_names *field)
{
    struct id_names names = {0};
    char *copy = keep(place->loader, text), *rest = NULL;
    bool good = copy != NULL;
    size_t used = 0;

    names.text = good ? calloc(1, strlen(text) + 1) : NULL;
    if (good && !names.text)
        place->loader->no_memory = true;
    good = names.text != NULL;
    for (char *name = good ? strtok_r(copy, ", \t", &rest) : NULL; name;
         name = strtok_r(NULL, ", \t", &rest)) {
        /* All that are unknown are told. */
        good = add_account(place, name, &names.ids) && good;
        used += (size_t)sprintf(names.text + used, "%s%s", used ? " " : "", name);
    }
    if (good && names.ids.count == 0) {
        complain(place, "there is no value");
        good = false;
    }
    free(copy);
    if (!good) {
        id_names_free(&names);
        return;
    }
    id_names_free(field);
    *field = names;
}

/* ---- names of commands ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The words of `text`, sorted and each once. Results: it, the caller's; NULL, no memory. */
static char *sort_names(char *text)
{
    size_t count = 0, at = 0, room = strlen(text) + 1;
    char **names = calloc(room / 2 + 1, sizeof *names);
    char *sorted = calloc(1, room), *rest = NULL;

    if (names && sorted) {
        for (char *each = strtok_r(text, " ", &rest); each; each = strtok_r(NULL, " ", &rest))
            names[count++] = each;
        qsort(names, count, sizeof *names, compare_names);
        for (size_t i = 0; i < count; i++)
            if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
                at += (size_t)snprintf(sorted + at, room - at, "%s%s", at ? " " : "", names[i]);
    } else {
        free(sorted);
        sorted = NULL;
    }
    free(names);
    return sorted;
}

static void parse_names(const struct place *place, const char *text, char **field)
{
    char all[NAMES_MAX + 1], name[COMMAND_NAME_SIZE], *sorted;
    size_t used = 0;

    for (const char *at = text + strspn(text, ", \t"); *at;) {
        size_t size = strcspn(at, ", \t");

        if (!command_name(at, size, name)) {
            complain(
                place,
                "\"%.*s\" is not a command's name; up to %u letters, digits, '.', '_', '-', ':' "
                "and '/' are allowed",
                (int)(size < 80 ? size : 80), at, COMMAND_NAME_SIZE - 1);
            return;
        }
        if (used + (used > 0) + size >= sizeof all) {
            complain(place, "the names are too long together; %zu characters are allowed",
                     sizeof all - 1);
            return;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", used ? " " : "", name);
        at += size;
        at += strspn(at, ", \t");
    }
    if (used == 0) {
        complain(place, "there is no value");
        return;
    }
    sorted = sort_names(all);
    if (!sorted)
        place->loader->no_memory = true;
    free(*field);
    *field = sorted;
}

static void address_free(struct redis_address *address)
{
    free(address->text);
    free(address->host);
    free(address->path);
    *address = (struct redis_address){0};
}

static void parse_redis(const struct place *place, const char *text, struct redis_address *field)
{
    char why[REDIS_URL_WHY_SIZE], *copy;
    struct redis_url url;
    int result = redis_url_parse(text, &url, why);

    if (result == -EINVAL)
        complain(place, "%s", why);
    if (result == -ENOMEM)
        place->loader->no_memory = true;
    if (result != 0)
        return;
    copy = keep(place->loader, text);
    if (!copy) {
        redis_url_free(&url);
        return;
    }
    address_free(field);
    *field = (struct redis_address){
        .text = copy,
        .host = url.host,
        .path = url.path,
        .port = url.host ? url.port : 0,
        .db = url.db,
    };
}

/* What a variable says must be able to stand in the file, too, and all of it as it is printed. */
static bool is_legal_value(const struct place *place, const char *text)
{
    size_t size = strlen(text), room = place->loader->line_max - strlen(place->key->name) - 3;

    if (size == 0) {
        complain(place, "there is no value");
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (iscntrl((unsigned char)text[i]) && text[i] != '\t') {
            complain(place, "the value contains a control character");
            return false;
        }
        if (text[i] == ';' && (i == 0 || isblank((unsigned char)text[i - 1]))) {
            complain(place, "what begins with ; is a comment, and no part of a value");
            return false;
        }
    }
    if (isblank((unsigned char)text[0]) || isblank((unsigned char)text[size - 1])) {
        complain(place, "the value begins or ends with a blank");
        return false;
    }
    if (size > room) {
        complain(place, "%zu characters are too many; %zu are allowed", size, room);
        return false;
    }
    return true;
}

static void parse_value(const struct place *place, const char *text, void *target)
{
    void *field = (char *)target + place->key->offset;

    if (!is_legal_value(place, text))
        return;
    switch (place->key->type) {
    case KEY_PATH:
        replace(place->loader, field, text);
        break;
    case KEY_LISTEN:
        parse_listen(place, text, field);
        break;
    case KEY_SOCKET:
        parse_socket(place, text, field);
        break;
    case KEY_TEXT:
        parse_text(place, text, field);
        break;
    case KEY_CHOICE:
        parse_choice(place, text, field);
        break;
    case KEY_SWITCH:
        parse_switch(place, text, field);
        break;
    case KEY_COUNT:
        parse_count(place, text, field);
        break;
    case KEY_DURATION:
        parse_duration(place, text, field);
        break;
    case KEY_REDIS:
        parse_redis(place, text, field);
        break;
    case KEY_IDS:
        parse_ids(place, text, field);
        break;
    case KEY_NAMES:
        parse_names(place, text, field);
        break;
    case KEY_USERS:
    case KEY_GROUPS:
        parse_accounts(place, text, field);
        break;
    }
}

static void set_defaults(struct loader *loader, const struct section *section, void *target)
{
    for (size_t i = 0; i < section->count; i++) {
        struct place place = {.loader = loader, .key = &section->keys[i]};

        if (section->keys[i].fallback)
            parse_value(&place, section->keys[i].fallback, target);
    }
}

static const struct key *find_key(const struct section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (strcmp(section->keys[i].name, name) == 0)
            return &section->keys[i];
    return NULL;
}

/* ---- the file ---- */

/* How many letters must be changed, added or left out to make `b` of `a`: Levenshtein's distance.
 * Up to 32 letters each; longer ones are as far apart as they can be. */
static size_t distance(const char *a, const char *b)
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

/* What to do about `name`, which is no key: the key that may have been meant, or where they are. */
static void suggest(const struct section *section, const char *name, char *text, size_t size)
{
    const struct key *nearest = &section->keys[0];

    for (size_t i = 1; i < section->count; i++)
        if (distance(name, section->keys[i].name) < distance(name, nearest->name))
            nearest = &section->keys[i];
    if (distance(name, nearest->name) * 3 <= strlen(name))
        snprintf(text, size, "is %s meant?", nearest->name);
    else
        snprintf(text, size, "lendisd --list-keys tells which are");
}

/* inih calls this for each name and value. Its own idea of the section is not used: it may be cut
 * off. */
#if INI_HANDLER_LINENO
static int take_value(void *user, const char *section_name, const char *name, const char *value,
                      int line)
#else
static int take_value(void *user, const char *section_name, const char *name, const char *value)
#endif
{
    struct loader *loader = user;
    const struct section *section = &sections[loader->pool ? 1 : 0];
    void *target = loader->pool ? (void *)loader->pool : (void *)&loader->config->broker;
    struct config_origin *origins =
        loader->pool ? loader->pool->origins : loader->config->broker.origins;
    struct place place = {.loader = loader, .pool = loader->pool, .origin.line = loader->line};
    char advice[64];
    size_t index;

    (void)section_name;
#if INI_HANDLER_LINENO
    (void)line;
#endif
    if (loader->skipping)
        return 1;
    if (!loader->in_broker && !loader->pool) {
        complain_line(loader, loader->line,
                      "%s: stands before any section; write [broker] or [pool NAME] first", name);
        return 1;
    }
    place.key = find_key(section, name);
    if (!place.key) {
        suggest(section, name, advice, sizeof advice);
        complain_line(loader, loader->line, "[%s%s] %s: is not a key of this section; %s",
                      loader->pool ? "pool " : "broker", loader->pool ? loader->pool->name : "",
                      name, advice);
        return 1;
    }
    index = (size_t)(place.key - section->keys);
    if (origins[index].line) {
        complain(&place, "is set twice, first in line %u", origins[index].line);
        return 1;
    }
    origins[index].line = loader->line;
    parse_value(&place, value, target);
    return 1;
}

static bool name_is_legal(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size >= CATALOG_NAME_SIZE)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
            return false;
    return true;
}

static struct pool_config *add_pool(struct loader *loader, const char *name)
{
    struct config *config = loader->config;
    struct pool_config *pools, *pool;

    pools = realloc(config->pools, (config->pool_count + 1) * sizeof *pools);
    if (!pools) {
        loader->no_memory = true;
        return NULL;
    }
    config->pools = pools;
    pool = &pools[config->pool_count++];
    *pool = (struct pool_config){.line = loader->line};
    snprintf(pool->name, sizeof pool->name, "%s", name);
    set_defaults(loader, &sections[1], pool);
    return pool;
}

static void begin_pool(struct loader *loader, const char *name)
{
    struct config *config = loader->config;

    if (!name_is_legal(name)) {
        complain_line(loader, loader->line,
                      "[pool %.80s]: is not a pool's name; 1 to %u letters, digits, '-', '_' and "
                      "'.' are allowed",
                      name, CATALOG_NAME_SIZE - 1);
        return;
    }
    for (uint32_t i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].name, name) == 0) {
            complain_line(loader, loader->line,
                          "[pool %s]: this section was there before, in line %u", name,
                          config->pools[i].line);
            return;
        }
    if (config->pool_count == CATALOG_MAX_POOLS) {
        complain_line(loader, loader->line, "[pool %s]: too many pools; %u are allowed", name,
                      CATALOG_MAX_POOLS);
        return;
    }
    loader->pool = add_pool(loader, name);
    loader->skipping = !loader->pool;
}

/* `title` is what stands between the brackets. */
static void begin_section(struct loader *loader, const char *title)
{
    loader->pool = NULL;
    loader->in_broker = false;
    loader->skipping =
        true; /* unless it is a good section: its keys would only be complained of again */
    if (strcmp(title, "broker") == 0) {
        if (loader->config->broker.line) {
            complain_line(loader, loader->line,
                          "[broker]: this section was there before, in line %u",
                          loader->config->broker.line);
            return;
        }
        loader->config->broker.line = loader->line;
        loader->in_broker = true;
        loader->skipping = false;
    } else if (strncmp(title, "pool", 4) == 0 && (title[4] == ' ' || title[4] == '\t')) {
        begin_pool(loader, title + 4 + strspn(title + 4, " \t"));
    } else {
        complain_line(loader, loader->line,
                      "[%.80s]: is not a section; [broker] and [pool NAME] are", title);
    }
}

/* Looks at a line before inih does. `text` has no blanks around it. False: inih must not see it. */
static bool check_line(struct loader *loader, char *text, size_t room)
{
    char *end;

    if (*text == '\0' || *text == '#' || *text == ';')
        return false;
    if (strlen(text) + 2 > room) {
        complain_line(loader, loader->line, "the line is too long; %zu characters are allowed",
                      loader->line_max);
        return false;
    }
    if (*text != '[') {
        if (text[strcspn(text, "=:")] != '\0')
            return true;
        complain_line(loader, loader->line,
                      "\"%.80s\" is neither a [section], a comment nor key = value", text);
        return false;
    }
    end = strchr(text, ']');
    if (!end || (end[1] != '\0' && end[1 + strspn(end + 1, " \t")] != ';' &&
                 end[1 + strspn(end + 1, " \t")] != '#')) {
        complain_line(loader, loader->line, "\"%.80s\" is not a section; write [NAME]", text);
        loader->skipping = true;
        return false;
    }
    *end = '\0';
    begin_section(loader, text + 1);
    return false;
}

/* inih's source of lines: fgets(3) with the checks above. Lines that it must not see it gets as
 * empty. */
static char *next_line(char *line, int room, void *stream)
{
    struct loader *loader = stream;
    ssize_t got = getline(&loader->buffer, &loader->buffer_size, loader->file);
    char *text = loader->buffer;

    if (got < 0)
        return NULL;
    loader->line++;
    loader->line_max = (size_t)room - 2;
    if (strlen(text) != (size_t)got) {
        complain_line(loader, loader->line, "the line contains a zero byte");
        *text = '\0';
    }
    if (loader->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3; /* the mark that some editors begin a file with */
    text += strspn(text, " \t\r\n\f\v");
    for (size_t end = strlen(text); end > 0 && isspace((unsigned char)text[end - 1]); end--)
        text[end - 1] = '\0';
    snprintf(line, (size_t)room, "%s\n", check_line(loader, text, (size_t)room) ? text : "");
    return line;
}

static int read_file(struct loader *loader)
{
    struct stat stat;
    int result;

    loader->file = fopen(loader->config->path, "re");
    if (loader->file && fstat(fileno(loader->file), &stat) == 0 && S_ISDIR(stat.st_mode)) {
        fclose(loader->file);
        loader->file = NULL;
        errno = EISDIR;
    }
    if (!loader->file) {
        char text[TEXT_SIZE];

        snprintf(text, sizeof text, "%s: %s", loader->config->path, strerror(errno));
        loader->errors++;
        tell(loader, LOG_LEVEL_ERR, text);
        return -EINVAL;
    }
    result = ini_parse_stream(next_line, loader, take_value, loader);
    if (result > 0)
        complain_line(loader, (unsigned)result, "the line cannot be understood");
    if (result < 0)
        loader->no_memory = true;
    if (ferror(loader->file))
        complain_line(loader, loader->line + 1, "the file cannot be read");
    fclose(loader->file);
    loader->pool = NULL;
    return 0;
}

/* ---- the environment ---- */

/* `name` as it is written in a variable. Returns its length. */
static size_t environment_name(const char *name, char *text)
{
    size_t size = strlen(name);

    for (size_t i = 0; i <= size; i++)
        text[i] = name[i] == '-' || name[i] == '.' ? '_' : (char)toupper((unsigned char)name[i]);
    return size;
}

/* The key whose name is `text` up to the '='; the environment has them in capitals. */
static const struct key *find_variable(const struct section *section, const char *text)
{
    for (size_t i = 0; i < section->count; i++) {
        char name[64];
        size_t size = environment_name(section->keys[i].name, name);

        if (strncmp(text, name, size) == 0 && text[size] == '=')
            return &section->keys[i];
    }
    return NULL;
}

/* `rest` is where the key's name begins in `variable`. */
static void unknown_variable(struct loader *loader, const char *variable, const char *rest,
                             const struct section *section, const char *pool)
{
    char text[TEXT_SIZE], name[64], advice[64];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(rest, "="), rest);
    suggest(section, name, advice, sizeof advice);
    snprintf(text, sizeof text, "%.*s: is not a key of [%s%s%s]; %s", (int)strcspn(variable, "="),
             variable, section->name, pool ? " " : "", pool ? pool : "", advice);
    loader->errors++;
    tell(loader, LOG_LEVEL_ERR, text);
}

static void take_broker_variable(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_BROKER_");
    struct place place = {.loader = loader, .origin.variable = variable};

    place.key = find_variable(&sections[0], rest);
    if (!place.key) {
        unknown_variable(loader, variable, rest, &sections[0], NULL);
        return;
    }
    loader->config->broker.origins[place.key - broker_keys] = place.origin;
    parse_value(&place, strchr(rest, '=') + 1, &loader->config->broker);
}

/* One way to read a variable's name. */
struct reading {
    struct pool_config *pool;
    const struct key *key; /* NULL: it is the pool's name, and no key follows */
    const char *rest;      /* behind the pool's name */
};

/* All ways to read `rest`, what follows LENDIS_POOL_: the first in *reading, the first other one with a key in *other.
 * Returns how many have a key. */
static unsigned read_variable(struct loader *loader, const char *rest, struct reading *reading,
                              struct reading *other)
{
    unsigned count = 0;

    *reading = *other = (struct reading){0};
    for (uint32_t i = 0; i < loader->config->pool_count; i++) {
        struct reading each = {.pool = &loader->config->pools[i]};
        char name[CATALOG_NAME_SIZE];
        size_t size = environment_name(each.pool->name, name);

        if (strncmp(rest, name, size) != 0 || rest[size] != '_')
            continue;
        each.rest = rest + size + 1;
        each.key = find_variable(&sections[1], each.rest);
        if (each.key && count++ > 0)
            *other = each;
        else if (each.key || !reading->key)
            *reading = each;
    }
    return count;
}

/* No pool of ours: it may be of another broker, or misspelt. */
static void unknown_pool(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_POOL_");
    const struct pool_config *nearest = NULL;
    char text[TEXT_SIZE], written[CATALOG_NAME_SIZE], best[CATALOG_NAME_SIZE];
    size_t least = SIZE_MAX;

    for (uint32_t i = 0; i < loader->config->pool_count; i++) {
        char name[CATALOG_NAME_SIZE], lower[CATALOG_NAME_SIZE];
        size_t size = environment_name(loader->config->pools[i].name, name), far;

        snprintf(written, sizeof written, "%.*s",
                 (int)(strcspn(rest, "=") < size ? strcspn(rest, "=") : size), rest);
        for (size_t at = 0; at <= size; at++)
            lower[at] = (char)tolower((unsigned char)name[at]);
        far = distance(written, lower);
        if (far < least) {
            least = far;
            nearest = &loader->config->pools[i];
            memcpy(best, name, sizeof best);
        }
    }
    snprintf(text, sizeof text, "%.*s: there is no such pool; it is ignored%s%s%s%s%s",
             (int)strcspn(variable, "="), variable, nearest ? ". The nearest is [pool " : "",
             nearest ? nearest->name : "", nearest ? "], LENDIS_POOL_" : "", nearest ? best : "",
             nearest ? "_..." : "");
    tell(loader, LOG_LEVEL_WARNING, text);
}

static void take_pool_variable(struct loader *loader, const char *variable)
{
    const char *rest = variable + strlen("LENDIS_POOL_");
    struct place place = {.loader = loader, .origin.variable = variable};
    struct reading reading, other;
    char text[TEXT_SIZE];

    if (read_variable(loader, rest, &reading, &other) > 1) {
        snprintf(text, sizeof text,
                 "%.*s: can be read as %s of [pool %s] and as %s of [pool %s]; set it in the file, "
                 "or rename one of the pools",
                 (int)strcspn(variable, "="), variable, reading.key->name, reading.pool->name,
                 other.key->name, other.pool->name);
        loader->errors++;
        tell(loader, LOG_LEVEL_ERR, text);
    } else if (reading.key) {
        place.pool = reading.pool;
        place.key = reading.key;
        reading.pool->origins[place.key - pool_keys] = place.origin;
        parse_value(&place, strchr(rest, '=') + 1, reading.pool);
    } else if (reading.pool) {
        unknown_variable(loader, variable, reading.rest, &sections[1], reading.pool->name);
    } else {
        unknown_pool(loader, variable);
    }
}

/* Of others than the broker: lendis(7), and what the tests have. Or made for a service of this name by whoever runs
 * containers. */
static bool is_of_others(const char *variable)
{
    static const char *const names[] = {
        "LENDIS_SOCKET=", "LENDIS_BUILD=", "LENDIS_KEEP=", "LENDIS_PORT", "LENDIS_SERVICE_"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void warn_of_variable(struct loader *loader, const char *variable)
{
    char text[TEXT_SIZE], name[32];
    size_t broker, pool;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(variable, "="), variable);
    name[strcspn(name + strlen("LENDIS_"), "_") + strlen("LENDIS_")] = '\0';
    broker = distance(name, "lendis_broker");
    pool = distance(name, "lendis_pool");
    snprintf(text, sizeof text,
             "%.*s: means nothing to the broker; it is ignored. The nearest is LENDIS_%s",
             (int)strcspn(variable, "="), variable,
             broker < pool ? "BROKER_<KEY>" : "POOL_<NAME>_<KEY>");
    tell(loader, LOG_LEVEL_WARNING, text);
}

static void read_environment(struct loader *loader)
{
    for (char *const *at = loader->environment; at && *at; at++) {
        if (!strchr(*at, '='))
            continue;
        if (strncmp(*at, "LENDIS_BROKER_", strlen("LENDIS_BROKER_")) == 0)
            take_broker_variable(loader, *at);
        else if (strncmp(*at, "LENDIS_POOL_", strlen("LENDIS_POOL_")) == 0)
            take_pool_variable(loader, *at);
        else if (strncmp(*at, "LENDIS_", strlen("LENDIS_")) == 0 && !is_of_others(*at))
            warn_of_variable(loader, *at);
    }
}

static const char *look_up(char *const *environment, const char *name)
{
    size_t size = strlen(name);

    for (char *const *at = environment; at && *at; at++)
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return NULL;
}

/* ---- what must hold for the whole ---- */

static struct place place_of(struct loader *loader, const struct pool_config *pool,
                             size_t field_offset)
{
    struct place place = {.loader = loader, .pool = pool};

    for (size_t i = 0; i < POOL_KEYS; i++)
        if (pool_keys[i].offset == field_offset) {
            place.key = &pool_keys[i];
            place.origin = pool->origins[i];
        }
    return place;
}
#define PLACE_OF(loader, pool, field) place_of(loader, pool, offsetof(struct pool_config, field))

/* A name without a leading slash is a credential of the service: systemd.exec(5), LoadCredential=.
 */
static char *password_path(struct loader *loader, const char *name)
{
    const char *folder = look_up(loader->environment, "CREDENTIALS_DIRECTORY");
    char *path;

    if (name[0] == '/')
        return keep(loader, name);
    if (!folder)
        return NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        loader->no_memory = true;
        return NULL;
    }
    return path;
}

static void take_password(const struct place *place, struct pool_config *pool,
                          const struct password *password)
{
    if (password->world_readable)
        warn(place, "%s can be read by every user; take that right away (chmod o-r)",
             pool->password_file);
    pool->password = secret_new(password->bytes, password->size);
    if (!pool->password) {
        place->loader->no_memory = true;
        return;
    }
    pool->password_size = password->size;
}

static void read_password(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, password_file);
    char why[PASSWORD_FILE_WHY_SIZE], *path;
    struct password password;
    int result;

    path = password_path(loader, pool->password_file);
    if (!path) {
        complain(&place,
                 "\"%s\" is not an absolute path, and there is no systemd credential of that name",
                 pool->password_file);
        return;
    }
    result = password_file_read(path, pool->password_file, &password, why);
    free(path);
    if (result != 0) {
        complain(&place, "%s", why);
        return;
    }
    take_password(&place, pool, &password);
    password_wipe(&password);
}

/* Shorter ones would be over before they were seen: see lease_limits.h. */
#define LEASE_LIMIT_LEAST_MS 100u

static void check_lease_limits(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, lease_timeout_ms);
    char limit[32], warning[32];

    format_duration(pool->lease_timeout_ms, limit, sizeof limit);
    format_duration(pool->leak_warn_after_ms, warning, sizeof warning);
    if (pool->lease_timeout_ms > 0 && pool->lease_timeout_ms < LEASE_LIMIT_LEAST_MS)
        complain(&place, "%s is too short; 0 and %ums to 24h are allowed", limit,
                 LEASE_LIMIT_LEAST_MS);
    place = PLACE_OF(loader, pool, leak_warn_after_ms);
    if (pool->leak_warn_after_ms > 0 && pool->leak_warn_after_ms < LEASE_LIMIT_LEAST_MS)
        complain(&place, "%s is too short; 0 and %ums to 24h are allowed", warning,
                 LEASE_LIMIT_LEAST_MS);
    else if (pool->lease_timeout_ms > 0 && pool->leak_warn_after_ms >= pool->lease_timeout_ms)
        complain(&place, "leak_warn_after is %s and lease_timeout is %s; it must be shorter",
                 warning, limit);
}

/* Whether Redis takes it for a name: CLIENT SETNAME. */
static void check_client_name(struct loader *loader, const struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, client_name);

    for (const char *at = pool->client_name; at && *at; at++)
        if (*at < '!' || *at > '~') {
            complain(&place,
                     "\"%s\" has a blank or something else that Redis takes in no name; the "
                     "characters from ! to ~ are allowed",
                     pool->client_name);
            return;
        }
}

/* A service's member must be a pool, of this role. */
static void check_member(const struct place *place, const char *name, size_t size, uint32_t role)
{
    const struct config *config = place->loader->config;

    for (uint32_t i = 0; i < config->pool_count; i++) {
        const struct pool_config *member = &config->pools[i];

        if (strlen(member->name) != size || memcmp(member->name, name, size) != 0)
            continue;
        if (member->primary)
            complain(place, "%s is a service itself; name a pool", member->name);
        else if (member->role != role)
            complain(place, "pool %s has role = %s; role = %s is needed here", member->name,
                     role_names[member->role], role_names[role]);
        return;
    }
    complain(place, "there is no pool \"%.*s\"", (int)size, name);
}

/* Checks the names, and writes them again with one blank between them. */
static void check_replicas(const struct place *place, char *text)
{
    static const char between[] = " \t,";
    size_t used = 0, count = 0;

    for (char *at = text + strspn(text, between); *at;) {
        size_t size = strcspn(at, between);
        char *next = at + size + strspn(at + size, between);

        check_member(place, at, size, ROLE_REPLICA);
        if (used > 0)
            text[used++] = ' ';
        memmove(text + used, at, size);
        used += size;
        count++;
        at = next;
    }
    text[used] = '\0';
    if (count > SERVICE_REPLICAS_MAX)
        complain(place, "%zu pools are too many; %u are allowed", count, SERVICE_REPLICAS_MAX);
}

static void check_service(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, replicas);

    if (pool->replicas && !pool->primary)
        complain(&place, "needs primary");
    else if (pool->replicas)
        check_replicas(&place, pool->replicas);
    if (!pool->primary)
        return;
    place = PLACE_OF(loader, pool, primary);
    check_member(&place, pool->primary, strlen(pool->primary), ROLE_PRIMARY);
    place = PLACE_OF(loader, pool, redis);
    if (pool->redis.text)
        complain(&place, "a service has none of its own; leave out redis, or primary");
}

static void check_pool(struct loader *loader, struct pool_config *pool)
{
    struct place place;

    place = PLACE_OF(loader, pool, redis);
    if (!pool->redis.text && !pool->primary && !place.origin.line && !place.origin.variable)
        complain(&place, "is missing; write redis = redis://HOST:PORT/DB or unix:///PATH?db=N");
    check_service(loader, pool);
    place = PLACE_OF(loader, pool, min_idle);
    if (pool->min_idle > pool->size) {
        if (!place.origin.line && !place.origin.variable)
            place = PLACE_OF(loader, pool, size);
        complain(&place, "min_idle is %u and size is %u; min_idle may be at most size",
                 pool->min_idle, pool->size);
    }
    place = PLACE_OF(loader, pool, max_idle);
    if (pool->max_idle > 0 && pool->max_idle < pool->min_idle)
        complain(&place,
                 "max_idle is %u and min_idle is %u; max_idle must be 0 or at least min_idle",
                 pool->max_idle, pool->min_idle);
    check_lease_limits(loader, pool);
    place = PLACE_OF(loader, pool, reserve_size);
    if (pool->reserve_size > 0 && pool->size + pool->reserve_size > SIZE_MOST)
        complain(&place, "reserve_size is %u and size is %u; together they may be at most %u",
                 pool->reserve_size, pool->size, SIZE_MOST);
    place = PLACE_OF(loader, pool, dial_backoff_max_ms);
    if (pool->dial_backoff_max_ms < pool->dial_backoff_min_ms)
        complain(&place, "is less than dial_backoff_min, which is %ums; it must be at least that",
                 pool->dial_backoff_min_ms);
    check_client_name(loader, pool);
    place = PLACE_OF(loader, pool, username);
    if (pool->username && !pool->password_file)
        complain(&place, "needs password_file");
    if (pool->password_file)
        read_password(loader, pool);
}

/* Two pools whose variables have the same names could not be told apart. */
static void check_names(struct loader *loader, uint32_t index)
{
    const struct pool_config *pools = loader->config->pools;
    char name[CATALOG_NAME_SIZE], other[CATALOG_NAME_SIZE];

    environment_name(pools[index].name, name);
    for (uint32_t i = 0; i < index; i++) {
        environment_name(pools[i].name, other);
        if (strcmp(name, other) == 0)
            complain_line(
                loader, pools[index].line,
                "[pool %s]: has the same environment variables as [pool %s], LENDIS_POOL_%s_...",
                pools[index].name, pools[i].name, name);
    }
}

static void check_all(struct loader *loader)
{
    struct config *config = loader->config;

    for (uint32_t i = 0; i < config->pool_count; i++) {
        check_pool(loader, &config->pools[i]);
        check_names(loader, i);
    }
    if (config->pool_count == 0 && loader->errors == 0)
        complain_line(
            loader, loader->line ? loader->line : 1,
            "there is no pool; write a [pool NAME] section with redis = redis://HOST:PORT/DB");
}

/* ---- whole configurations ---- */

int config_load(const char *path, char *const *environment, config_report *report, void *context,
                struct config *config)
{
    struct loader loader = {.config = config,
                            .report = report,
                            .context = context,
                            .environment = environment,
                            .line_max = INI_MAX_LINE - 2};

    *config = (struct config){0};
    config->path = keep(&loader, path);
    if (!config->path)
        return -ENOMEM;
    set_defaults(&loader, &sections[0], &config->broker);
    if (read_file(&loader) == 0) {
        read_environment(&loader);
        if (!loader.no_memory)
            check_all(&loader);
    }
    free(loader.buffer);
    if (loader.errors == 0 && !loader.no_memory)
        return 0;
    config_free(config);
    return loader.no_memory ? -ENOMEM : -EINVAL;
}

void pool_config_free(struct pool_config *pool)
{
    secret_free(pool->password, pool->password_size);
    free(pool->password_file);
    free(pool->username);
    free(pool->client_name);
    free(pool->primary);
    free(pool->replicas);
    free(pool->allow_uids.ranges);
    free(pool->allow_gids.ranges);
    id_names_free(&pool->allow_users);
    id_names_free(&pool->allow_groups);
    free(pool->exclusive_commands);
    address_free(&pool->redis);
}

void config_free(struct config *config)
{
    for (uint32_t i = 0; i < config->pool_count; i++)
        pool_config_free(&config->pools[i]);
    free(config->pools);
    free(config->broker.socket);
    free(config->broker.metrics);
    free(config->path);
    *config = (struct config){0};
}

/* ---- while it is in force ---- */

/* What a running broker is built on. */
static bool is_fixed(const struct key *key)
{
    return key == &broker_keys[0] || key->offset == offsetof(struct broker_config, max_workers);
}

const char *config_needs_restart(const struct broker_config *now, const struct broker_config *then)
{
    if (strcmp(now->socket, then->socket) != 0)
        return "socket";
    if (strcmp(now->metrics ? now->metrics : "", then->metrics ? then->metrics : "") != 0)
        return "metrics";
    return now->max_workers != then->max_workers ? "max_workers" : NULL;
}

/* The size of a value that is nothing but itself; 0: it is text, or a list. */
static size_t plain_size(const struct key *key)
{
    switch (key->type) {
    case KEY_SWITCH:
        return sizeof(bool);
    case KEY_CHOICE:
    case KEY_COUNT:
    case KEY_DURATION:
        return sizeof(uint32_t);
    default:
        return 0;
    }
}

/* Results: 0, the section is as it is to be; -EINVAL, it was reported. */
static int try_value(struct place *place, struct pool_config *pool, struct broker_config *broker,
                     const char *value)
{
    struct loader *loader = place->loader;

    if (plain_size(place->key) == 0 || (!pool && is_fixed(place->key))) {
        complain(place, "cannot be set while the broker runs; %s",
                 pool ? "change the configuration and reload it"
                      : "change the configuration and restart the broker");
        return -EINVAL;
    }
    parse_value(place, value, pool ? (void *)pool : (void *)broker);
    if (pool && loader->errors == 0) {
        pool->username = pool->password_file = NULL; /* these are as they were: not read again */
        check_pool(loader, pool);
    }
    return loader->errors == 0 ? 0 : -EINVAL;
}

int config_set(struct config *config, struct pool_config *pool, const char *name, const char *value,
               config_report *report, void *context)
{
    struct loader loader = {
        .config = config, .report = report, .context = context, .line_max = INI_MAX_LINE - 2};
    const struct section *section = &sections[pool ? 1 : 0];
    struct place place = {.loader = &loader, .pool = pool, .origin.variable = "lendisctl set="};
    struct pool_config trial = {0};
    struct broker_config trial_broker = config->broker;
    char text[TEXT_SIZE], advice[64];

    place.key = find_key(section, name);
    if (!place.key) {
        suggest(section, name, advice, sizeof advice);
        snprintf(text, sizeof text, "%.40s is not a key of %s; %s", name,
                 pool ? "a pool" : "[broker]", advice);
        tell(&loader, LOG_LEVEL_ERR, text);
        return -EINVAL;
    }
    if (pool)
        trial = *pool;
    if (try_value(&place, pool ? &trial : NULL, &trial_broker, value) != 0)
        return -EINVAL;
    if (pool)
        memcpy((char *)pool + place.key->offset, (char *)&trial + place.key->offset,
               plain_size(place.key));
    else
        memcpy((char *)&config->broker + place.key->offset,
               (char *)&trial_broker + place.key->offset, plain_size(place.key));
    return 0;
}

bool id_list_contains(const struct id_list *list, uint32_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (id >= list->ranges[i].first && id <= list->ranges[i].last)
            return true;
    return false;
}

/* ---- printing ---- */

static void print_ids(const struct id_list *list, FILE *out)
{
    for (size_t i = 0; i < list->count; i++) {
        fprintf(out, "%s%u", i ? " " : "", list->ranges[i].first);
        if (list->ranges[i].last != list->ranges[i].first)
            fprintf(out, "-%u", list->ranges[i].last);
    }
}

static bool is_set(const struct key *key, const void *field)
{
    switch (key->type) {
    case KEY_PATH:
    case KEY_SOCKET:
    case KEY_LISTEN:
    case KEY_TEXT:
    case KEY_NAMES:
        return *(char *const *)field != NULL;
    case KEY_REDIS:
        return ((const struct redis_address *)field)->text != NULL;
    case KEY_IDS:
        return ((const struct id_list *)field)->count != 0;
    case KEY_USERS:
    case KEY_GROUPS:
        return ((const struct id_names *)field)->text != NULL;
    default:
        return true;
    }
}

static void print_value(const struct key *key, const void *field, FILE *out)
{
    char text[32];

    switch (key->type) {
    case KEY_PATH:
    case KEY_SOCKET:
    case KEY_LISTEN:
    case KEY_TEXT:
    case KEY_NAMES:
        fputs(*(char *const *)field, out);
        break;
    case KEY_CHOICE:
        fputs(key->choices[*(const uint32_t *)field - key->min], out);
        break;
    case KEY_SWITCH:
        fputs(*(const bool *)field ? "yes" : "no", out);
        break;
    case KEY_COUNT:
        fprintf(out, "%u", *(const uint32_t *)field);
        break;
    case KEY_DURATION:
        format_duration(*(const uint32_t *)field, text, sizeof text);
        fputs(text, out);
        break;
    case KEY_REDIS:
        fputs(((const struct redis_address *)field)->text, out);
        break;
    case KEY_IDS:
        print_ids(field, out);
        break;
    case KEY_USERS:
    case KEY_GROUPS:
        fputs(((const struct id_names *)field)->text, out);
        break;
    }
}

static void print_keys(const struct section *section, const void *target, FILE *out)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct key *key = &section->keys[i];
        const void *field = (const char *)target + key->offset;

        if (!is_set(key, field)) {
            fprintf(out, "# %s =\n", key->name);
            continue;
        }
        fprintf(out, "%s = ", key->name);
        print_value(key, field, out);
        fputc('\n', out);
    }
}

void config_print(const struct config *config, FILE *out)
{
    fprintf(out, "[broker]\n");
    print_keys(&sections[0], &config->broker, out);
    for (uint32_t i = 0; i < config->pool_count; i++) {
        fprintf(out, "\n[pool %s]\n", config->pools[i].name);
        print_keys(&sections[1], &config->pools[i], out);
    }
}

void config_list_keys(FILE *out)
{
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        for (size_t j = 0; j < sections[i].count; j++) {
            const struct key *key = &sections[i].keys[j];

            fprintf(out, "%s\t%s\t%s\t%s\t%s\n", sections[i].name, key->name, type_names[key->type],
                    key->fallback ? key->fallback : "", key->help);
        }
}
