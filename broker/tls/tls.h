/* SPDX-License-Identifier: MIT */
/*
 * TLS for the broker: what lendisd-tls.so offers, a library of its own that is linked with OpenSSL
 * and loaded (library.h) when the first pool needs it. Nothing else of lendis knows OpenSSL.
 *
 * A context is a pool's: certificates, keys, rules and sessions to resume. A connection is made on
 * a socket that is connected, goes through the handshake and through what the broker itself says on
 * it (the login), all without ever waiting, and is then lent: turned into a descriptor on which a
 * worker speaks as on a plain connection, by the kernel (kernel TLS) or by a relay.
 *
 * Contexts and connections are used by the thread of the broker's loop alone.
 */
#ifndef LENDIS_BROKER_TLS_H
#define LENDIS_BROKER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes with everything below: a library of another build is not used. */
#define TLS_ABI 1u
/* The library's only symbol: const struct tls_functions *lendisd_tls(void). */
#define TLS_SYMBOL "lendisd_tls"

#define TLS_TEXT_SIZE 256u
/* What an error begins with that is the peer's or the configuration's, not the network's. */
#define TLS_FAULT "TLS: "

enum tls_verify {
    TLS_VERIFY_FULL, /* a trusted certificate that is made out to this host */
    TLS_VERIFY_CA,   /* a trusted certificate */
    TLS_VERIFY_NONE, /* any */
};

enum tls_mode {
    TLS_MODE_AUTO,  /* kernel TLS where it can be had, else the relay */
    TLS_MODE_KTLS,  /* kernel TLS, or no connection */
    TLS_MODE_RELAY, /* always the relay */
};

enum tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3 };

/* Which setting a problem is about; the configuration has a key for each. */
enum tls_setting {
    TLS_SETTING_NONE,
    TLS_SETTING_CA_FILE,
    TLS_SETTING_CA_PATH,
    TLS_SETTING_CERT_FILE,
    TLS_SETTING_KEY_FILE,
    TLS_SETTING_SERVER_NAME,
    TLS_SETTING_CIPHERS,
    TLS_SETTING_CIPHERSUITES,
};

/* Texts are borrowed for the time of the call. NULL: not set. */
struct tls_settings {
    const char *host;        /* of the address: a name, or a numeric one */
    const char *server_name; /* what the certificate is to be made out to instead */
    const char *ca_file;     /* with neither of the two: the system's */
    const char *ca_path;
    const char *cert_file; /* of the client, with key_file */
    const char *key_file;
    const char *ciphers;      /* of TLS 1.2, as ciphers(1ssl) */
    const char *ciphersuites; /* of TLS 1.3 */
    uint32_t verify;          /* enum tls_verify */
    uint32_t mode;            /* enum tls_mode */
    uint32_t min_version;     /* enum tls_version */
    uint32_t max_version;
};

/* What is wrong, as a sentence; "": nothing. */
struct tls_problem {
    enum tls_setting setting;
    char text[TLS_TEXT_SIZE];
};

enum tls_news {
    TLS_NEWS_NONE,
    TLS_NEWS_RENEWED, /* files have changed: new connections use them */
    TLS_NEWS_BROKEN,  /* files have changed and cannot be used: those from before stay in use */
};

enum tls_result {
    TLS_DONE,
    TLS_WAIT_READ,  /* again when the socket is readable, */
    TLS_WAIT_WRITE, /* or writable */
    TLS_ENDED,      /* the peer has closed the connection */
    TLS_FAILED,     /* see error() */
};

struct tls_context;
struct tls_connection;

struct tls_functions {
    uint32_t abi;

    /* Reads certificates and keys. Results: 0, and *context is the caller's until context_free();
     * -EINVAL, and *problem says what is wrong; -ENOMEM. */
    int (*context_new)(const struct tls_settings *settings, struct tls_context **context,
                       struct tls_problem *problem);
    /* Connections that were lent stay as they are. NULL is allowed. */
    void (*context_free)(struct tls_context *context);
    /* Before each dial: whether the files are others by now. What is there for TLS_NEWS_BROKEN is
     * reported once for each change. */
    enum tls_news (*context_refresh)(struct tls_context *context, struct tls_problem *problem);
    /* Something to be warned of: a key that others can read, a certificate that has expired. "":
     * nothing. */
    void (*context_warning)(const struct tls_context *context, struct tls_problem *problem);
    /* When the client's certificate expires, in seconds of CLOCK_REALTIME; 0: there is none. */
    int64_t (*context_expiry)(const struct tls_context *context);
    /* After lend(): what was learned of the kernel and is to be said once; "": nothing. */
    void (*context_notice)(struct tls_context *context, char text[TLS_TEXT_SIZE]);

    /* On `fd`, connected and non-blocking, which stays the caller's until lend(). Results: 0, and
     * *connection is the caller's until lend() or close(); -ENOMEM. */
    int (*open)(struct tls_context *context, int fd, struct tls_connection **connection);
    /* TLS_DONE: the peer is whom it is to be, as far as `verify` says. Nothing may be written
     * before. */
    enum tls_result (*handshake)(struct tls_connection *connection);
    /* TLS_DONE: *done bytes, at least 1, were read or written. */
    enum tls_result (*read)(struct tls_connection *connection, void *data, size_t size,
                            size_t *done);
    enum tls_result (*write)(struct tls_connection *connection, const void *data, size_t size,
                             size_t *done);
    /* Why it failed. */
    const char *(*error)(const struct tls_connection *connection);
    /* Turns it into *fd, a plain stream for its holder, which is the caller's: the descriptor that
     * it was made on, which the kernel decrypts, or another one. `connection` is gone. Results: 0;
     * -errno, and `why`; -ESTALE: for a reason that the next connection does not meet. */
    int (*lend)(struct tls_connection *connection, int *fd, char why[TLS_TEXT_SIZE]);
    /* Frees it; the descriptor stays the caller's. NULL is allowed. */
    void (*close)(struct tls_connection *connection);

    /* Ends all connections that a relay carries: the broker ends. */
    void (*stop)(void);
};

#endif
