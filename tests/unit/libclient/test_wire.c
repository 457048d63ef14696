/* SPDX-License-Identifier: MIT */
/*
 * Messages and descriptors over a SOCK_SEQPACKET socket: what arrives, what is refused, and that no
 * test of them leaves a descriptor behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "lendis/wire.h"

struct fixture {
    int worker, broker; /* the two ends */
    int descriptors;    /* open before */
};

static int setup(void **state)
{
    static struct fixture fixture;
    int ends[2];

    fixture.descriptors = proc_count_descriptors(getpid());
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    fixture.worker = ends[0];
    fixture.broker = ends[1];
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->worker >= 0)
        close(fixture->worker);
    if (fixture->broker >= 0)
        close(fixture->broker);
    return proc_count_descriptors(getpid()) == fixture->descriptors ? 0 : -1;
}

static struct wire_hello hello(const char *pool)
{
    struct wire_hello message = {0};

    wire_header(&message.header, WIRE_HELLO, sizeof message);
    strncpy(message.pool, pool, sizeof message.pool - 1);
    return message;
}

static struct wire_descriptor descriptor(void)
{
    struct wire_descriptor message = {.what = WIRE_CONNECTION, .index = 3, .generation = 9};

    wire_header(&message.header, WIRE_DESCRIPTOR, sizeof message);
    return message;
}

/* Sends `size` bytes with `count` copies of descriptor `fd`, past wire_send(). */
static void send_raw(int socket, const void *bytes, size_t size, int fd, int count)
{
    static union {
        char space[CMSG_SPACE(253 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > 0) {
        struct cmsghdr *rights;

        packet.msg_control = control.space;
        packet.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        rights = CMSG_FIRSTHDR(&packet);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        for (int i = 0; i < count; i++)
            memcpy(CMSG_DATA(rights) + (size_t)i * sizeof(int), &fd, sizeof fd);
    }
    assert_int_equal(sendmsg(socket, &packet, MSG_NOSIGNAL), size);
}

static bool same_file(int a, int b)
{
    struct stat at_a, at_b;

    return fstat(a, &at_a) == 0 && fstat(b, &at_b) == 0 && at_a.st_dev == at_b.st_dev &&
           at_a.st_ino == at_b.st_ino;
}

static void message_arrives(void **state)
{
    struct fixture *fixture = *state;
    struct wire_hello sent = hello("app"), got;
    int fd = 77;

    assert_int_equal(wire_send(fixture->worker, &sent, -1), 0);
    assert_int_equal(wire_receive(fixture->broker, &got, sizeof got, &fd, 0), sizeof got);
    assert_int_equal(fd, -1);
    assert_memory_equal(&got, &sent, sizeof got);
    assert_true(wire_is(&got, sizeof got, WIRE_HELLO, sizeof got));
}

static void descriptor_arrives(void **state)
{
    struct fixture *fixture = *state;
    struct wire_descriptor sent = descriptor(), got;
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = -1;

    assert_int_equal(wire_send(fixture->broker, &sent, file), 0);
    assert_int_equal(wire_receive(fixture->worker, &got, sizeof got, &fd, 1000), sizeof got);
    assert_memory_equal(&got, &sent, sizeof got);
    assert_true(fd >= 0 && fd != file);
    assert_true(same_file(fd, file));
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(file);
}

static void unwanted_descriptors_are_closed(void **state)
{
    struct fixture *fixture = *state;
    struct wire_hello sent = hello("app"), got;
    int before = proc_count_descriptors(getpid());

    send_raw(fixture->worker, &sent, sizeof sent, STDIN_FILENO, 1);
    assert_int_equal(wire_receive(fixture->broker, &got, sizeof got, NULL, 0), sizeof got);
    assert_int_equal(proc_count_descriptors(getpid()), before);
    send_raw(fixture->worker, &sent, sizeof sent, STDIN_FILENO, 253);
    assert_int_equal(wire_receive(fixture->broker, &got, sizeof got, NULL, 0), sizeof got);
    assert_int_equal(proc_count_descriptors(getpid()), before);
}

static void more_than_one_descriptor_is_refused(void **state)
{
    static const int counts[] = {2, 3, 100, 253};
    struct fixture *fixture = *state;
    struct wire_descriptor sent = descriptor(), got;
    int before = proc_count_descriptors(getpid());

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int fd = 77;

        send_raw(fixture->broker, &sent, sizeof sent, STDIN_FILENO, counts[i]);
        assert_int_equal(wire_receive(fixture->worker, &got, sizeof got, &fd, 0), -EBADMSG);
        assert_int_equal(fd, -1);
        assert_int_equal(proc_count_descriptors(getpid()), before);
    }
}

static void oversize_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char sent[WIRE_MAX + 1] = {0}, got[WIRE_MAX];
    int before = proc_count_descriptors(getpid()), fd = 77;

    send_raw(fixture->worker, sent, sizeof sent, STDIN_FILENO, 1);
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, &fd, 0), -EMSGSIZE);
    assert_int_equal(fd, -1);
    assert_int_equal(proc_count_descriptors(getpid()), before);
    send_raw(fixture->worker, sent, sizeof sent, -1, 0);
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, NULL, 0), -EMSGSIZE);
    /* The next message is not damaged by the rest of the one before. */
    {
        struct wire_hello next = hello("app");

        assert_int_equal(wire_send(fixture->worker, &next, -1), 0);
        assert_int_equal(wire_receive(fixture->broker, got, sizeof got, &fd, 0), sizeof next);
    }
}

static void short_message_is_no_message(void **state)
{
    struct fixture *fixture = *state;
    struct wire_hello sent = hello("app");
    char got[WIRE_MAX];

    for (size_t size = 1; size < sizeof sent; size++) {
        send_raw(fixture->worker, &sent, size, -1, 0);
        assert_int_equal(wire_receive(fixture->broker, got, sizeof got, NULL, 0), size);
        assert_false(wire_is(got, size, WIRE_HELLO, sizeof sent));
        assert_false(wire_is(got, size, WIRE_HELLO, size));
    }
}

static void header_is_checked(void **state)
{
    struct wire_hello good = hello("app"), bad;

    (void)state;
    assert_true(wire_is(&good, sizeof good, WIRE_HELLO, sizeof good));
    assert_false(wire_is(&good, sizeof good, WIRE_FETCH, sizeof good));
    assert_false(wire_is(&good, sizeof good, WIRE_HELLO, sizeof good + 1));
    assert_false(wire_is(&good, sizeof good - 1, WIRE_HELLO, sizeof good));
    assert_false(wire_is(&good, 0, WIRE_HELLO, 0));
    bad = good;
    bad.header.magic++;
    assert_false(wire_is(&bad, sizeof bad, WIRE_HELLO, sizeof bad));
    bad = good;
    bad.header.type = WIRE_WELCOME;
    assert_false(wire_is(&bad, sizeof bad, WIRE_HELLO, sizeof bad));
    bad = good;
    bad.header.size--;
    assert_false(wire_is(&bad, sizeof bad, WIRE_HELLO, sizeof bad));
    bad = good;
    bad.header.abi_major++;
    assert_false(wire_is(&bad, sizeof bad, WIRE_HELLO, sizeof bad));
    /* A later minor version only adds. */
    bad = good;
    bad.header.abi_minor++;
    assert_true(wire_is(&bad, sizeof bad, WIRE_HELLO, sizeof bad));
}

static void silence_times_out(void **state)
{
    struct fixture *fixture = *state;
    char got[WIRE_MAX];
    int fd = 77;

    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, &fd, 0), -EAGAIN);
    assert_int_equal(fd, -1);
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, &fd, 10), -ETIMEDOUT);
}

static void hang_up_is_reported(void **state)
{
    struct fixture *fixture = *state;
    struct wire_hello sent = hello("app");
    char got[WIRE_MAX];

    assert_int_equal(wire_send(fixture->worker, &sent, -1), 0);
    close(fixture->worker);
    fixture->worker = -1;
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, NULL, 0), sizeof sent);
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, NULL, 0), 0);
    assert_int_equal(wire_receive(fixture->broker, got, sizeof got, NULL, -1), 0);
}

/* SIGPIPE has its default action here: it would end this program. */
static void peer_that_is_gone_raises_no_signal(void **state)
{
    struct fixture *fixture = *state;
    struct wire_hello sent = hello("app");

    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
    close(fixture->broker);
    fixture->broker = -1;
    assert_int_equal(wire_send(fixture->worker, &sent, -1), -EPIPE);
    assert_int_equal(wire_send(fixture->worker, &sent, STDIN_FILENO), -EPIPE);
}

static void peer_that_never_reads_is_reported(void **state)
{
    struct fixture *fixture = *state;
    struct wire_descriptor sent = descriptor();
    int result = 0;

    for (int i = 0; i < 100000 && result == 0; i++)
        result = wire_send(fixture->broker, &sent, -1);
    assert_int_equal(result, -EAGAIN);
}

static void closed_socket_is_an_error(void **state)
{
    struct wire_hello sent = hello("app");
    char got[WIRE_MAX];

    (void)state;
    assert_int_equal(wire_send(-1, &sent, -1), -EBADF);
    assert_int_equal(wire_receive(-1, got, sizeof got, NULL, 0), -EBADF);
}

static void descriptor_that_is_none_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct wire_descriptor sent = descriptor();
    char got[WIRE_MAX];

    assert_int_equal(wire_send(fixture->broker, &sent, 100000), -EBADF);
    assert_int_equal(wire_receive(fixture->worker, got, sizeof got, NULL, 0), -EAGAIN);
}

/* The soft limit of open files as the kernel sees it: valgrind only pretends to set it. */
static unsigned long kernel_limit(void)
{
    static const char field[] = "Max open files";
    FILE *file = fopen("/proc/self/limits", "re");
    unsigned long limit = 0;
    char line[256];

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, sizeof field - 1) == 0)
            limit = strtoul(line + sizeof field - 1, NULL, 10);
    if (file)
        fclose(file);
    return limit;
}

#define NO_LIMITS 77

/*
 * CVE-2020-12049: at RLIMIT_NOFILE the kernel delivers the message, the descriptors that fit, and
 * MSG_CTRUNC. In a child, whose limit is its own. Exits 0 if all is as it should be, else with a
 * number that says what not; NO_LIMITS: there are no limits here.
 */
_Noreturn static void receive_at_the_limit(const struct fixture *fixture, int room)
{
    int fd = 77, lowest = dup(fixture->worker);
    struct rlimit limit;
    char got[WIRE_MAX];

    close(lowest);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        _exit(1);
    /* One more at first, for the file that says what the limit is. */
    limit.rlim_cur = (rlim_t)(lowest + 1);
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        _exit(1);
    if (kernel_limit() != limit.rlim_cur)
        _exit(NO_LIMITS);
    limit.rlim_cur = (rlim_t)(lowest + room);
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        _exit(1);
    if (wire_receive(fixture->worker, got, sizeof got, &fd, 0) != -EMFILE)
        _exit(2);
    if (fd != -1)
        _exit(3);
    /* Everything is free again: what could be opened before can be opened now. */
    for (int i = 0; i < room; i++)
        if (dup(fixture->worker) < 0)
            _exit(4);
    _exit(0);
}

static void descriptors_beyond_the_limit_do_not_leak(void **state)
{
    struct fixture *fixture = *state;
    struct wire_descriptor sent = descriptor();

    /* One with no room for it; three with room for two. */
    for (int room = 0; room <= 2; room += 2) {
        char got[WIRE_MAX];
        int status;
        pid_t child;

        send_raw(fixture->broker, &sent, sizeof sent, STDIN_FILENO, room + 1);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            receive_at_the_limit(fixture, room);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == NO_LIMITS)
            skip();
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(wire_receive(fixture->worker, got, sizeof got, NULL, 0), -EAGAIN);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(message_arrives),
        TEST(descriptor_arrives),
        TEST(unwanted_descriptors_are_closed),
        TEST(more_than_one_descriptor_is_refused),
        TEST(oversize_is_refused),
        TEST(short_message_is_no_message),
        TEST(header_is_checked),
        TEST(silence_times_out),
        TEST(hang_up_is_reported),
        TEST(peer_that_is_gone_raises_no_signal),
        TEST(peer_that_never_reads_is_reported),
        TEST(closed_socket_is_an_error),
        TEST(descriptor_that_is_none_is_not_sent),
        TEST(descriptors_beyond_the_limit_do_not_leak),
    };

    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
