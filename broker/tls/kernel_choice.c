/* SPDX-License-Identifier: MIT */
/* Is the kernel to be asked: see kernel_choice.h. */
#include "broker/tls/kernel_choice.h"

#include <errno.h>
#include <stdio.h>
#include "broker/tls/kernel_watch.h"

bool kernel_choice_may_ask(const struct kernel_choice *choice, uint32_t mode)
{
    return mode == TLS_MODE_KTLS || (mode == TLS_MODE_AUTO && !choice->no_kernel);
}

static bool was_refused(const struct kernel_choice *choice, const SSL *ssl)
{
    const uint32_t cipher = (uint32_t)SSL_CIPHER_get_id(SSL_get_current_cipher(ssl));

    for (uint32_t i = 0; i < choice->count; i++)
        if (choice->refused[i].version == SSL_version(ssl) && choice->refused[i].cipher == cipher)
            return true;
    return false;
}

/* What holds for all connections of its kind is said once. */
static void learn(struct kernel_choice *choice, const SSL *ssl, int result,
                  const struct kernel_tls_refusal *refusal)
{
    if (!(refusal->lasting || refusal->spoiled) || was_refused(choice, ssl))
        return;
    choice->no_kernel |= result == -ENOENT || choice->count == KERNEL_REFUSALS_MAX;
    if (choice->count < KERNEL_REFUSALS_MAX) {
        choice->refused[choice->count].version = SSL_version(ssl);
        choice->refused[choice->count++].cipher =
            (uint32_t)SSL_CIPHER_get_id(SSL_get_current_cipher(ssl));
    }
    snprintf(choice->notice, sizeof choice->notice, "without kernel TLS for %s and %s: %s",
             SSL_get_version(ssl), SSL_get_cipher_name(ssl), refusal->reason);
}

int kernel_choice_ask(struct kernel_choice *choice, uint32_t mode, SSL *ssl, int fd,
                      struct kernel_tls_refusal *refusal)
{
    int result;

    *refusal = (struct kernel_tls_refusal){.reason = "it was refused before"};
    if (!kernel_choice_may_ask(choice, mode) ||
        (mode == TLS_MODE_AUTO && was_refused(choice, ssl))) {
        kernel_watch_end(ssl);
        return -ENOTSUP;
    }
    result = kernel_tls_install(ssl, fd, refusal);
    if (result != 0 && mode == TLS_MODE_AUTO)
        learn(choice, ssl, result, refusal);
    return result;
}
