/* SPDX-License-Identifier: MIT */
/*
 * Loading lendisd-tls.so (tls.h) when the first pool needs it: OpenSSL takes a megabyte and more
 * that a broker without TLS has no use for.
 */
#ifndef LENDIS_BROKER_TLS_LIBRARY_H
#define LENDIS_BROKER_TLS_LIBRARY_H

#include "broker/tls/tls.h"

/* Loads it at the first call, for as long as the process lives; from then on the process is not
 * dumpable (secret.h). NULL: it cannot be loaded, and `why` says so. */
const struct tls_functions *tls_library_load(char why[TLS_TEXT_SIZE]);

/* The library if it was loaded; NULL: it was not. */
const struct tls_functions *tls_library(void);

#endif
