/* SPDX-License-Identifier: MIT */
/* The configuration: what is accepted, and that everything wrong is reported with its place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/config/config.h"

static char folder[] = "/tmp/lendis-config-XXXXXX";
static char config_path[64];
static char password_path[64];

/* What was reported, one line each, with the folder left out. */
static char reports[8192];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(config_path, sizeof config_path, "%s/c", folder);
    snprintf(password_path, sizeof password_path, "%s/p", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(config_path);
    unlink(password_path);
    return rmdir(folder);
}

static void write_file(const char *path, const char *text, size_t size, mode_t mode)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void collect(enum log_level level, const char *text, void *context)
{
    size_t have = strlen(reports);

    (void)context;
    if (strncmp(text, folder, strlen(folder)) == 0)
        text += strlen(folder) + 1;
    snprintf(reports + have, sizeof reports - have, "%s%s\n",
             level == LOG_LEVEL_WARNING ? "warning: " : "", text);
}

static int load(const char *text, char *const *environment, struct config *config)
{
    reports[0] = '\0';
    write_file(config_path, text, strlen(text), 0600);
    return config_load(config_path, environment, collect, NULL, config);
}

static void assert_refused(const char *text, const char *expected)
{
    struct config config;
    int result = load(text, NULL, &config);

    assert_string_equal(reports, expected);
    assert_int_equal(result, -EINVAL);
    assert_null(config.pools);
}

static void assert_accepted(const char *text, struct config *config)
{
    int result = load(text, NULL, config);

    assert_string_equal(reports, "");
    assert_int_equal(result, 0);
}

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    assert_non_null(memory);
    config_print(config, memory);
    assert_int_equal(fclose(memory), 0);
    return text;
}

#define POOL "[pool a]\nredis = redis://h:1/2\n"

static void expect_set(struct config *config, struct pool_config *pool, const char *key,
                       const char *value, int expected, const char *said)
{
    reports[0] = '\0';
    assert_int_equal(config_set(config, pool, key, value, collect, NULL), expected);
    assert_string_equal(reports, said);
}

static void keys_are_set_one_by_one(void **state)
{
    struct config config;
    struct pool_config *pool;

    (void)state;
    write_file(password_path, "secret", 6, 0600);
    {
        char text[256];

        snprintf(text, sizeof text, POOL "size = 4\nusername = u\npassword_file = %s\n",
                 password_path);
        assert_accepted(text, &config);
    }
    pool = &config.pools[0];
    expect_set(&config, pool, "size", "7", 0, "");
    assert_int_equal(pool->size, 7);
    expect_set(&config, pool, "wait_timeout", "3s", 0, "");
    assert_int_equal(pool->wait_timeout_ms, 3000);
    expect_set(&config, pool, "reset", "never", 0, "");
    assert_int_equal(pool->reset, RESET_NEVER);
    expect_set(
        &config, pool, "wait_timeout", "3", -EINVAL,
        "lendisctl set: [pool a] wait_timeout: 3 has no unit; write ms, s, min or h behind it, "
        "as in 3ms\n");
    assert_int_equal(pool->wait_timeout_ms, 3000);
    reports[0] = '\0';
    assert_int_equal(config_set(&config, pool, "min_idle", "8", collect, NULL), -EINVAL);
    assert_non_null(strstr(reports, "min_idle is 8 and size is 7; min_idle may be at most size"));
    assert_int_equal(pool->min_idle, 1);
    expect_set(&config, pool, "username", "v", -EINVAL,
               "lendisctl set: [pool a] username: cannot be set while the broker runs; change the "
               "configuration and reload it\n");
    assert_string_equal(pool->username, "u");
    assert_memory_equal(pool->password, "secret", 6);
    expect_set(&config, pool, "min_idel", "1", -EINVAL,
               "min_idel is not a key of a pool; is min_idle meant?\n");
    expect_set(&config, NULL, "drain_timeout", "1min", 0, "");
    expect_set(&config, NULL, "exit_after_idle", "30s", 0, "");
    assert_int_equal(config.broker.exit_after_idle_ms, 30000);
    assert_int_equal(config.broker.drain_timeout_ms, 60000);
    expect_set(
        &config, NULL, "max_workers", "8", -EINVAL,
        "lendisctl set: [broker] max_workers: cannot be set while the broker runs; change the "
        "configuration and restart the broker\n");
    assert_int_equal(config.broker.max_workers, 1024);
    config_free(&config);
}

static void defaults(void **state)
{
    struct config config;

    (void)state;
    assert_accepted("[pool a]\nredis = redis://localhost\n", &config);
    assert_string_equal(config.broker.socket, "/run/lendis/lendis.sock");
    assert_int_equal(config.broker.log_level, LOG_LEVEL_NOTICE);
    assert_int_equal(config.broker.max_workers, 1024);
    assert_int_equal(config.broker.dial_concurrency, 8);
    assert_int_equal(config.broker.drain_timeout_ms, 10000);
    assert_int_equal(config.broker.exit_after_idle_ms, 0);
    assert_int_equal(config.pool_count, 1);
    assert_string_equal(config.pools[0].name, "a");
    assert_string_equal(config.pools[0].redis.host, "localhost");
    assert_int_equal(config.pools[0].redis.port, 6379);
    assert_int_equal(config.pools[0].redis.db, 0);
    assert_null(config.pools[0].redis.path);
    assert_null(config.pools[0].username);
    assert_null(config.pools[0].password);
    assert_int_equal(config.pools[0].size, 16);
    assert_int_equal(config.pools[0].min_idle, 1);
    assert_int_equal(config.pools[0].max_idle, 0);
    assert_int_equal(config.pools[0].max_idle_time_ms, 600000);
    assert_int_equal(config.pools[0].max_lifetime_ms, 3600000);
    assert_int_equal(config.pools[0].lifetime_jitter, 10);
    assert_int_equal(config.pools[0].max_uses, 0);
    assert_int_equal(config.broker.dial_rate, 0);
    assert_int_equal(config.pools[0].reserve_size, 0);
    assert_int_equal(config.pools[0].reserve_after_ms, 500);
    assert_int_equal(config.pools[0].check_interval_ms, 30000);
    assert_int_equal(config.pools[0].check_timeout_ms, 1000);
    assert_int_equal(config.pools[0].fail_fast_after, 8);
    assert_int_equal(config.pools[0].wait_queue, 0);
    assert_int_equal(config.pools[0].order, ORDER_LAST_USED);
    assert_true(config.pools[0].check_on_lease);
    assert_int_equal(config.pools[0].dial_backoff_min_ms, 50);
    assert_int_equal(config.pools[0].dial_backoff_max_ms, 10000);
    assert_int_equal(config.pools[0].tcp_keepalive_ms, 60000);
    assert_null(config.pools[0].client_name);
    assert_int_equal(config.pools[0].connect_timeout_ms, 5000);
    assert_int_equal(config.pools[0].wait_timeout_ms, 5000);
    assert_int_equal(config.pools[0].command_timeout_ms, 10000);
    assert_int_equal(config.pools[0].reset, RESET_TRACKED);
    assert_int_equal(config.pools[0].lease_timeout_ms, 0);
    assert_int_equal(config.pools[0].leak_warn_after_ms, 0);
    assert_int_equal(config.pools[0].per_uid_leases, 0);
    assert_int_equal(config.pools[0].per_uid_workers, 0);
    assert_int_equal(config.pools[0].role, ROLE_PRIMARY);
    assert_null(config.pools[0].primary);
    assert_null(config.pools[0].replicas);
    assert_null(config.pools[0].serves);
    assert_true(config.pools[0].enabled);
    assert_int_equal(config.pools[0].fallback, FALLBACK_ERROR);
    assert_int_equal(config.pools[0].fallback_connections, 1024);
    assert_int_equal(config.pools[0].allow_uids.count, 0);
    assert_int_equal(config.pools[0].allow_users.ids.count, 0);
    assert_int_equal(config.pools[0].allow_groups.ids.count, 0);
    assert_null(config.pools[0].exclusive_commands);
    config_free(&config);
}

static void all_keys(void **state)
{
    struct config config;

    (void)state;
    write_file(password_path, "pass word\n", 10, 0600);
    assert_accepted("\xef\xbb\xbf; a comment\n"
                    "[broker]   # and another\n"
                    "socket = /tmp/x.sock ; with a remark\n"
                    "log_level=debug\n"
                    "max_workers: 16384\n"
                    "dial_concurrency = 1\n"
                    "dial_rate = 100000\n"
                    "drain_timeout = 1min\r\n"
                    "metrics = unix:///run/lendis/metrics.sock\n"
                    "\n"
                    "[pool  web-1.main_x]\n"
                    "   redis = unix:///run/redis.sock?db=7\n"
                    "\tsize = 900\n"
                    "reserve_size = 100\n"
                    "reserve_after = 1h\n"
                    "check_interval = 0\n"
                    "check_timeout = 1min\n"
                    "fail_fast_after = 1000000\n"
                    "min_idle = 0\n"
                    "max_idle = 7\n"
                    "max_idle_time = 0\n"
                    "max_lifetime = 720h\n"
                    "lifetime_jitter = 100\n"
                    "max_uses = 1000000000\n"
                    "wait_queue = 32768\n"
                    "order = round_robin\n"
                    "check_on_lease = off\n"
                    "dial_backoff_min = 10ms\n"
                    "dial_backoff_max = 1h\n"
                    "tcp_keepalive = 0\n"
                    "client_name = !a:b~\n"
                    "connect_timeout = 250ms\n"
                    "wait_timeout = 2h\n"
                    "command_timeout = 0\n"
                    "reset = never\n"
                    "role = local\n"
                    "serves = 127.0.0.1:6379,localhost  unix:///run/r.sock /run/q.sock [::1]\n"
                    "enabled = no\n"
                    "fallback = direct\n"
                    "fallback_connections = 16384\n"
                    "allow_uids = 33, 1000-1999 0\n"
                    "allow_gids = 5\n"
                    "allow_users = daemon,root\n"
                    "allow_groups = root\n"
                    "lease_timeout = 24h\n"
                    "leak_warn_after = 100ms\n"
                    "per_uid_leases = 1024\n"
                    "per_uid_workers = 16384\n"
                    "exclusive_commands = json.get, FT.SEARCH\tjson.GET ,a_b\n",
                    &config);
    assert_string_equal(config.broker.socket, "/tmp/x.sock");
    assert_int_equal(config.broker.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config.broker.max_workers, 16384);
    assert_int_equal(config.broker.drain_timeout_ms, 60000);
    assert_string_equal(config.broker.metrics, "unix:///run/lendis/metrics.sock");
    assert_string_equal(config.pools[0].name, "web-1.main_x");
    assert_string_equal(config.pools[0].redis.path, "/run/redis.sock");
    assert_int_equal(config.pools[0].redis.db, 7);
    assert_int_equal(config.pools[0].size, 900);
    assert_int_equal(config.pools[0].reserve_size, 100);
    assert_int_equal(config.pools[0].reserve_after_ms, 3600000);
    assert_int_equal(config.pools[0].check_interval_ms, 0);
    assert_int_equal(config.pools[0].check_timeout_ms, 60000);
    assert_int_equal(config.pools[0].fail_fast_after, 1000000);
    assert_int_equal(config.pools[0].min_idle, 0);
    assert_int_equal(config.pools[0].max_idle, 7);
    assert_int_equal(config.pools[0].max_idle_time_ms, 0);
    assert_int_equal(config.pools[0].max_lifetime_ms, 2592000000);
    assert_int_equal(config.pools[0].lifetime_jitter, 100);
    assert_int_equal(config.pools[0].max_uses, 1000000000);
    assert_int_equal(config.broker.dial_rate, 100000);
    assert_int_equal(config.pools[0].wait_queue, 32768);
    assert_int_equal(config.pools[0].order, ORDER_ROUND_ROBIN);
    assert_false(config.pools[0].check_on_lease);
    assert_int_equal(config.pools[0].dial_backoff_min_ms, 10);
    assert_int_equal(config.pools[0].dial_backoff_max_ms, 3600000);
    assert_int_equal(config.pools[0].tcp_keepalive_ms, 0);
    assert_string_equal(config.pools[0].client_name, "!a:b~");
    assert_int_equal(config.pools[0].connect_timeout_ms, 250);
    assert_int_equal(config.pools[0].wait_timeout_ms, 7200000);
    assert_int_equal(config.pools[0].command_timeout_ms, 0);
    assert_int_equal(config.pools[0].reset, RESET_NEVER);
    assert_int_equal(config.pools[0].role, ROLE_LOCAL);
    assert_string_equal(config.pools[0].serves,
                        "127.0.0.1:6379 localhost unix:///run/r.sock /run/q.sock [::1]");
    assert_false(config.pools[0].enabled);
    assert_int_equal(config.pools[0].fallback, FALLBACK_DIRECT);
    assert_int_equal(config.pools[0].fallback_connections, 16384);
    assert_true(id_list_contains(&config.pools[0].allow_uids, 0));
    assert_true(id_list_contains(&config.pools[0].allow_uids, 33));
    assert_true(id_list_contains(&config.pools[0].allow_uids, 1000));
    assert_true(id_list_contains(&config.pools[0].allow_uids, 1999));
    assert_false(id_list_contains(&config.pools[0].allow_uids, 2000));
    assert_false(id_list_contains(&config.pools[0].allow_gids, 33));
    assert_string_equal(config.pools[0].allow_users.text, "daemon root");
    assert_int_equal(config.pools[0].allow_users.ids.count, 2);
    assert_true(id_list_contains(&config.pools[0].allow_users.ids, 0));
    assert_false(id_list_contains(&config.pools[0].allow_users.ids, 33));
    assert_true(id_list_contains(&config.pools[0].allow_groups.ids, 0));
    assert_int_equal(config.pools[0].lease_timeout_ms, 86400000);
    assert_int_equal(config.pools[0].leak_warn_after_ms, 100);
    assert_int_equal(config.pools[0].per_uid_leases, 1024);
    assert_int_equal(config.pools[0].per_uid_workers, 16384);
    assert_string_equal(config.pools[0].exclusive_commands, "A_B FT.SEARCH JSON.GET");
    config_free(&config);
}

static void addresses(void **state)
{
    static const struct {
        const char *url;
        const char *host;
        const char *path;
        unsigned port, db;
    } good[] = {
        {"redis://h", "h", NULL, 6379, 0},
        {"redis://h/", "h", NULL, 6379, 0},
        {"redis://h/5", "h", NULL, 6379, 5},
        {"redis://h:65535/65535", "h", NULL, 65535, 65535},
        {"redis://10.0.0.1:7", "10.0.0.1", NULL, 7, 0},
        {"redis://[::1]:7/3", "::1", NULL, 7, 3},
        {"redis://[fe80::1]", "fe80::1", NULL, 6379, 0},
        {"redis://[fe80::1%25eth0]:6380", "fe80::1%eth0", NULL, 6380, 0},
        {"redis://[fe80::1%252]/4", "fe80::1%2", NULL, 6379, 4},
        {"unix:///a/b", NULL, "/a/b", 0, 0},
        {"unix:///a?db=3", NULL, "/a", 0, 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct config config;
        char text[128];

        snprintf(text, sizeof text, "[pool a]\nredis = %s\n", good[i].url);
        assert_accepted(text, &config);
        if (good[i].host)
            assert_string_equal(config.pools[0].redis.host, good[i].host);
        else
            assert_string_equal(config.pools[0].redis.path, good[i].path);
        assert_int_equal(config.pools[0].redis.port, good[i].port);
        assert_int_equal(config.pools[0].redis.db, good[i].db);
        assert_string_equal(config.pools[0].redis.text, good[i].url);
        config_free(&config);
    }
}

static void bad_addresses(void **state)
{
    static const struct {
        const char *url, *complaint;
    } bad[] = {
        {"redis://h:0", "\"0\" is not a port; 1 to 65535 is allowed"},
        {"redis://h:65536", "\"65536\" is not a port; 1 to 65535 is allowed"},
        {"redis://h:", "\"\" is not a port; 1 to 65535 is allowed"},
        {"redis://h/x", "\"x\" is not a database number; 0 to 65535 is allowed"},
        {"redis://h/1/2", "\"1/2\" is not a database number; 0 to 65535 is allowed"},
        {"redis://h/65536", "\"65536\" is not a database number; 0 to 65535 is allowed"},
        {"redis://", "\"\" is not a host; write redis://HOST:PORT/DB"},
        {"redis://::1/0", "\"::1\" has more than one colon; write an IPv6 address in brackets"},
        {"redis://[::1", "\"[::1\" is not [ADDRESS]:PORT"},
        {"redis://[::1]x", "\"[::1]x\" is not [ADDRESS]:PORT"},
        {"redis://[h]:1", "\"h\" is not an IPv6 address"},
        {"redis://[zz]", "\"zz\" is not an IPv6 address"},
        {"redis://a:b:6379",
         "\"a:b:6379\" has more than one colon; write an IPv6 address in brackets"},
        {"redis://h:abc", "\"abc\" is not a port; 1 to 65535 is allowed"},
        {"redis://h:99999", "\"99999\" is not a port; 1 to 65535 is allowed"},
        {"redis://[fe80::1%eth0]",
         "\"fe80::1%eth0\": a zone is written behind %25, as in [fe80::1%25eth0]"},
        {"redis://[fe80::1%25]",
         "\"fe80::1%25\" has no zone; write the name of an interface behind %25"},
        {"redis://[fe80::1%25e%25f]",
         "\"fe80::1%25e%25f\" has no zone; write the name of an interface behind %25"},
        {"redis://[fe80::1%25e?f]:6380",
         "\"fe80::1%25e?f\" has no zone; write the name of an interface behind %25"},
        {"redis://[h%25eth0]", "\"h\" is not an IPv6 address"},
        {"redis://h%25eth0", "\"h%25eth0\" is not a host; write redis://HOST:PORT/DB"},
        {"redis://user:secret@h",
         "no user or password is allowed in the URL; use username and password_file"},
        {"redis://:secret@h",
         "no user or password is allowed in the URL; use username and password_file"},
        {"http://:secret@h",
         "no user or password is allowed in the URL; use username and password_file"},
        {"rediss://", "\"\" is not a host; write redis://HOST:PORT/DB"},
        {"h:1", "\"h:1\" is not an address; redis://HOST:PORT/DB, rediss://HOST:PORT/DB and "
                "unix:///PATH?db=N are allowed"},
        {"unix://a", "\"unix://a\" has no absolute path; write unix:///PATH?db=N"},
        {"unix:///", "\"unix:///\" has no absolute path; write unix:///PATH?db=N"},
        {"unix:///a?x=1", "\"?x=1\" is not known; ?db=N is allowed"},
        {"unix:///a?db=", "\"\" is not a database number; 0 to 65535 is allowed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128], expected[256];

        snprintf(text, sizeof text, "[pool a]\n\nredis = %s\n", bad[i].url);
        snprintf(expected, sizeof expected, "c:3: [pool a] redis: %s\n", bad[i].complaint);
        assert_refused(text, expected);
        assert_null(strstr(reports, "secret"));
    }
}

static void durations(void **state)
{
    static const struct {
        const char *text, *complaint;
    } bad[] = {
        {"5", "5 has no unit; write ms, s, min or h behind it, as in 5ms"},
        {"5x", "\"x\" is not a unit of time; ms, s, min and h are allowed"},
        {"5 s", "\" s\" is not a unit of time; ms, s, min and h are allowed"},
        {"1.5s", "\".5s\" is not a unit of time; ms, s, min and h are allowed"},
        {"-1s", "\"-1s\" is not a duration; write a whole number and ms, s, min or h, as in 250ms"},
        {"s", "\"s\" is not a duration; write a whole number and ms, s, min or h, as in 250ms"},
        {"0", "0 is out of range; 1ms to 10min is allowed"},
        {"601s", "601s is out of range; 1ms to 10min is allowed"},
        {"99999999999999999h", "99999999999999999h is out of range; 1ms to 10min is allowed"},
        {"99999999999999999999h", "\"99999999999999999999h\" is not a duration; write a whole "
                                  "number and ms, s, min or h, as in 250ms"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128], expected[256];

        snprintf(text, sizeof text, POOL "connect_timeout = %s\n", bad[i].text);
        snprintf(expected, sizeof expected, "c:3: [pool a] connect_timeout: %s\n",
                 bad[i].complaint);
        assert_refused(text, expected);
    }
}

static void bad_lists(void **state)
{
    char *too_long[] = {NULL, NULL};
    struct config config;
    char text[600], expected[256];

    (void)state;
    /* Nobody in the list is not everybody. */
    assert_refused(POOL "allow_uids = ,\nallow_gids = , ,\n",
                   "c:3: [pool a] allow_uids: there is no value\n"
                   "c:4: [pool a] allow_gids: there is no value\n");
    assert_refused(POOL "exclusive_commands = ,\n",
                   "c:3: [pool a] exclusive_commands: there is no value\n");
    assert_refused(POOL "exclusive_commands = FOO b|r\n",
                   "c:3: [pool a] exclusive_commands: \"b|r\" is not a command's name; up to 63 "
                   "letters, digits, '.', '_', '-', ':' and '/' are allowed\n");
    snprintf(text, sizeof text, POOL "exclusive_commands = %.64s\n",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    snprintf(expected, sizeof expected,
             "c:3: [pool a] exclusive_commands: \"%.64s\" is not a command's name; up to 63 "
             "letters, digits, '.', '_', '-', ':' and '/' are allowed\n",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_refused(text, expected);

    /* 88 names of one letter and the blanks between them are 175 characters. */
    strcpy(text, "LENDIS_POOL_A_EXCLUSIVE_COMMANDS=");
    for (int i = 0; i < 88; i++)
        strcat(text, i > 0 ? " a" : "a");
    too_long[0] = text;
    assert_int_equal(load(POOL, too_long, &config), 0);
    assert_string_equal(config.pools[0].exclusive_commands, "A");
    config_free(&config);
    strcat(text, "b");
    assert_int_equal(load(POOL, too_long, &config), -EINVAL);
    assert_string_equal(reports,
                        "LENDIS_POOL_A_EXCLUSIVE_COMMANDS: [pool a] exclusive_commands: the "
                        "names are too long together; 175 characters are allowed\n");
}

static void users_and_groups(void **state)
{
    struct config config;
    char *text;

    (void)state;
    assert_refused(
        POOL "allow_users = root no-such-user other-one\nallow_groups = no-such-group\n",
        "c:3: [pool a] allow_users: there is no user \"no-such-user\" on this host; a "
        "number goes into allow_uids\n"
        "c:3: [pool a] allow_users: there is no user \"other-one\" on this host; a "
        "number goes into allow_uids\n"
        "c:4: [pool a] allow_groups: there is no group \"no-such-group\" on this host; a "
        "number goes into allow_gids\n");
    assert_refused(POOL "allow_users = , ,\nallow_groups = ,\n",
                   "c:3: [pool a] allow_users: there is no value\n"
                   "c:4: [pool a] allow_groups: there is no value\n");
    /* What is printed can be read again. */
    assert_accepted(POOL "allow_users = root,\tdaemon\nallow_groups=daemon\n", &config);
    text = printed(&config);
    assert_non_null(strstr(text, "allow_users = root daemon\n"));
    assert_non_null(strstr(text, "allow_groups = daemon\n"));
    config_free(&config);
    assert_accepted(text, &config);
    assert_int_equal(config.pools[0].allow_users.ids.count, 2);
    config_free(&config);
    free(text);
}

static void lease_limits(void **state)
{
    struct config config;

    (void)state;
    assert_refused(
        POOL "lease_timeout = 99ms\nleak_warn_after = 1ms\n",
        "c:3: [pool a] lease_timeout: 99ms is too short; 0 and 100ms to 24h are allowed\n"
        "c:4: [pool a] leak_warn_after: 1ms is too short; 0 and 100ms to 24h are "
        "allowed\n");
    assert_refused(
        POOL "lease_timeout = 30s\nleak_warn_after = 30s\n",
        "c:4: [pool a] leak_warn_after: leak_warn_after is 30s and lease_timeout is 30s; "
        "it must be shorter\n");
    assert_accepted(POOL "lease_timeout = 0\nleak_warn_after = 30s\n", &config);
    config_free(&config);
    assert_refused(POOL "per_uid_leases = 1025\nper_uid_workers = x\n",
                   "c:3: [pool a] per_uid_leases: 1025 is out of range; 0 to 1024 is allowed\n"
                   "c:4: [pool a] per_uid_workers: \"x\" is not a number; 0 to 16384 is allowed\n");
}

/* What could not stand in a file is refused, so that what is printed is one. */
static void values_that_cannot_be_written(void **state)
{
    static const struct {
        const char *value, *complaint;
    } bad[] = {
        {"", "there is no value"},
        {"a\nsize = 5", "the value contains a control character"},
        {"a\x1b[2J", "the value contains a control character"},
        {" a", "the value begins or ends with a blank"},
        {"a\t", "the value begins or ends with a blank"},
        {";a", "what begins with ; is a comment, and no part of a value"},
        {"a ;b", "what begins with ; is a comment, and no part of a value"},
    };
    char variable[512], expected[256], text[512], many[200];
    char *environment[] = {variable, NULL};
    struct config config;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(variable, sizeof variable, "LENDIS_POOL_A_USERNAME=%s", bad[i].value);
        snprintf(expected, sizeof expected, "LENDIS_POOL_A_USERNAME: [pool a] username: %s\n",
                 bad[i].complaint);
        assert_int_equal(load(POOL, environment, &config), -EINVAL);
        assert_string_equal(reports, expected);
    }
    assert_refused(POOL "username=;a\n", "c:3: [pool a] username: what begins with ; is a comment, "
                                         "and no part of a value\n");
    assert_refused(POOL "username = a\fb\n",
                   "c:3: [pool a] username: the value contains a control character\n");
    memset(many, 'x', sizeof many);
    many[0] = '/';
    snprintf(text, sizeof text, POOL "password_file=%.183s\n", many);
    assert_refused(text, "c:3: [pool a] password_file: 183 characters are too many; 182 are "
                         "allowed\n");
}

static void metrics_stay_on_this_host(void **state)
{
    static const char *const good[] = {"127.0.0.1:9121", "127.1.2.3:1", "[::1]:65535",
                                       "localhost:9121", "unix:///x"};
    static const char *const bad[][2] = {
        {"0.0.0.0:9121", "it is not a loopback address"},
        {"10.0.0.1:9121", "it is not a loopback address"},
        {"[::]:9121", "it is not a loopback address"},
        {"example.org:9121", "it is neither unix:///PATH nor HOST:PORT"},
        {":9121", "it is neither unix:///PATH nor HOST:PORT"},
        {"127.0.0.1", "it has no port"},
        {"127.0.0.1:0", "its port is not a number from 1 to 65535"},
        {"127.0.0.1:65536", "its port is not a number from 1 to 65535"},
        {"127.0.0.1:x", "its port is not a number from 1 to 65535"},
        {"unix://x", "it is not an absolute path"},
    };
    char text[256], expected[256];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct config config;

        snprintf(text, sizeof text, "[broker]\nmetrics = %s\n" POOL, good[i]);
        assert_accepted(text, &config);
        assert_string_equal(config.broker.metrics, good[i]);
        config_free(&config);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config config;

        snprintf(text, sizeof text, "[broker]\nmetrics = %s\n" POOL, bad[i][0]);
        snprintf(expected, sizeof expected, "\"%s\" is not an address to listen at: %s", bad[i][0],
                 bad[i][1]);
        assert_int_equal(load(text, NULL, &config), -EINVAL);
        assert_non_null(strstr(reports, expected));
    }
}

static void every_error_is_reported(void **state)
{
    (void)state;
    assert_refused(
        "size = 3\n"
        "[broker]\n"
        "socket = relative\n"
        "log_level = loud\n"
        "max_workers = 16385\n"
        "max_workers = 5\n"
        "colour = red\n"
        "nonsense\n"
        "[pool a]\n"
        "size = many\n"
        "size = 4\n"
        "allow_uids = 5-3\n"
        "allow_gids = 1 x 3\n"
        "username =\n"
        "password_file = /nonexistent/password\n"
        "[pool a]\n"
        "size = ignored\n"
        "[pool b/c]\n"
        "[pool]\n"
        "[broken\n"
        "[broker]\n"
        "[pool d]\n"
        "redis = redis://h\n"
        "size = 2\n"
        "min_idle = 3\n"
        "username = somebody\n"
        "reset = sometimes\n",
        "c:1: size: stands before any section; write [broker] or [pool NAME] first\n"
        "c:3: [broker] socket: \"relative\" is not an absolute path; write one that begins with /\n"
        "c:4: [broker] log_level: \"loud\" is none of the choices; err, warning, notice, info and "
        "debug are allowed\n"
        "c:5: [broker] max_workers: 16385 is out of range; 1 to 16384 is allowed\n"
        "c:6: [broker] max_workers: is set twice, first in line 5\n"
        "c:7: [broker] colour: is not a key of this section; lendisd --list-keys lists them\n"
        "c:8: \"nonsense\" is neither a [section], a comment nor key = value\n"
        "c:10: [pool a] size: \"many\" is not a number; 1 to 1000 is allowed\n"
        "c:11: [pool a] size: is set twice, first in line 10\n"
        "c:12: [pool a] allow_uids: \"5-3\" is not an id; numbers and ranges such as 1000-1999 are "
        "allowed\n"
        "c:13: [pool a] allow_gids: \"x\" is not an id; numbers and ranges such as 1000-1999 are "
        "allowed\n"
        "c:14: [pool a] username: there is no value\n"
        "c:16: [pool a]: this section is there already, in line 9\n"
        "c:18: [pool b/c]: is not a pool's name; 1 to 63 letters, digits, '-', '_' and '.' are "
        "allowed\n"
        "c:19: [pool]: is not a section; [broker] and [pool NAME] are\n"
        "c:20: \"[broken\" is not a section; write [NAME]\n"
        "c:21: [broker]: this section is there already, in line 2\n"
        "c:27: [pool d] reset: \"sometimes\" is none of the choices; tracked, always and never are "
        "allowed\n"
        "c:9: [pool a] redis: is missing; write redis = redis://HOST:PORT/DB or unix:///PATH?db=N\n"
        "c:15: [pool a] password_file: cannot read /nonexistent/password: No such file or "
        "directory\n"
        "c:25: [pool d] min_idle: min_idle is 3 and size is 2; min_idle may be at most size\n"
        "c:26: [pool d] username: needs password_file or password_command\n");
}

static void conflict_with_a_default(void **state)
{
    (void)state;
    assert_refused(
        POOL "\nmin_idle = 17\n",
        "c:4: [pool a] min_idle: min_idle is 17 and size is 16; min_idle may be at most size\n");
}

/* Each key of a pool's upkeep beyond its range, and those that exclude each other. */
static void bad_upkeep(void **state)
{
    static const struct {
        const char *line, *complaint;
    } bad[] = {
        {"max_idle = 1\nmin_idle = 2",
         "max_idle: max_idle is 1 and min_idle is 2; max_idle must be 0 or at least min_idle"},
        {"lifetime_jitter = 101", "lifetime_jitter: 101 is out of range; 0 to 100 is allowed"},
        {"max_lifetime = 721h", "max_lifetime: 721h is out of range; 0 to 720h is allowed"},
        {"max_idle_time = 5",
         "max_idle_time: 5 has no unit; write ms, s, min or h behind it, as in 5ms"},
        {"reserve_size = 985",
         "reserve_size: reserve_size is 985 and size is 16; together they may be at most 1000"},
        {"reserve_after = 0", "reserve_after: 0 is out of range; 1ms to 1h is allowed"},
        {"check_interval = 25h", "check_interval: 25h is out of range; 0 to 24h is allowed"},
        {"check_timeout = 0", "check_timeout: 0 is out of range; 1ms to 1min is allowed"},
        {"fail_fast_after = -1",
         "fail_fast_after: \"-1\" is not a number; 0 to 1000000 is allowed"},
        {"order = fifo",
         "order: \"fifo\" is none of the choices; last_used and round_robin are allowed"},
        {"check_on_lease = perhaps",
         "check_on_lease: \"perhaps\" is neither yes nor no; yes, 1, true, on and "
         "no, 0, false, off are allowed"},
        {"wait_queue = 32769", "wait_queue: 32769 is out of range; 0 to 32768 is allowed"},
        {"dial_backoff_max = 20ms",
         "dial_backoff_max: is less than dial_backoff_min, which is 50ms; it must be "
         "at least that"},
        {"dial_backoff_min = 9ms", "dial_backoff_min: 9ms is out of range; 10ms to 1h is allowed"},
        {"tcp_keepalive = 10h", "tcp_keepalive: 10h is out of range; 0 to 9h is allowed"},
        {"client_name = my shop",
         "client_name: \"my shop\" has a blank or another character that Redis allows in no "
         "name; the characters from ! to ~ are allowed"},
        {"client_name = caf\xc3\xa9",
         "client_name: \"caf\xc3\xa9\" has a blank or another character that Redis allows "
         "in no name; the characters from ! to ~ are allowed"},
        {"max_uses = 1000000001",
         "max_uses: 1000000001 is out of range; 0 to 1000000000 is allowed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[256], expected[256];

        snprintf(text, sizeof text, POOL "%s\n", bad[i].line);
        snprintf(expected, sizeof expected, "c:3: [pool a] %s\n", bad[i].complaint);
        assert_refused(text, expected);
    }
}

static void services(void **state)
{
    struct config config;

    (void)state;
    assert_accepted("[pool shop]\nprimary = main\nreplicas = r1,\tr2\n"
                    "[pool main]\nredis = redis://h\n"
                    "[pool r1]\nredis = redis://h\nrole = replica\n"
                    "[pool r2]\nredis = redis://h\nrole = replica\n",
                    &config);
    assert_string_equal(config.pools[0].primary, "main");
    assert_string_equal(config.pools[0].replicas, "r1 r2");
    assert_null(config.pools[0].redis.text);
    config_free(&config);
    assert_refused(
        "[pool a]\nredis = redis://h\nreplicas = b\n"
        "[pool b]\nprimary = none\n"
        "[pool c]\nprimary = b\nreplicas = a b none\n"
        "[pool d]\nredis = redis://h\nprimary = a\n"
        "[pool e]\nredis = redis://h\nrole = replica\n"
        "[pool f]\nprimary = e\n"
        "[pool g]\nprimary = a\nreplicas = e e e e e e e e e e e e e e e e\n",
        "c:3: [pool a] replicas: needs primary\n"
        "c:5: [pool b] primary: there is no pool \"none\"\n"
        "c:8: [pool c] replicas: pool a has role = primary; role = replica is needed here\n"
        "c:8: [pool c] replicas: b is a service itself; name a pool\n"
        "c:8: [pool c] replicas: there is no pool \"none\"\n"
        "c:7: [pool c] primary: b is a service itself; name a pool\n"
        "c:10: [pool d] redis: a service has none of its own; leave out redis, or primary\n"
        "c:16: [pool f] primary: pool e has role = replica; role = primary is needed here\n"
        "c:19: [pool g] replicas: 16 pools are too many; 15 are allowed\n");
}

static void tls_rules(void **state)
{
    (void)state;
    assert_refused(
        "[pool a]\nredis = redis://h\ntls_ca_file = /x\ntls_verify = ca\n",
        "c:3: [pool a] tls_ca_file: redis is not encrypted; write redis = rediss://...\n"
        "c:4: [pool a] tls_verify: redis is not encrypted; write redis = rediss://...\n");
    assert_refused("[pool a]\nredis = unix:///s\ntls_mode = relay\n",
                   "c:3: [pool a] tls_mode: a Unix socket has no TLS; leave it out\n");
    assert_refused("[pool a]\nredis = rediss://h\ntls_cert_file = /x\n"
                   "[pool b]\nredis = rediss://h\ntls_key_file = /x\n"
                   "[pool c]\nredis = rediss://h\ntls_min_version = 1.3\ntls_max_version = 1.2\n"
                   "tls_ca_file = cas\n"
                   "[pool d]\nredis = rediss://h\ntls_ca_path = certs\ntls_verify = half\n",
                   "c:15: [pool d] tls_verify: \"half\" is none of the choices; full, ca and none "
                   "are allowed\n"
                   "c:3: [pool a] tls_cert_file: needs tls_key_file\n"
                   "c:6: [pool b] tls_key_file: needs tls_cert_file\n"
                   "c:10: [pool c] tls_max_version: tls_max_version is 1.2 and tls_min_version is "
                   "1.3; it must be at least that\n"
                   "c:11: [pool c] tls_ca_file: \"cas\" is not an absolute path, and there is no "
                   "systemd credential of that name\n"
                   "c:14: [pool d] tls_ca_path: \"certs\" is not an absolute path\n");
}

static void served_addresses(void **state)
{
    static const struct {
        const char *value, *complaint;
    } bad[] = {
        {"127.0.0.1:6379 h:99999", "\"99999\" is not a port; 1 to 65535 is allowed"},
        {",", "there is no value"},
        {"redis://h:1/2",
         "\"redis://h:1/2\" names a database; programs choose it by SELECT, and redis says which "
         "one the pool has"},
        {"rediss://h", "\"rediss://h\": programs that speak TLS themselves cannot be served; write "
                       "the address at which they connect without it"},
        {"::1", "\"::1\" has more than one colon; write an IPv6 address in brackets"},
        {"u:p@h", "no user or password is allowed in the URL; use username and password_file"},
    };
    struct config config;
    char text[256], expected[320];

    (void)state;
    assert_accepted("[pool a]\nredis = redis://h\nserves = none\n"
                    "[pool b]\nredis = redis://h/1\nserves = h h:6380\n"
                    "[pool c]\nredis = redis://h/2\nserves = h h:6380\n"
                    "[pool d]\nredis = redis://h\nserves = none\n"
                    "[pool s]\nprimary = a\nserves = h:7\n",
                    &config);
    assert_string_equal(config.pools[0].serves, "none");
    assert_string_equal(config.pools[2].serves, "h h:6380");
    config_free(&config);
    assert_refused("[pool a]\nredis = redis://h\nserves = h h:6380\n"
                   "[pool b]\nredis = redis://h\nserves = g H:6380\n",
                   "c:6: [pool b] serves: pool a serves H:6380 already, with the same database\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, POOL "serves = %s\n", bad[i].value);
        snprintf(expected, sizeof expected, "c:3: [pool a] serves: %s\n", bad[i].complaint);
        assert_refused(text, expected);
    }
}

static void no_pool(void **state)
{
    (void)state;
    assert_refused(
        "",
        "c:1: there is no pool; write a [pool NAME] section with redis = redis://HOST:PORT/DB\n");
    assert_refused(
        "[broker]\n\n",
        "c:2: there is no pool; write a [pool NAME] section with redis = redis://HOST:PORT/DB\n");
}

static void no_file(void **state)
{
    struct config config;

    (void)state;
    reports[0] = '\0';
    unlink(config_path);
    assert_int_equal(config_load(config_path, NULL, collect, NULL, &config), -EINVAL);
    assert_string_equal(reports, "c: No such file or directory\n");
    reports[0] = '\0';
    assert_int_equal(config_load("/tmp", NULL, collect, NULL, &config), -EINVAL);
    assert_string_equal(reports, "/tmp: Is a directory\n");
}

static void odd_lines(void **state)
{
    char text[1024], line[512];
    struct config config;

    (void)state;
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    snprintf(text, sizeof text, "[pool a]\n%s = 1\nredis = redis://h\nbad = 1\n", line);
    assert_int_equal(load(text, NULL, &config), -EINVAL);
    /* One error for the whole line, and the count of lines is still right after it. */
    assert_int_equal(strncmp(reports, "c:2: the line is too long; ", 27), 0);
    assert_non_null(strstr(reports, "\nc:4: [pool a] bad: is not a key"));

    reports[0] = '\0';
    write_file(config_path, "[pool a]\nredis = redis://h\nsi\0ze = 3\n", 37, 0600);
    assert_int_equal(config_load(config_path, NULL, collect, NULL, &config), -EINVAL);
    assert_string_equal(reports, "c:3: the line contains a zero byte\n");
}

static void too_many_pools(void **state)
{
    struct config config;
    char text[8192];
    size_t at = 0;

    (void)state;
    for (unsigned i = 0; i < CATALOG_MAX_POOLS; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "[pool p%u]\nredis = redis://h/%u\n", i,
                               i);
    assert_accepted(text, &config);
    assert_int_equal(config.pool_count, CATALOG_MAX_POOLS);
    assert_string_equal(config.pools[63].name, "p63");
    config_free(&config);
    snprintf(text + at, sizeof text - at, "[pool more]\nredis = redis://h\n");
    assert_refused(text, "c:129: [pool more]: too many pools; 64 are allowed\n");
}

/* ---- passwords ---- */

static void assert_password(const char *contents, size_t size, const char *expected)
{
    struct config config;
    char text[256];

    write_file(password_path, contents, size, 0600);
    snprintf(text, sizeof text, POOL "username = u\npassword_file = %s\n", password_path);
    assert_accepted(text, &config);
    assert_int_equal(config.pools[0].password_size, strlen(expected));
    assert_memory_equal(config.pools[0].password, expected, strlen(expected));
    config_free(&config);
}

static void passwords(void **state)
{
    (void)state;
    assert_password("secret", 6, "secret");
    assert_password("secret\n", 7, "secret");
    assert_password("secret\r\n", 8, "secret");
    assert_password(" two words \n\n", 13, " two words \n");
}

static void password_is_a_credential(void **state)
{
    char variable[128];
    char *environment[] = {variable, NULL};
    struct config config;

    (void)state;
    write_file(password_path, "secret\n", 7, 0600);
    snprintf(variable, sizeof variable, "CREDENTIALS_DIRECTORY=%s", folder);
    assert_int_equal(load(POOL "password_file = p\n", environment, &config), 0);
    assert_memory_equal(config.pools[0].password, "secret", 6);
    config_free(&config);
    assert_refused(POOL "password_file = p\n",
                   "c:3: [pool a] password_file: \"p\" is not an absolute path, and "
                   "there is no systemd credential of that name\n");
}

static void bad_passwords(void **state)
{
    char text[256], expected[256], *big = calloc(1, 5000);
    struct config config;

    (void)state;
    assert_non_null(big);
    snprintf(text, sizeof text, POOL "password_file = %s\n", password_path);

    write_file(password_path, "\n", 1, 0600);
    snprintf(expected, sizeof expected,
             "c:3: [pool a] password_file: %s is empty; the password is expected there\n",
             password_path);
    assert_refused(text, expected);

    memset(big, 'x', 5000);
    write_file(password_path, big, 5000, 0600);
    free(big);
    snprintf(expected, sizeof expected,
             "c:3: [pool a] password_file: %s is too long for a password; 4096 bytes are allowed\n",
             password_path);
    assert_refused(text, expected);

    write_file(password_path, "secret", 6, 0644);
    snprintf(expected, sizeof expected,
             "warning: c:3: [pool a] password_file: %s can be read by every user; take that right "
             "away (chmod "
             "o-r)\n",
             password_path);
    assert_int_equal(load(text, NULL, &config), 0);
    assert_string_equal(reports, expected);
    config_free(&config);
}

/* A program in place of the file: what is wrong with it, and that it is not run. */
static void password_commands(void **state)
{
    struct config config;

    (void)state;
    assert_refused(
        POOL "password_command = true\n",
        "c:3: [pool a] password_command: \"true\" is not an absolute path; write that of "
        "the program\n");
    assert_refused(POOL "password_command = /bin/true 'x\n",
                   "c:3: [pool a] password_command: a quotation mark is not closed\n");
    assert_refused(
        POOL "password_file = /f\npassword_command = /bin/true\n",
        "c:4: [pool a] password_command: there is a password_file, too; leave out one of "
        "them\n");
    assert_refused(POOL "password_lifetime = 10min\n",
                   "c:3: [pool a] password_lifetime: needs password_file or password_command\n");
    assert_refused(POOL "password_command = /bin/true\npassword_lifetime = 999ms\n",
                   "c:4: [pool a] password_lifetime: 999ms is too short; 0 and 1s to 720h are "
                   "allowed\n");
    assert_int_equal(load(POOL "username = u\npassword_command = /nonexistent/p 'a b'\n"
                               "password_lifetime = 15min\npassword_command_timeout = 3s\n",
                          NULL, &config),
                     0);
    assert_string_equal(reports,
                        "warning: c:4: [pool a] password_command: /nonexistent/p cannot be "
                        "executed: No such file or directory\n");
    assert_string_equal(config.pools[0].password_command, "/nonexistent/p 'a b'");
    assert_int_equal(config.pools[0].password_lifetime_ms, 900000);
    assert_int_equal(config.pools[0].password_command_timeout_ms, 3000);
    assert_null(config.pools[0].password);
    expect_set(&config, &config.pools[0], "password_lifetime", "1h", 0, "");
    expect_set(&config, &config.pools[0], "password_lifetime", "1ms", -EINVAL,
               "c:5: [pool a] password_lifetime: 1ms is too short; 0 and 1s to 720h are "
               "allowed\n");
    config_free(&config);
}

/* ---- the environment ---- */

static void environment_overrides(void **state)
{
    char *environment[] = {"LENDIS_BROKER_MAX_WORKERS=7",
                           "LENDIS_POOL_WEB_1_MAIN_SIZE=20",
                           "LENDIS_POOL_WEB_1_MAIN_REDIS=redis://other:9/1",
                           "LENDIS_SOCKET=/for/clients",
                           "HOME=/",
                           NULL};
    struct config config;

    (void)state;
    assert_int_equal(
        load("[broker]\nmax_workers = 5\n[pool web-1.main]\nredis = redis://h\nsize = 3\n",
             environment, &config),
        0);
    assert_string_equal(reports, "");
    assert_int_equal(config.broker.max_workers, 7);
    assert_int_equal(config.pools[0].size, 20);
    assert_string_equal(config.pools[0].redis.host, "other");
    config_free(&config);
}

static void environment_of_similar_names(void **state)
{
    char *environment[] = {"LENDIS_POOL_A_B_SIZE=20", "LENDIS_POOL_A_SIZE=10", NULL};
    struct config config;

    (void)state;
    assert_int_equal(
        load("[pool a]\nredis = redis://h\n[pool a_b]\nredis = redis://h\n", environment, &config),
        0);
    assert_int_equal(config.pools[0].size, 10);
    assert_int_equal(config.pools[1].size, 20);
    config_free(&config);
    assert_refused(
        "[pool a.b]\nredis = redis://h\n[pool A-B]\nredis = redis://h\n",
        "c:3: [pool A-B]: has the same environment variables as [pool a.b], LENDIS_POOL_A_B_...\n");
}

/* What names no key and no pool is not silently of no effect. */
static void environment_of_no_effect(void **state)
{
    char *environment[] = {"LENDIS_POOL_MIAN_SIZE=20", "LENDIS_BROKR_SOCKET=/s",
                           "LENDIS_SOCKET=/s",         "LENDIS_BUILD=build",
                           "LENDIS_LIBRARY=/l.so",     "LENDIS_PRELOAD_WAIT=1s",
                           "LENDIS_POOL_=1",           NULL};
    struct config config;

    (void)state;
    assert_int_equal(load("[pool main]\nredis = redis://h\n[pool other]\nredis = redis://h\n",
                          environment, &config),
                     0);
    assert_string_equal(
        reports,
        "warning: LENDIS_POOL_MIAN_SIZE: there is no such pool; it is ignored. The nearest is "
        "[pool "
        "main], LENDIS_POOL_MAIN_...\n"
        "warning: LENDIS_BROKR_SOCKET: means nothing to the broker; it is ignored. The nearest is "
        "LENDIS_BROKER_<KEY>\n"
        "warning: LENDIS_POOL_: there is no such pool; it is ignored. The nearest is [pool main], "
        "LENDIS_POOL_MAIN_...\n");
    config_free(&config);
}

/* A name that can be read in two ways is refused, whichever order the pools have. */
static void environment_of_two_meanings(void **state)
{
    static const char *const texts[] = {
        "[pool x]\nredis = redis://h\n[pool x_reserve]\nredis = redis://h\n",
        "[pool x_reserve]\nredis = redis://h\n[pool x]\nredis = redis://h\n",
    };
    static const char *const expected[] = {
        "LENDIS_POOL_X_RESERVE_SIZE: can be read as reserve_size of [pool x] and as size of [pool "
        "x_reserve]; set it in the file, or rename one of the pools\n",
        "LENDIS_POOL_X_RESERVE_SIZE: can be read as size of [pool x_reserve] and as reserve_size "
        "of "
        "[pool x]; set it in the file, or rename one of the pools\n",
    };
    char *environment[] = {"LENDIS_POOL_X_RESERVE_SIZE=3", "LENDIS_POOL_X_SIZE=5", NULL};
    char *clear[] = {"LENDIS_POOL_X_RESERVE_MIN_IDLE=3", NULL};
    struct config config;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(load(texts[i], environment, &config), -EINVAL);
        assert_string_equal(reports, expected[i]);
        assert_int_equal(load(texts[i], clear, &config), 0);
        assert_string_equal(reports, "");
        assert_int_equal(config.pools[1 - i].min_idle, 3);
        config_free(&config);
    }
}

static void environment_errors(void **state)
{
    char *environment[] = {"LENDIS_BROKER_COLOUR=red", "LENDIS_POOL_A_MIN_IDEL=1",
                           "LENDIS_POOL_A_SIZE=0", "LENDIS_POOL_A_MIN_IDLE=17", NULL};
    struct config config;

    (void)state;
    assert_int_equal(load(POOL, environment, &config), -EINVAL);
    assert_string_equal(
        reports, "LENDIS_BROKER_COLOUR: is not a key of [broker]; lendisd --list-keys lists them\n"
                 "LENDIS_POOL_A_MIN_IDEL: is not a key of [pool a]; is min_idle meant?\n"
                 "LENDIS_POOL_A_SIZE: [pool a] size: 0 is out of range; 1 to 1000 is allowed\n"
                 "LENDIS_POOL_A_MIN_IDLE: [pool a] min_idle: min_idle is 17 and size is 16; "
                 "min_idle may be at most size\n");
}

/* ---- printing ---- */

static void print_is_read_again(void **state)
{
    struct config config;
    char text[512], *first, *second;

    (void)state;
    write_file(password_path, "hidden\n", 7, 0600);
    snprintf(text, sizeof text,
             "[broker]\nlog_level = info\ndrain_timeout = 1500ms\n" POOL
             "username = somebody\npassword_file = %s\nallow_uids = 1-3,7\ncommand_timeout = 0\n"
             "exclusive_commands = foo,BAR\n"
             "wait_timeout = 120s\n[pool b]\nredis = unix:///s?db=1\n",
             password_path);
    assert_accepted(text, &config);
    first = printed(&config);
    config_free(&config);
    assert_null(strstr(first, "hidden"));
    assert_non_null(strstr(first, password_path));
    assert_non_null(strstr(first, "drain_timeout = 1500ms\n"));
    assert_non_null(strstr(first, "wait_timeout = 2min\n"));
    assert_non_null(strstr(first, "allow_uids = 1-3 7\n"));
    assert_non_null(strstr(first, "exclusive_commands = BAR FOO\n"));
    assert_accepted(first, &config);
    second = printed(&config);
    config_free(&config);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void keys_are_listed(void **state)
{
    char *text = NULL;
    size_t size = 0, lines = 0;
    FILE *memory = open_memstream(&text, &size);

    (void)state;
    assert_non_null(memory);
    config_list_keys(memory);
    assert_int_equal(fclose(memory), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t tabs = 0;

        for (const char *at = line; *at; at++)
            tabs += *at == '\t';
        assert_int_equal(tabs, 6);
        lines++;
    }
    assert_true(lines >= 17);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_set_one_by_one),
        cmocka_unit_test(defaults),
        cmocka_unit_test(all_keys),
        cmocka_unit_test(addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(durations),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(users_and_groups),
        cmocka_unit_test(lease_limits),
        cmocka_unit_test(values_that_cannot_be_written),
        cmocka_unit_test(metrics_stay_on_this_host),
        cmocka_unit_test(every_error_is_reported),
        cmocka_unit_test(conflict_with_a_default),
        cmocka_unit_test(bad_upkeep),
        cmocka_unit_test(services),
        cmocka_unit_test(served_addresses),
        cmocka_unit_test(tls_rules),
        cmocka_unit_test(no_pool),
        cmocka_unit_test(no_file),
        cmocka_unit_test(odd_lines),
        cmocka_unit_test(too_many_pools),
        cmocka_unit_test(passwords),
        cmocka_unit_test(password_is_a_credential),
        cmocka_unit_test(bad_passwords),
        cmocka_unit_test(password_commands),
        cmocka_unit_test(environment_overrides),
        cmocka_unit_test(environment_of_similar_names),
        cmocka_unit_test(environment_of_no_effect),
        cmocka_unit_test(environment_of_two_meanings),
        cmocka_unit_test(environment_errors),
        cmocka_unit_test(print_is_read_again),
        cmocka_unit_test(keys_are_listed),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
