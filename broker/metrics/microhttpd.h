/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd, loaded when it is needed: it brings GnuTLS and eight more libraries, whose
 * initialisation takes 2 MiB of private memory that a broker without a metrics listener has no use
 * for.
 */
#ifndef LENDIS_BROKER_MICROHTTPD_H
#define LENDIS_BROKER_MICROHTTPD_H

#include <microhttpd.h>

/* X(function), without its prefix MHD_. */
#define MICROHTTPD_FUNCTIONS(X)                                                                    \
    X(start_daemon)                                                                                \
    X(add_connection)                                                                              \
    X(stop_daemon)                                                                                 \
    X(run)                                                                                         \
    X(get_timeout)                                                                                 \
    X(get_daemon_info)                                                                             \
    X(get_connection_info)                                                                         \
    X(lookup_connection_value)                                                                     \
    X(create_response_from_buffer)                                                                 \
    X(add_response_header)                                                                         \
    X(queue_response)                                                                              \
    X(destroy_response)

#define MICROHTTPD_MEMBER(name)                                                                    \
    __typeof__(&MHD_##name) name; /* NOLINT(bugprone-macro-parentheses) */
struct microhttpd {
    MICROHTTPD_FUNCTIONS(MICROHTTPD_MEMBER)
};
#undef MICROHTTPD_MEMBER

/* Loads it at the first call, for as long as the process lives. NULL: it is not there, which was
 * logged. To be called from the broker's only thread. */
const struct microhttpd *microhttpd_load(void);

#endif
