/* SPDX-License-Identifier: MIT */
/*
 * What a process can ask the broker that is no worker: the catalog, with the addresses that pools
 * serve, and whether a password is a pool's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lendis.h"
#include "lendis/wire.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 5000

static struct fixture fixture;
static char password_path[TESTBED_PATH_SIZE];

static int start(void **state)
{
    FILE *file;

    (void)state;
    redis_start(&fixture.redis);
    scratch_path(password_path, "password");
    file = fopen(password_path, "w");
    if (!file || fputs("sesame\n", file) < 0 || fclose(file) != 0)
        give_up("%s: %s", password_path, strerror(errno));
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\nserves = localhost:6379, [::1]\n"
                  "[pool q]\nredis = redis://127.0.0.1:1\nusername = ali\npassword_file = %s\n"
                  "[pool r]\nredis = redis://127.0.0.1:1/1\npassword_file = %s\nserves = none\n"
                  "[pool closed]\nredis = redis://127.0.0.1:1/2\npassword_file = %s\n"
                  "allow_uids = 4000000000\n",
                  fixture.redis.unix_url, password_path, password_path, password_path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

/* Sends the only message of a connection. */
static int ask(const void *message)
{
    int fd = lendisd_connect(fixture.broker.socket_path);

    assert_true(fd >= 0);
    assert_int_equal(wire_send(fd, message, -1), 0);
    return fd;
}

/* The broker has hung up. */
static void expect_end(int fd)
{
    char rest[WIRE_MAX];

    assert_int_equal(wire_receive(fd, rest, sizeof rest, NULL, LIMIT_MS), 0);
    close(fd);
}

static void catalog_without_hello(void **state)
{
    struct wire_header question;
    struct wire_descriptor answer;
    struct catalog catalog;
    int fd, got = -1;

    (void)state;
    wire_header(&question, WIRE_ADDRESSES, sizeof question);
    fd = ask(&question);
    assert_int_equal(wire_receive(fd, &answer, sizeof answer, &got, LIMIT_MS), sizeof answer);
    assert_int_equal(answer.result, 0);
    assert_int_equal(answer.what, WIRE_CATALOG);
    assert_int_equal(catalog_map(got, &catalog), 0);
    assert_string_equal(catalog.pools[catalog_find_pool(&catalog, "p")].serves,
                        "localhost:6379 [::1]");
    assert_string_equal(catalog.pools[catalog_find_pool(&catalog, "q")].serves, "");
    assert_string_equal(catalog.pools[catalog_find_pool(&catalog, "r")].serves, "none");
    catalog_unmap(&catalog);
    close(got);
    expect_end(fd);
}

/* Nothing else: no pool's segment, no connection. */
static void nothing_else_without_hello(void **state)
{
    static const enum wire_what others[] = {WIRE_CATALOG, WIRE_SEGMENT, WIRE_DOORBELL,
                                            WIRE_CONNECTION, WIRE_POLL_WAKEUP};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct wire_fetch fetch = {.what = others[i]};

        wire_header(&fetch.header, WIRE_FETCH, sizeof fetch);
        expect_end(ask(&fetch));
    }
}

static int login(const char *pool, const char *username, const char *password, uint32_t size)
{
    struct wire_login message = {.size = size};
    struct wire_outcome answer;
    int fd;

    snprintf(message.pool, sizeof message.pool, "%s", pool);
    snprintf(message.username, sizeof message.username, "%s", username);
    snprintf(message.password, sizeof message.password, "%s", password);
    wire_header(&message.header, WIRE_LOGIN, sizeof message);
    fd = ask(&message);
    assert_int_equal(wire_receive(fd, &answer, sizeof answer, NULL, LIMIT_MS), sizeof answer);
    assert_string_equal(answer.text, "");
    expect_end(fd);
    return answer.result;
}

static void logins(void **state)
{
    (void)state;
    assert_int_equal(login("q", "ali", "sesame", 6), 0);
    assert_int_equal(login("r", "default", "sesame", 6), 0);
    assert_int_equal(login("q", "ali", "sesamf", 6), -EACCES);
    assert_int_equal(login("q", "ali", "sesame", 5), -EACCES);
    assert_int_equal(login("q", "ali", "sesame", 7), -EACCES);
    assert_int_equal(login("q", "ali", "", 0), -EACCES);
    assert_int_equal(login("q", "default", "sesame", 6), -EACCES);
    assert_int_equal(login("r", "", "sesame", 6), -EACCES);
    assert_int_equal(login("p", "default", "", 0), -EACCES);
    assert_int_equal(login("none", "default", "sesame", 6), -ESRCH);
    assert_int_equal(login("closed", "default", "sesame", 6), LENDIS_E_DENIED);
    assert_int_equal(login("q", "ali", "sesame", UINT32_MAX), -EINVAL);
}

/* Who may use no pool learns nothing. */
static void addresses_are_for_users(void **state)
{
    struct wire_header question;
    struct wire_descriptor answer;
    int fd, got = -1;

    (void)state;
    lendisd_stop(&fixture.broker);
    lendisd_start(&fixture.broker, "[pool p]\nredis = %s\nallow_uids = 4000000000\n",
                  fixture.redis.unix_url);
    wire_header(&question, WIRE_ADDRESSES, sizeof question);
    fd = ask(&question);
    assert_int_equal(wire_receive(fd, &answer, sizeof answer, &got, LIMIT_MS), sizeof answer);
    assert_int_equal(answer.result, LENDIS_E_DENIED);
    assert_int_equal(got, -1);
    expect_end(fd);
}

static void addresses_change_by_reload(void **state)
{
    struct wire_header question;
    struct wire_descriptor answer;
    struct catalog catalog;
    int fd, got = -1;

    (void)state;
    lendisd_configure(&fixture.broker, "[pool p]\nredis = %s\nserves = /run/other.sock\n",
                      fixture.redis.unix_url);
    wire_header(&question, WIRE_ADDRESSES, sizeof question);
    fd = ask(&question);
    assert_int_equal(wire_receive(fd, &answer, sizeof answer, &got, LIMIT_MS), sizeof answer);
    assert_int_equal(catalog_map(got, &catalog), 0);
    assert_int_equal(kill(fixture.broker.pid, SIGHUP), 0);
    assert_true(eventually(
        strcmp(catalog.pools[catalog_find_pool(&catalog, "p")].serves, "/run/other.sock") == 0,
        LIMIT_MS));
    catalog_unmap(&catalog);
    close(got);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(catalog_without_hello, start, end),
        cmocka_unit_test_setup_teardown(nothing_else_without_hello, start, end),
        cmocka_unit_test_setup_teardown(logins, start, end),
        cmocka_unit_test_setup_teardown(addresses_are_for_users, start, end),
        cmocka_unit_test_setup_teardown(addresses_change_by_reload, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
