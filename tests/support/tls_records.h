/* SPDX-License-Identifier: MIT */
/*
 * One direction of the record layer of TLS 1.2 and 1.3, as the kernel does it when it is given
 * keys (<linux/tls.h>): written after RFC 5246, 5288, 7905 and 8446, and knows nothing of what the
 * broker does to make them.
 */
#ifndef LENDIS_TESTS_TLS_RECORDS_H
#define LENDIS_TESTS_TLS_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include "broker/tls/kernel_keys.h"

#define RECORD_PLAIN_MAX 16384u
#define RECORD_MAX       (RECORD_PLAIN_MAX + 256u)

struct tls_records {
    union kernel_crypto_info keys; /* a copy; the number and the nonce go on */
};

/* Seals `size` bytes of application data as one record; returns its size. */
size_t records_seal(struct tls_records *records, const unsigned char *bytes, size_t size,
                    unsigned char record[RECORD_MAX]);

/* Opens the record in front of the `size` bytes. Results: the bytes that it took; 0: it is not one
 * of these keys with this number. *got bytes of application data are in `bytes`. */
size_t records_open(struct tls_records *records, const unsigned char *record, size_t size,
                    unsigned char bytes[RECORD_MAX], size_t *got);

#endif
