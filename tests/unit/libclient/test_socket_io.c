/* SPDX-License-Identifier: MIT */
/*
 * Waiting on a socket that behaves as one of kernel TLS, which is played here (ld, --wrap): poll(2)
 * says readable while a record is not whole, and the server's goodbye is an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include "libclient/clock.h"
#include "libclient/connection/socket_io.h"
#include "libclient/loss.h"
#include "libclient/membership/attachment.h"

#define FD       77 /* of no consequence */
#define WHOLE_MS 200

int __wrap_poll(struct pollfd *waited, nfds_t count, int timeout_ms);
ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);

static int64_t whole_ns; /* from then on the record is whole */
static unsigned looks;

int __wrap_poll(struct pollfd *waited, nfds_t count, int timeout_ms)
{
    assert_int_equal(count, 1);
    assert_true(timeout_ms > 0);
    waited->revents = waited->events;
    return 1;
}

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    assert_int_equal(fd, FD);
    assert_true(size > 0);
    assert_int_equal(flags, MSG_DONTWAIT);
    looks++;
    errno = EAGAIN;
    if (clock_now_ns() < whole_ns)
        return -1;
    *(char *)buffer = '+';
    return 1;
}

static void a_record_that_is_not_whole_costs_no_processor(void **state)
{
    int64_t now_ns = clock_now_ns();
    char byte;

    (void)state;
    whole_ns = now_ns + WHOLE_MS * INT64_C(1000000);
    /* So soon that the socket's own limit is too long. */
    assert_int_equal(
        socket_receive(FD, &byte, 1, now_ns + CONNECTION_RECEIVE_MS * INT64_C(1500000), NULL), 1);
    assert_true(looks > 1);
    assert_true(looks <= WHOLE_MS + 1);
}

/* Not a command that another connection is lost to. */
static void goodbye_is_an_orderly_end(void **state)
{
    static struct connection connection;
    static struct attachment attachment = {.segment.connections = &connection};
    const struct lendis_lease lease = {.attachment = &attachment, .fd = -1};

    (void)state;
    assert_int_equal(loss_judge(&lease, EIO, false), loss_judge(&lease, 0, false));
    assert_int_equal(loss_judge(&lease, EIO, false), LOSS_ANSWERING);
    assert_int_equal(loss_judge(&lease, ECONNRESET, false), LOSS_MEANWHILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_is_not_whole_costs_no_processor),
        cmocka_unit_test(goodbye_is_an_orderly_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
