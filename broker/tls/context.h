/* SPDX-License-Identifier: MIT */
/*
 * A pool's context: its settings, what was made of them, and sessions to resume. The material is
 * shared by all connections of the pool, and made anew only when a file has changed. A context
 * lives as long as the last connection that was made from it.
 */
#ifndef LENDIS_BROKER_TLS_CONTEXT_H
#define LENDIS_BROKER_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include "broker/tls/kernel_choice.h"
#include "broker/tls/sessions.h"
#include "broker/tls/stamp.h"
#include "broker/tls/tls.h"

#define CONTEXT_FILES 4

struct tls_context {
    atomic_uint users; /* the pool, and each connection */
    struct tls_settings settings;
    char *texts;      /* what `settings` points into */
    const char *peer; /* what the certificate is to be made out to, without a zone */
    bool numeric;     /* it is an IP address */
    SSL_CTX *material;
    int64_t expiry;
    struct stamp used[CONTEXT_FILES];  /* of the files that `material` is made of */
    struct stamp tried[CONTEXT_FILES]; /* of those that were tried last */
    struct sessions sessions;
    struct kernel_choice kernel;
};

/* tls.h has what these do. */
int tls_context_new(const struct tls_settings *settings, struct tls_context **context,
                    struct tls_problem *problem);
void tls_context_free(struct tls_context *context);
enum tls_news tls_context_refresh(struct tls_context *context, struct tls_problem *problem);
void tls_context_warning(const struct tls_context *context, struct tls_problem *problem);
int64_t tls_context_expiry(const struct tls_context *context);

/* For a connection; tls_context_free() gives it back. */
struct tls_context *tls_context_hold(struct tls_context *context);

#endif
