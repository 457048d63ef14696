/* SPDX-License-Identifier: MIT */
/*
 * What a context is made of: whom to trust, who we are, which versions and ciphers are allowed.
 * Reads the files of the settings, once; says which setting is to blame and what to do.
 */
#ifndef LENDIS_BROKER_TLS_MATERIAL_H
#define LENDIS_BROKER_TLS_MATERIAL_H

#include <openssl/ssl.h>
#include "broker/tls/tls.h"

/* Results: 0, and *made is the caller's, SSL_CTX_free(); -EINVAL, and *problem says what is wrong;
 * -ENOMEM. */
int material_new(const struct tls_settings *settings, SSL_CTX **made, struct tls_problem *problem);

/* When the client's certificate expires, in seconds of CLOCK_REALTIME; 0: there is none. */
int64_t material_expiry(SSL_CTX *made);

#endif
