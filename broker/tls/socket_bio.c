/* SPDX-License-Identifier: MIT */
/* A socket for OpenSSL: see socket_bio.h. BIO_meth_new(3ssl). */
#include "broker/tls/socket_bio.h"

#include <errno.h>
#include <sys/socket.h>

static BIO_METHOD *method;

static int put(BIO *bio, const char *data, int size)
{
    struct socket_bio *at = BIO_get_data(bio);
    ssize_t sent;

    BIO_clear_retry_flags(bio);
    do
        sent = send(at->fd, data, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    at->full = sent < 0 && errno == EAGAIN;
    if (at->full)
        BIO_set_retry_write(bio);
    else if (sent < 0)
        at->error = errno;
    return (int)sent;
}

static int get(BIO *bio, char *data, int size)
{
    struct socket_bio *at = BIO_get_data(bio);
    ssize_t got;

    BIO_clear_retry_flags(bio);
    if (at->limit > 0 && at->received >= at->limit) {
        at->error = EMSGSIZE;
        return -1;
    }
    do
        got = recv(at->fd, data, (size_t)size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    at->drained = got < size;
    if (got > 0)
        at->received += (size_t)got;
    if (got < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    else if (got < 0)
        at->error = errno;
    else if (got == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)got;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

bool socket_bio_prepare(void)
{
    if (method)
        return true;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lendis socket");
    return method && BIO_meth_set_write(method, put) && BIO_meth_set_read(method, get) &&
           BIO_meth_set_ctrl(method, control);
}

BIO *socket_bio_new(struct socket_bio *socket)
{
    BIO *bio = BIO_new(method);

    if (!bio)
        return NULL;
    BIO_set_data(bio, socket);
    BIO_set_init(bio, 1);
    return bio;
}
