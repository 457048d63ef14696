/* SPDX-License-Identifier: MIT */
/*
 * Why connections are closed, leases revoked and dials fail: each reason declared once,
 * REASON(name, text). The broker counts by reason in the catalog; tools, metrics and the manual
 * have the names and the texts from here. A reason that is not here cannot be given.
 */
#ifndef LENDIS_REASONS_H
#define LENDIS_REASONS_H

#include <stdint.h>

/* clang-format off */
#define CLOSE_REASONS(REASON) \
    REASON(returned,    "A worker gave it back unclean or broken.") \
    REASON(reset,       "Its reset failed or brought something else than was expected.") \
    REASON(lost,        "Redis or the network closed it.") \
    REASON(redirected,  "One of its holders had connected its socket elsewhere.") \
    REASON(check,       "It did not answer a check.") \
    REASON(revoked,     "It was taken from its holder: see lendis_leases_revoked_total.") \
    REASON(lifetime,    "It was older than max_lifetime.") \
    REASON(login,       "It had logged in with a password whose time ends: password_lifetime.") \
    REASON(idle,        "It was not used for max_idle_time.") \
    REASON(uses,        "It had been leased max_uses times.") \
    REASON(surplus,     "More were open than are allowed or wanted.") \
    REASON(reconnected, "An operator or a changed configuration wants it opened anew.") \
    REASON(outdated,    "Redis refused writes or the login on it, or a lookup of the name no longer gives its address.") \
    REASON(paused,      "An operator paused or drained its pool.") \
    REASON(corrupted,   "A worker wrote over its word.") \
    REASON(orphaned,    "The previous broker left it in a state that cannot be trusted.") \
    REASON(drained,     "Its pool or the broker is coming to its end.")

#define REVOKE_REASONS(REASON) \
    REASON(died,          "Its holder died, or went without giving it back.") \
    REASON(lease_timeout, "It was held longer than lease_timeout.") \
    REASON(user_limit,    "Its holder's user held more than per_uid_leases.") \
    REASON(stalled,       "Its holder was stopped for stall_timeout, with commands of others on it.") \
    REASON(killed,        "An operator said so.") \
    REASON(drained,       "Its pool or the broker came to its end, and it was still out.")

#define DIAL_REASONS(REASON) \
    REASON(lookup,   "The host's name could not be looked up.") \
    REASON(refused,  "Nothing listens there, or it cannot be reached.") \
    REASON(timeout,  "It took longer than connect_timeout.") \
    REASON(closed,   "The server or the network closed the connection meanwhile.") \
    REASON(password, "There was no password to log in with: password_command failed.") \
    REASON(login,    "Redis did not accept user or password, or allows the user too little.") \
    REASON(full,     "Redis has as many clients as it allows.") \
    REASON(loading,  "Redis is there and takes no commands yet: it is loading its data, or a script holds it up.") \
    REASON(tls,      "The TLS handshake failed, or the certificate of the server is not what it is to be.") \
    REASON(protocol, "What came back was another error, or not what Redis says.") \
    REASON(local,    "This host is short of descriptors, ports or memory.")
/* clang-format on */

enum close_reason {
#define REASON_ENUM(name, text) CLOSE_##name,
    CLOSE_REASONS(REASON_ENUM)
#undef REASON_ENUM
        CLOSE_REASON_COUNT
};

enum revoke_reason {
#define REASON_ENUM(name, text) REVOKE_##name,
    REVOKE_REASONS(REASON_ENUM)
#undef REASON_ENUM
        REVOKE_REASON_COUNT
};

enum dial_reason {
#define REASON_ENUM(name, text) DIAL_##name,
    DIAL_REASONS(REASON_ENUM)
#undef REASON_ENUM
        DIAL_REASON_COUNT
};

#endif
