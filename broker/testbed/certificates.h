/* SPDX-License-Identifier: MIT */
/*
 * Certificates of the private directory, made when they are needed by the program openssl. They are
 * good for a day.
 */
#ifndef LENDIS_TESTBED_CERTIFICATES_H
#define LENDIS_TESTBED_CERTIFICATES_H

#include "broker/testbed/testbed.h"

struct certificate {
    char file[TESTBED_PATH_SIZE];     /* PEM */
    char key_file[TESTBED_PATH_SIZE]; /* likewise */
};

enum key_kind { KEY_ECDSA, KEY_RSA };

/* A CA of this name. */
void certificate_make_ca(struct certificate *made, const char *name);

/* One that `ca` gives out, for `names` ("DNS:localhost,IP:127.0.0.1"), for so many days; -1: it has
 * expired. */
void certificate_make(struct certificate *made, const struct certificate *ca, enum key_kind kind,
                      const char *names, int days);

/* One that is its own CA, for this host's loopback addresses; made by the first call. */
const struct certificate *certificate_of_testbed(void);

/* How the pools of REDIS_TLS (testbed.h) are to use TLS; NULL: it is not set. */
const char *testbed_tls_mode(void);

#endif
