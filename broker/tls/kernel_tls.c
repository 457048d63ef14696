/* SPDX-License-Identifier: MIT */
/* The installation of keys in the kernel: see kernel_tls.h. */
#include "broker/tls/kernel_tls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "broker/tls/kernel_keys.h"
#include "broker/tls/kernel_watch.h"

#ifndef SOL_TLS
#define SOL_TLS 282 /* <linux/socket.h> */
#endif

/* A kernel that has no TLS says ENOENT, unless it may load the module for this process. */
static int attach(int fd, struct kernel_tls_refusal *refusal)
{
    char reason[KERNEL_TLS_REASON_SIZE];
    int error;

    if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls" - 1) == 0)
        return 0;
    error = errno;
    if (error == ENOENT)
        return kernel_tls_refuse(refusal, error, "the kernel's module tls is not loaded");
    if (error == ENOTCONN)
        return kernel_tls_refuse(refusal, error, "the connection is closed");
    snprintf(reason, sizeof reason, "TCP_ULP: %s", strerror(error));
    kernel_tls_refuse(refusal, error, reason);
    refusal->lasting = error == ENOPROTOOPT || error == EOPNOTSUPP;
    return -error;
}

/* A kernel that does not know a cipher says EINVAL, one that lacks its module ENOENT. */
static int give(int fd, int direction, const union kernel_crypto_info *keys, socklen_t size,
                struct kernel_tls_refusal *refusal)
{
    char reason[KERNEL_TLS_REASON_SIZE];
    int error;

    if (setsockopt(fd, SOL_TLS, direction, keys, size) == 0)
        return 0;
    error = errno;
    snprintf(reason, sizeof reason, "the kernel takes no keys for %s: %s",
             direction == TLS_TX ? "sending" : "receiving", strerror(error));
    kernel_tls_refuse(refusal, error, reason);
    refusal->lasting =
        error == EINVAL || error == ENOENT || error == ENOTSUP || error == ENOPROTOOPT;
    refusal->spoiled = direction == TLS_RX;
    return error == ENOENT ? -ENOTSUP : -error;
}

/* OpenSSL writes nothing any more, whatever it is asked for: the next number is the kernel's. (The
 * session stays fit to be resumed, which one that was not shut down does not.) */
static void silence(SSL *ssl)
{
    SSL_set_quiet_shutdown(ssl, 1);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

int kernel_tls_install(SSL *ssl, int fd, struct kernel_tls_refusal *refusal)
{
    struct kernel_keys keys;
    int result = kernel_keys_make(ssl, &keys, refusal);

    kernel_watch_end(ssl);
    if (result != 0)
        return result;
    result = attach(fd, refusal);
    if (result == 0)
        result = give(fd, TLS_TX, &keys.sending, keys.size, refusal);
    if (result == 0)
        result = give(fd, TLS_RX, &keys.receiving, keys.size, refusal);
    OPENSSL_cleanse(&keys, sizeof keys);
    if (result == 0 || refusal->spoiled)
        silence(ssl);
    return result;
}
