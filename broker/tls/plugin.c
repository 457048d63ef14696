/* SPDX-License-Identifier: MIT */
/* lendisd-tls.so: what tls.h says, put together. The only file with a symbol that is exported. */
#include "broker/tls/connection.h"
#include "broker/tls/context.h"
#include "broker/tls/relay.h"
#include "broker/tls/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

__attribute__((visibility("default"))) const struct tls_functions *lendisd_tls(void);

static int lend_by_kernel(struct tls_connection *connection, int *fd,
                          struct kernel_tls_refusal *refusal)
{
    struct tls_context *context = connection->context;
    int result = kernel_choice_ask(&context->kernel, context->settings.mode, connection->ssl,
                                   connection->socket.fd, refusal);

    if (result != 0)
        return result;
    *fd = connection->socket.fd;
    tls_connection_close(connection);
    return 0;
}

static int lend_by_relay(struct tls_connection *connection, int *fd, char why[TLS_TEXT_SIZE])
{
    int result = relay_start(connection, fd);

    if (result != 0)
        snprintf(why, TLS_TEXT_SIZE, "no relay can be had: %s", strerror(-result));
    return result;
}

static int lend(struct tls_connection *connection, int *fd, char why[TLS_TEXT_SIZE])
{
    const uint32_t mode = connection->context->settings.mode;
    struct kernel_tls_refusal refusal = {.reason = ""};
    int result;

    if (mode == TLS_MODE_RELAY)
        return lend_by_relay(connection, fd, why);
    result = lend_by_kernel(connection, fd, &refusal);
    if (result == 0)
        return 0;
    if (mode == TLS_MODE_AUTO && !refusal.spoiled)
        return lend_by_relay(connection, fd, why);
    snprintf(why, TLS_TEXT_SIZE, TLS_FAULT "the kernel does not take the connection: %s",
             refusal.reason);
    /* It was learned, and the next one gets a relay. */
    return mode == TLS_MODE_AUTO ? -ESTALE : result;
}

static void take_notice(struct tls_context *context, char text[TLS_TEXT_SIZE])
{
    memcpy(text, context->kernel.notice, TLS_TEXT_SIZE);
    context->kernel.notice[0] = '\0';
}

static const struct tls_functions functions = {
    .abi = TLS_ABI,
    .context_new = tls_context_new,
    .context_free = tls_context_free,
    .context_refresh = tls_context_refresh,
    .context_warning = tls_context_warning,
    .context_expiry = tls_context_expiry,
    .context_notice = take_notice,
    .open = tls_connection_open,
    .handshake = tls_connection_handshake,
    .read = tls_connection_read,
    .write = tls_connection_write,
    .error = tls_connection_error,
    .lend = lend,
    .close = tls_connection_close,
    .stop = relay_stop,
};

const struct tls_functions *lendisd_tls(void)
{
    return socket_bio_prepare() ? &functions : NULL;
}
