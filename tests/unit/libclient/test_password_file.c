/* SPDX-License-Identifier: MIT */
/* Passwords in files (shared/password_file.h), as broker and library read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libclient/shared/password_file.h"

static char folder[] = "/tmp/lendis-password-XXXXXX";
static char path[64];

static int start(void **state)
{
    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/p", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    remove(path);
    rmdir(folder);
    return 0;
}

static void write_file(const char *contents, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, contents, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void expect_password(const char *contents, size_t size, const char *expected)
{
    char why[PASSWORD_FILE_WHY_SIZE];
    struct password password;

    write_file(contents, size, 0600);
    assert_int_equal(password_file_read(path, "p", &password, why), 0);
    assert_int_equal(password.size, strlen(expected));
    assert_memory_equal(password.bytes, expected, password.size);
    assert_false(password.world_readable);
    password_wipe(&password);
    assert_int_equal(password.bytes[0], 0);
}

static void expect_refusal(int expected, const char *why_expected)
{
    char why[PASSWORD_FILE_WHY_SIZE];
    struct password password;

    assert_int_equal(password_file_read(path, "p", &password, why), expected);
    assert_string_equal(why, why_expected);
    for (size_t i = 0; i < sizeof password.bytes; i++)
        assert_int_equal(password.bytes[i], 0);
}

static void what_editors_add(void **state)
{
    (void)state;
    expect_password("secret", 6, "secret");
    expect_password("secret\n", 7, "secret");
    expect_password("secret\r\n", 8, "secret");
    expect_password("secret\r", 7, "secret");
    expect_password("\xef\xbb\xbfsecret\r\n", 11, "secret");
    expect_password("se\ncret\n\n", 9, "se\ncret\n");
    expect_password(" secret ", 8, " secret ");
    expect_password("\xc3\xa4\xff", 3, "\xc3\xa4\xff");
}

static void no_password(void **state)
{
    static const char empty[] = "p is empty; the password is expected there";
    static const char binary[] =
        "p has a NUL byte in it; the password is expected there, as plain text";

    (void)state;
    write_file("", 0, 0600);
    expect_refusal(-EINVAL, empty);
    write_file("\n", 1, 0600);
    expect_refusal(-EINVAL, empty);
    write_file("\xef\xbb\xbf\r\n", 5, 0600);
    expect_refusal(-EINVAL, empty);
    write_file("secret\0", 7, 0600);
    expect_refusal(-EINVAL, binary);
    write_file("\xff\xfes\0e\0c\0", 8, 0600);
    expect_refusal(-EINVAL, binary);
}

static void the_longest(void **state)
{
    char *text = calloc(1, PASSWORD_MAX + 8);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', PASSWORD_MAX + 1);
    write_file(text, PASSWORD_MAX + 1, 0600);
    expect_refusal(-EINVAL, "p is too long for a password; 4096 bytes are allowed");
    strcpy(text + PASSWORD_MAX, "\r\n");
    write_file(text, PASSWORD_MAX + 2, 0600);
    text[PASSWORD_MAX] = '\0';
    expect_password(text, PASSWORD_MAX, text);
    free(text);
}

/* Nothing is waited for. */
static void no_file(void **state)
{
    (void)state;
    expect_refusal(-ENOENT, "cannot read p: No such file or directory");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(-EINVAL, "p is a FIFO; a file with the password is expected");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusal(-EINVAL, "p is a directory; a file with the password is expected");
}

static void everybody_can_read_it(void **state)
{
    char why[PASSWORD_FILE_WHY_SIZE];
    struct password password;

    (void)state;
    write_file("secret", 6, 0644);
    assert_int_equal(password_file_read(path, "p", &password, why), 0);
    assert_true(password.world_readable);
    write_file("secret", 6, 0640);
    assert_int_equal(password_file_read(path, "p", &password, why), 0);
    assert_false(password.world_readable);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_editors_add), TEST(no_password),           TEST(the_longest),
        TEST(no_file),          TEST(everybody_can_read_it),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("password_file", tests, NULL, NULL);
}
