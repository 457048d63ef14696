#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: every public function of the library begins with cancel_off() (libclient/cancel.h), but for those named here, which
# wait for nothing and hold nothing: they read, or free memory.
set -eu
cd "$(dirname "$0")/../.."
without='lendis_free lendis_pool_error lendis_strerror'
awk -v without="$without" '
    BEGIN { count = split(without, names, " "); for (i = 1; i <= count; i++) exempt[names[i]] = 1 }
    /^LENDIS_PUBLIC / {
        match($0, /lendis_[a-z_]+\(/)
        name = substr($0, RSTART, RLENGTH - 1)
        found++
        body = 0
        next
    }
    name && /^\{/ { body = 1; next }
    # The first statement: declarations may stand before it only on the same line.
    name && body {
        if (/cancel_off\(\)/ == (name in exempt)) {
            printf "%s:%d: %s %s\n", FILENAME, FNR, name, \
                (name in exempt) ? "has cancel_off() and is on the list of those without" : "does not begin with cancel_off()"
            bad++
        }
        seen[name] = 1
        name = ""
    }
    END {
        for (name in exempt)
            if (!(name in seen)) { print name " is on the list, and there is no such function"; bad++ }
        if (found < 20) { print "only " found " public functions found"; bad++ }
        exit bad > 0
    }' libclient/*.c libclient/*/*.c >&2
