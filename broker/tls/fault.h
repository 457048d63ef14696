/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL's errors in plain words: what is wrong, and where to look. Reads the thread's queue of
 * errors and empties it.
 */
#ifndef LENDIS_BROKER_TLS_FAULT_H
#define LENDIS_BROKER_TLS_FAULT_H

#include <openssl/ssl.h>
#include "broker/tls/tls.h"

/* The last error as OpenSSL puts it, without its numbers. */
void fault_reason(char text[TLS_TEXT_SIZE]);

/* Why a handshake, a read or a write failed. `error`: errno of the socket, or 0. `established`: the
 * handshake was over. */
void fault_of_connection(int error, bool established, char text[TLS_TEXT_SIZE]);

/* Why a certificate of the server's chain (NULL: none) is not accepted: X509_V_ERR_... */
void fault_of_certificate(const X509 *certificate, int result, char text[TLS_TEXT_SIZE]);

#endif
