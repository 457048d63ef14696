/* SPDX-License-Identifier: MIT */
/*
 * Giving the records of a TLS connection to the kernel, in both directions
 * (Documentation/networking/tls.rst): from then on its socket is read and written as if it were a
 * plain one, by any process. OpenSSL 3.0 can do that for sending alone in TLS 1.3, so the keys are
 * made and installed here (kernel_keys.h), out of what was seen of the handshake (kernel_watch.h).
 *
 * The order, for a client's connection: SSL_set_bio() or SSL_set_fd(); kernel_tls_watch();
 * SSL_connect(); a first request and its reply by SSL_write() and SSL_read(), with which the
 * tickets come that TLS 1.3 sends after its handshake and that a plain reader would fail at;
 * kernel_tls_install(). After that a record of OpenSSL's would have a number that the kernel uses,
 * too: it is shut down quietly, SSL_write() fails and SSL_shutdown() sends nothing. SSL_free() is
 * all that is left to do.
 */
#ifndef LENDIS_BROKER_KERNEL_TLS_H
#define LENDIS_BROKER_KERNEL_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#define KERNEL_TLS_REASON_SIZE 128u

/* Why the kernel did not take a connection. */
struct kernel_tls_refusal {
    char reason[KERNEL_TLS_REASON_SIZE]; /* half a sentence for the log; no secrets in it */
    bool lasting; /* the next connection with this cipher and version would fare the same */
    bool spoiled; /* one direction is the kernel's already: nothing can follow but close(2) */
};

/* Begins to note what the installation needs, until the installation or SSL_free(); it is wiped
 * then. Sets the message callback of `ssl`, the callback of its BIO for writing, and the key log
 * callback of its context. Results: 0; -EINVAL: it has no BIO, or is a server's; -ENOMEM. */
int kernel_tls_watch(SSL *ssl);

/*
 * Results: 0: the kernel has both directions; -errno: `refusal` says why, and unless it is
 * `spoiled`, OpenSSL may go on with the connection. -ENOENT: the kernel has no TLS; -ENOTSUP: not
 * for this version or cipher; -EAGAIN: bytes are on their way through OpenSSL; -EKEYEXPIRED: keys
 * were changed; -ENOTCONN: the peer has closed; -EINVAL: the order above was not kept.
 */
int kernel_tls_install(SSL *ssl, int fd, struct kernel_tls_refusal *refusal);

#endif
