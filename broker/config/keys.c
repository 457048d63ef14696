/* SPDX-License-Identifier: MIT */
/* The table of keys: see keys.h. */
#include "broker/config/keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "broker/base/log.h"
#include "broker/config/config.h"
#include "broker/tls/tls.h"
#include "lendis/mailbox.h"
#include "lendis/wire.h"

#define USERNAME_MAX    63u
#define CLIENT_NAME_MAX 63u
#define TLS_TEXT_MAX    175u

static const char *const level_names[] = {"err", "warning", "notice", "info", "debug", NULL};

static const char *const reset_names[] = {"tracked", "always", "never", NULL};
static const char *const order_names[] = {"last_used", "round_robin", NULL};

const char *const config_role_names[] = {"primary", "replica", "local", NULL};

static const char *const fallback_names[] = {"error", "direct", NULL};

static const char *const verify_names[] = {"full", "ca", "none", NULL};
static const char *const mode_names[] = {"auto", "ktls", "relay", NULL};
static const char *const version_names[] = {"1.2", "1.3", NULL};

#define HOURS(n) (UINT64_C(3600000) * (n))

#define BROKER(field) offsetof(struct broker_config, field)

static const struct key broker_keys[] = {
    {"socket", KEY_SOCKET, BROKER(socket), LENDIS_DEFAULT_SOCKET, 0, 0, NULL,
     "The socket that workers attach to: an absolute path. It is made with mode 0660; its "
     "directory must exist.",
     NULL},
    {"log_level", KEY_CHOICE, BROKER(log_level), "notice", LOG_LEVEL_ERR, 0, level_names,
     "The least urgent messages that are logged.", NULL},
    {"max_workers", KEY_COUNT, BROKER(max_workers), "1024", 1, LENDIS_MAX_WORKERS, NULL,
     "Processes that can be attached at the same time, over all pools.",
     "A process that attaches beyond that gets the answer that the broker is busy. Each takes less "
     "than 1 KiB of shared memory, and two descriptors in the broker."},
    {"dial_concurrency", KEY_COUNT, BROKER(dial_concurrency), "8", 1, 256, NULL,
     "Connections that are being opened at the same time at most, over all pools.",
     "So a restart of Redis is not followed by a flood. Servers take turns; where there are "
     "several, each gets half of these at most, and a single one while it does not let connections "
     "in. One that has not answered after 250 ms is waited for beside this limit, and gets no "
     "other turn until then: it does not keep other pools from theirs."},
    {"dial_rate", KEY_COUNT, BROKER(dial_rate), "0", 0, 100000, NULL,
     "Connections that are being opened per second at most, over all pools; *0* means no limit.",
     "_dial_concurrency_ of them may come at once. Without a limit _dial_concurrency_ alone sets "
     "the pace, which for a server that answers at once is some thousand a second."},
    {"metrics", KEY_LISTEN, BROKER(metrics), NULL, 0, 0, NULL,
     "Where metrics are published by HTTP, at /metrics. Without it: nowhere.",
     "See METRICS in *lendisctl*(1). The socket of a path is made with mode 0660. At most 8 "
     "clients are served at the same time, each for 10 seconds. Needs libmicrohttpd, which is "
     "loaded only for this: with GnuTLS, which comes with it, the broker takes 2 MiB more."},
    {"drain_timeout", KEY_DURATION, BROKER(drain_timeout_ms), "10s", 0, HOURS(1), NULL,
     "How long a broker that is to stop waits for leases to come back.", NULL},
    {"exit_after_idle", KEY_DURATION, BROKER(exit_after_idle_ms), "0s", 0, HOURS(24), NULL,
     "A broker to which no worker was attached for this long exits; *0s* means that it stays.",
     "Its status is 0. The next worker starts it again where a socket unit listens (*lendisd*(8)); "
     "without one, leave it at *0s*."},
};

#define POOL(field) offsetof(struct pool_config, field)

static const struct key pool_keys[] = {
    {"redis", KEY_REDIS, POOL(redis), NULL, 0, 0, NULL,
     "Where Redis is: redis://HOST:PORT/DB, an IPv6 address in brackets, or unix:///PATH?db=N; "
     "rediss://HOST:PORT/DB with TLS. Required, but for a service.",
     "A host name is looked up anew when connections are opened, at most every 30 seconds, and at "
     "once when one could not be. For services see _primary_, for TLS see TLS."},
    {"username", KEY_TEXT, POOL(username), NULL, 1, USERNAME_MAX, NULL,
     "The Redis user (ACL) to log in as; needs _password_file_ or _password_command_. Without it: "
     "the user \"default\".",
     NULL},
    {"password_file", KEY_PATH, POOL(password_file), NULL, 0, 0, NULL,
     "The file that holds the password. A name without a leading slash is a systemd credential.",
     "Up to 4096 bytes of plain text. A newline at its end (LF, CR LF or CR) and a byte order mark "
     "at its start are not part of it. For credentials see _LoadCredential=_ in *systemd.exec*(5). "
     "It is read again for each connection that is opened, so that another password needs no "
     "reload; see PASSWORDS THAT CHANGE. Without this key and _password_command_, the broker does "
     "not log in."},
    {"password_command", KEY_COMMAND_LINE, POOL(password_command), NULL, 1, PASSWORD_COMMAND_MAX,
     NULL,
     "A program that prints the password, and its arguments: instead of _password_file_, for "
     "tokens that do not live long.",
     "The first line that it prints is the password. It is run when the first connection is "
     "opened, before _password_lifetime_ ends, when Redis does not accept the password, and on "
     "*lendisctl reconnect*. What it prints to standard error goes to the log. See PASSWORDS THAT "
     "CHANGE."},
    {"password_command_timeout", KEY_DURATION, POOL(password_command_timeout_ms), "10s", 100,
     600000, NULL, "How long _password_command_ may take; then it is killed, and has failed.",
     NULL},
    {"password_lifetime", KEY_DURATION, POOL(password_lifetime_ms), "0", 0, HOURS(720), NULL,
     "How long a password is good for; *0* means that it has no end. At least 1s.",
     "In the last quarter of this time, connections that logged in with it are replaced by new "
     "ones, one after the other. What _password_command_ prints is good from its start on; it is "
     "run again before that. Of a _password_file_ it is the time from the login on."},
    {"serves", KEY_ADDRESSES, POOL(serves), NULL, 1, CONFIG_ADDRESSES_MAX, NULL,
     "Addresses at which unmodified programs find this pool: HOST:PORT, an IPv6 address in "
     "brackets, unix:///PATH; *none* means nowhere. Without it: the address in _redis_.",
     "Of use to *lendis-run*(1) alone: what a program connects to one of these goes through the "
     "pool. A port that is left out is 6379. A name stands for all addresses that the program's "
     "host finds under it: *localhost* for 127.0.0.1, and for ::1 where that is so. Pools of one "
     "server with different databases may serve the same address: a program that sends SELECT gets "
     "the pool that has the database. An address that is written here wins over another pool's "
     "_redis_. A service serves what is written here alone."},
    {"tls_ca_file", KEY_PATH, POOL(tls.ca_file), NULL, 0, 0, NULL,
     "Certificates, in PEM, of the CAs that the server's certificate may come from. A name without "
     "a leading slash is a systemd credential.",
     "With neither this nor _tls_ca_path_: those that the system trusts. What changes in the files "
     "of these keys is noticed by itself; see TLS."},
    {"tls_ca_path", KEY_PATH, POOL(tls.ca_path), NULL, 0, 0, NULL,
     "A folder with such certificates, one in each file, under the names that *openssl "
     "rehash*(1ssl) gives them.",
     NULL},
    {"tls_verify", KEY_CHOICE, POOL(tls.verify), "full", TLS_VERIFY_FULL, 0, verify_names,
     "What is asked of the server's certificate: *full*, that it is trusted and made out to the "
     "host; *ca*, that it is trusted; *none*, nothing, which is dangerous: whoever is on the way "
     "can read and change everything, the password too.",
     "A name is looked for among the DNS names of the certificate, an IP address among its IP "
     "addresses."},
    {"tls_server_name", KEY_TEXT, POOL(tls.server_name), NULL, 1, TLS_TEXT_MAX, NULL,
     "The name, or the IP address, that the server's certificate must be made out to. Without it: "
     "the host in _redis_.",
     "A name is sent to the server in the handshake, too (SNI)."},
    {"tls_cert_file", KEY_PATH, POOL(tls.cert_file), NULL, 0, 0, NULL,
     "The certificate of this client, in PEM, and behind it those of the CAs between it and the "
     "server's; needs _tls_key_file_. A name without a leading slash is a systemd credential.",
     "Where the server maps certificates to users (_tls-auth-clients-user_), no password is "
     "needed."},
    {"tls_key_file", KEY_PATH, POOL(tls.key_file), NULL, 0, 0, NULL,
     "The key of _tls_cert_file_, in PEM, without a password. A name without a leading slash is a "
     "systemd credential.",
     NULL},
    {"tls_min_version", KEY_CHOICE, POOL(tls.min_version), "1.2", TLS_VERSION_1_2, 0, version_names,
     "The oldest version of TLS that is used.", NULL},
    {"tls_max_version", KEY_CHOICE, POOL(tls.max_version), "1.3", TLS_VERSION_1_2, 0, version_names,
     "The newest one; at least _tls_min_version_.", NULL},
    {"tls_ciphers", KEY_TEXT, POOL(tls.ciphers), NULL, 1, TLS_TEXT_MAX, NULL,
     "Ciphers of TLS 1.2 that are used, as in *openssl ciphers*(1ssl). Without it: OpenSSL's "
     "choice.",
     NULL},
    {"tls_ciphersuites", KEY_TEXT, POOL(tls.ciphersuites), NULL, 1, TLS_TEXT_MAX, NULL,
     "Likewise those of TLS 1.3, separated by colons.", NULL},
    {"tls_mode", KEY_CHOICE, POOL(tls.mode), "auto", TLS_MODE_AUTO, 0, mode_names,
     "Who encrypts what workers send: *ktls*, the kernel; *relay*, a thread of the broker; *auto*, "
     "the kernel where it can, else the relay. See TLS.",
     NULL},
    {"role", KEY_CHOICE, POOL(role), "primary", ROLE_PRIMARY, 0, config_role_names,
     "What the Redis of this pool is: a *primary*, which takes writes; a *replica* of one; "
     "*local*, for this host alone.",
     "A service can only have members that have the role that it names them for."},
    {"primary", KEY_TEXT, POOL(primary), NULL, 1, CATALOG_NAME_SIZE - 1, NULL,
     "Makes this section a service: a primary and its replicas under one name. This is the pool "
     "that writes and leases go to.",
     "Programs attach to a service as to a pool. It has no _redis_ and no connections of its own. "
     "Writes, exclusive leases and whatever the library does not know for sure to read only go to "
     "this pool. The members are pools like all others, with their own sizes, limits and rights, "
     "and can be used by their own names as well; a process that uses a service counts as a worker "
     "of each member that it comes to use, and of the service."},
    {"replicas", KEY_TEXT, POOL(replicas), NULL, 1, SERVICE_REPLICAS_SIZE - 1, NULL,
     "Of a service: up to 15 pools that commands go to which only read. Each goes to the least "
     "busy one that is up; without one, to the primary.",
     "What counts as busy are the connections in use and the waiters of all processes of the host; "
     "pools that are paused or drained are left out like those that are down. A read that was "
     "under way when its replica died is sent to another. SCAN and its kind go to the primary, for "
     "a cursor is good at one node alone; a script or function that a replica has not is run by "
     "the primary. What a replica answers can be older than what was "
     "written last."},
    {"enabled", KEY_SWITCH, POOL(enabled), "yes", 0, 0, NULL,
     "The switch for a gradual roll-out. A pool that is switched off has no connections and lends "
     "none; see _fallback_.",
     "With *no* a pool starts as after *lendisctl drain*; programs that attach to it find that out "
     "with their first command. *lendisctl resume* makes it lend, *lendisctl drain* ends that "
     "again. As with every key, a variable does it without touching the file: "
     "_LENDIS_POOL_MAIN_ENABLED=0_."},
    {"fallback", KEY_CHOICE, POOL(fallback), "error", FALLBACK_ERROR, 0, fallback_names,
     "What processes get from a pool with _enabled_ = *no*. *error*: their calls fail with "
     "LENDIS_E_DISABLED. *direct*: each has connections of its own, up to _size_ in each process, "
     "which the broker opens for it.",
     "They are opened when they are needed and kept until the pool lends. A pool that is merely "
     "drained, with _enabled_ = *yes*, has no fallback. See DIRECT CONNECTIONS."},
    {"fallback_connections", KEY_COUNT, POOL(fallback_connections), "1024", 1, LENDIS_MAX_WORKERS,
     NULL,
     "With _fallback_ = *direct*: connections of their own that all processes together have at the "
     "same time.",
     NULL},
    {"size", KEY_COUNT, POOL(size), "16", 1, CONFIG_SIZE_MOST, NULL,
     "Connections at most; they are opened as they are needed.",
     "One that is replaced is closed only when its successor is open, so for a moment, or for as "
     "long as its holder keeps it, there is one more: at most one for each eight, and one."},
    {"min_idle", KEY_COUNT, POOL(min_idle), "1", 0, CONFIG_SIZE_MOST, NULL,
     "Connections that are kept open for the next caller; at most _size_.", NULL},
    {"max_idle", KEY_COUNT, POOL(max_idle), "0", 0, CONFIG_SIZE_MOST, NULL,
     "Idle connections beyond this many are closed when nobody used them for a second; *0* means "
     "no limit.",
     "At least _min_idle_. Without a limit _max_idle_time_ alone decides."},
    {"reserve_size", KEY_COUNT, POOL(reserve_size), "0", 0, CONFIG_SIZE_MOST, NULL,
     "Connections beyond _size_ for the exceptional case: one is opened whenever somebody has "
     "waited for _reserve_after_.",
     "It is closed when nobody used it for a second. Together with _size_ at most 1000."},
    {"reserve_after", KEY_DURATION, POOL(reserve_after_ms), "500ms", 1, HOURS(1), NULL,
     "How long somebody must have waited before a connection of _reserve_size_ is opened.", NULL},
    {"max_idle_time", KEY_DURATION, POOL(max_idle_time_ms), "10min", 0, HOURS(720), NULL,
     "A connection that nobody used for this long is closed, as long as more than _min_idle_ are "
     "idle; *0* means never.",
     "The default is what other pools have; it is well below the _timeout_ that Redis servers are "
     "commonly given, so that the server does not come first."},
    {"max_lifetime", KEY_DURATION, POOL(max_lifetime_ms), "1h", 0, HOURS(720), NULL,
     "A connection is replaced when it is this old, in use or not; *0* means never.",
     "So a changed address, a load balancer or new access rules of the server take effect in the "
     "end. The successor is opened first. A connection that is leased by then is retired when its "
     "holder gives it back; while Redis cannot be dialled, none is."},
    {"lifetime_jitter", KEY_COUNT, POOL(lifetime_jitter), "10", 0, 100, NULL,
     "Percent of _max_lifetime_: each connection lives shorter than that by a random part of so "
     "much.",
     "So those that were opened together are not replaced together."},
    {"max_uses", KEY_COUNT, POOL(max_uses), "0", 0, 1000000000, NULL,
     "A connection is replaced, likewise, when it was lent this often; *0* means never.",
     "What somebody sends for others on a connection that it holds counts once."},
    {"connect_timeout", KEY_DURATION, POOL(connect_timeout_ms), "5s", 1, 600000, NULL,
     "The limit for connecting and logging in.", NULL},
    {"wait_timeout", KEY_DURATION, POOL(wait_timeout_ms), "5s", 1, HOURS(24), NULL,
     "How long a worker waits for a connection unless the call says otherwise.", NULL},
    {"check_interval", KEY_DURATION, POOL(check_interval_ms), "30s", 0, HOURS(24), NULL,
     "A connection that nobody used for this long is checked by a PING; *0* means never.",
     "Up to a quarter of the time is taken off at random. The PING has a token that must come back "
     "within _check_timeout_. The connection cannot be lent meanwhile, so never more than one and "
     "a quarter of the idle ones are checked at the same time. One that fails is replaced. This "
     "finds a server that stands still and a firewall that has forgotten the connection; its end "
     "is seen at once anyway. As often the host name in _redis_ is looked up again: connections to "
     "an address that is no longer among those found are replaced. A lookup that fails replaces "
     "nothing, and while one takes long or fails, the addresses found before are used."},
    {"check_timeout", KEY_DURATION, POOL(check_timeout_ms), "1s", 1, 60000, NULL,
     "How long the answer to a check may take; see _check_interval_.", NULL},
    {"fail_fast_after", KEY_COUNT, POOL(fail_fast_after), "8", 0, 1000000, NULL,
     "When so many dials in a row have failed and no connection is left, nobody waits for one "
     "until a dial succeeds; *0* means that all wait as long as they may.",
     "Those who wait and those who come get *LENDIS_E_DOWN* at once. One probe at a time goes on, "
     "see _dial_backoff_min_. With the default and a server that refuses, this is after some three "
     "seconds: a restart is waited for, an outage is not."},
    {"wait_queue", KEY_COUNT, POOL(wait_queue), "0", 0, LENDIS_MAX_SLOTS, NULL,
     "How many may wait at the same time, for a connection or for the turn of their command; *0* "
     "means no limit but that of _max_workers_.",
     "Further callers get the answer that the pool is busy, at once. Commands that go out with "
     "those of others wait for a moment only, so under load many may be in the queue without any "
     "harm."},
    {"order", KEY_CHOICE, POOL(order), "last_used", ORDER_LAST_USED, 0, order_names,
     "Which idle connection is lent first: *last_used*, the one that the worker used last; "
     "*round_robin*, the next after the one that anybody was lent last.",
     "With *last_used* its buffers are warm; now and then it is the first idle one, so that the "
     "others come to rest and can be closed. With *round_robin* all get the same share, as for "
     "servers behind a load balancer, and none is idle for long while there is anything to do."},
    {"check_on_lease", KEY_SWITCH, POOL(check_on_lease), "yes", 0, 0, NULL,
     "Whether a connection that was not used for some milliseconds is inspected before it is used.",
     "Its end, and bytes that nobody asked for, are seen without a round trip, in less than a "
     "microsecond. Without it what dies between two scans of the broker is found by the command."},
    {"dial_backoff_min", KEY_DURATION, POOL(dial_backoff_min_ms), "50ms", 10, HOURS(1), NULL,
     "The longest pause after the first dial that failed. The pause is random; its limit doubles "
     "with each that fails, up to _dial_backoff_max_.",
     NULL},
    {"dial_backoff_max", KEY_DURATION, POOL(dial_backoff_max_ms), "10s", 10, HOURS(1), NULL,
     "The longest pause between dials while they fail; at least _dial_backoff_min_.", NULL},
    {"tcp_keepalive", KEY_DURATION, POOL(tcp_keepalive_ms), "1min", 0, HOURS(9), NULL,
     "TCP probes a peer that was silent for this long; *0* means never.",
     "It does so four times, a quarter of this time apart, and then takes the peer for dead. In "
     "whole seconds, rounded up. Unix sockets have no need of it."},
    {"client_name", KEY_TEXT, POOL(client_name), NULL, 1, CLIENT_NAME_MAX, NULL,
     "What CLIENT LIST calls the pool's connections; lendis-NAME if it is not set. The characters "
     "from ! to ~ are allowed.",
     NULL},
    {"command_timeout", KEY_DURATION, POOL(command_timeout_ms), "10s", 0, HOURS(24), NULL,
     "The limit for one command and its reply, the wait for a connection included; *0* means none.",
     "It does not apply to a command that blocks in the server, which has a limit of its own, nor "
     "to a call that names its own."},
    {"stall_timeout", KEY_DURATION, POOL(stall_timeout_ms), "1s", MAIL_STALL_LEAST_MS, 60000, NULL,
     "A worker that holds a connection for others and is stopped loses it after this time; one "
     "that is only slow keeps it.",
     "It may be stopped by a signal, a debugger or the freezer of its cgroup. What was handed to "
     "it and not sent goes on with another worker. One that only waits for a processor keeps the "
     "connection, however busy the host and however small its cgroup's quota: the broker reads the "
     "process' state and CPU time in _/proc_. One that sleeps outside of the library, in a signal "
     "handler for example, gets twice as long; one that waits for a disk, and one that the broker "
     "cannot see (*hidepid=*, another PID namespace, several threads there), four times. Time is "
     "counted by the broker's clock, from when somebody has waited for a tenth of a second."},
    {"reset", KEY_CHOICE, POOL(reset), "tracked", RESET_TRACKED, 0, reset_names,
     "What is done with a connection that is given back: *tracked*, it is reset if its session was "
     "changed or may have been; *always*, after every exclusive lease; *never*, which is "
     "dangerous, the next one finds it as it was left. See RESETS.",
     NULL},
    {"lease_timeout", KEY_DURATION, POOL(lease_timeout_ms), "0", 0, HOURS(24), NULL,
     "A lease that is held for longer is revoked; *0* means never. At least 100ms.",
     "Its connection is shut down and replaced, its holder's next read or write fails, and "
     "*lendis_release*(3) returns *LENDIS_E_REVOKED*. What was under way on it may have been "
     "executed. Whatever the holder does counts as holding: a command that blocks in the server, a "
     "subscription, a process that was stopped, a connection that was passed to a process and not "
     "picked up. So let it be longer than the longest BLPOP and than _command_timeout_; pools for "
     "subscribers do without. Processes that send each other's commands pass a connection on "
     "before long, and each of them has a lease of its own. The limit is kept to the millisecond "
     "for processes that use the library as it is, and to a tenth of it for others."},
    {"leak_warn_after", KEY_DURATION, POOL(leak_warn_after_ms), "0", 0, HOURS(24), NULL,
     "A lease that is held for longer is logged, once; *0* means never. At least 100ms, and less "
     "than _lease_timeout_ unless that is *0*.",
     "Logged are the connection, for how long, the process, its user and its command line (its "
     "first 200 characters; what is not printable ASCII shows as \"?\"). At most 5 of these in 10 "
     "seconds are logged, with the number of those that were not. What _lease_timeout_ says of "
     "holding holds here, too."},
    {"per_uid_leases", KEY_COUNT, POOL(per_uid_leases), "0", 0, LENDIS_MAX_CONNECTIONS, NULL,
     "Connections of the pool that the processes of one user may hold at the same time; *0* means "
     "no limit.",
     "A call that would be one more waits, up to its limit, as it does when all are in use "
     "(*LENDIS_E_TIMEOUT*, or *LENDIS_E_BUSY* if it is not to wait), but outside of the queue: it "
     "tries again every millisecond or so. A command that may share a connection is still handed "
     "over while all connections are in use, and another user's process may send it. The library "
     "keeps to this exactly. A process that goes around it and takes more has the newest ones "
     "revoked within a second (not those that it had before the limit was changed); but it can, as "
     "all workers of a pool write the same shared memory, pretend to be another. If that is a "
     "concern, give each user a pool of its own."},
    {"per_uid_workers", KEY_COUNT, POOL(per_uid_workers), "0", 0, LENDIS_MAX_WORKERS, NULL,
     "Processes of one user that may be attached to the pool at the same time; *0* means no limit.",
     "Handles of *lendis_attach*(3) are counted, to be exact. One more gets the answer that the "
     "broker is busy (*LENDIS_E_BUSY*), and the log says why."},
    {"allow_uids", KEY_IDS, POOL(allow_uids), NULL, 0, 0, NULL,
     "Ids of users whose processes may use the pool. With none of _allow_uids_, _allow_users_, "
     "_allow_gids_ and _allow_groups_, whoever can open the socket may; else being in one of them "
     "is enough.",
     "Root is no exception."},
    {"allow_users", KEY_USERS, POOL(allow_users), NULL, 0, 0, NULL,
     "The same by name, besides those of _allow_uids_.", NULL},
    {"allow_gids", KEY_IDS, POOL(allow_gids), NULL, 0, 0, NULL,
     "Ids of groups whose members may use the pool; supplementary groups count.", NULL},
    {"allow_groups", KEY_GROUPS, POOL(allow_groups), NULL, 0, 0, NULL,
     "The same by name, besides those of _allow_gids_.", NULL},
    {"exclusive_commands", KEY_NAMES, POOL(exclusive_commands), NULL, 0, CONFIG_NAMES_MAX, NULL,
     "Commands that get a connection for themselves for the time of the call, of modules for "
     "example. What the server says may block gets one anyway.",
     "They send nobody else's command with them. Commands that change the session and those that "
     "may wait in the server are such without being named: lendis has a table of Redis' own "
     "commands (up to 8.12, and of Valkey up to 9.1), and what *COMMAND* says on the connected "
     "server, modules included, wins over it. Of the commands that are not in the table, those "
     "that have subcommands, or that the server files under connections, transactions or messages "
     "(ACL categories, flags), are taken to change the session: the connection is reset behind "
     "them, or replaced where the pool logs in with a password. So this is for commands that take "
     "long, or of which the server does not know that they wait. Unlike a command that the server "
     "calls blocking, they keep their _command_timeout_."},
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
        snprintf(text, size, "lendisd --list-keys lists them");
}
