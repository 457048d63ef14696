/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel is to be asked to take a connection (tls_mode), and what was learned by
 * asking: a kernel without TLS is asked once, and once for each cipher and version. A context keeps
 * this for as long as it lives, so a reload asks anew.
 */
#ifndef LENDIS_BROKER_KERNEL_CHOICE_H
#define LENDIS_BROKER_KERNEL_CHOICE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include "broker/tls/kernel_tls.h"
#include "broker/tls/tls.h"

/* As many ciphers as a server may choose from while one context lives; after that it is as if the
 * kernel had no TLS. */
#define KERNEL_REFUSALS_MAX 8u

struct kernel_choice {
    bool no_kernel; /* it has no TLS at all, or none that is of use */
    uint32_t count;
    struct {
        int version;
        uint32_t cipher;
    } refused[KERNEL_REFUSALS_MAX];
    char notice[TLS_TEXT_SIZE]; /* for the log, once; "": nothing */
};

/* Before the handshake: whether it is to be watched. */
bool kernel_choice_may_ask(const struct kernel_choice *choice, uint32_t mode);

/* Gives the connection to the kernel. Results: as kernel_tls_install(); in `refusal` is why. */
int kernel_choice_ask(struct kernel_choice *choice, uint32_t mode, SSL *ssl, int fd,
                      struct kernel_tls_refusal *refusal);

#endif
