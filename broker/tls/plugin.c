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

/* Where kernel TLS is to be tried first, kernel.h's functions have their place here. */
static int lend(struct tls_connection *connection, int *fd, char why[TLS_TEXT_SIZE])
{
    int result;

    if (connection->context->settings.mode == TLS_MODE_KTLS) {
        snprintf(why, TLS_TEXT_SIZE, "TLS: this lendisd has no kernel TLS; see tls_mode");
        return -EOPNOTSUPP;
    }
    result = relay_start(connection, fd);
    if (result != 0)
        snprintf(why, TLS_TEXT_SIZE, "no relay can be had: %s", strerror(-result));
    return result;
}

static const struct tls_functions functions = {
    .abi = TLS_ABI,
    .context_new = tls_context_new,
    .context_free = tls_context_free,
    .context_refresh = tls_context_refresh,
    .context_warning = tls_context_warning,
    .context_expiry = tls_context_expiry,
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
