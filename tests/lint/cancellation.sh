#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: every public function of the library begins with cancel_off() (libclient/cancel.h), but for those named
# here:
# - those that wait for nothing and hold nothing: they read, or free memory;
# - those that try the quick way first, while nothing but a cancellation point ends the thread, and leave the rest to a
#   function that begins with cancel_off(). What the quick way calls is listed here: none is a cancellation point, or it
#   is called where cancellation is off.
#
# Usage: tests/lint/cancellation.sh OBJECT: BUILD/obj/libclient/quick_lease.o
set -eu
cd "$(dirname "$0")/../.."
without='lendis_free lendis_pool_error lendis_strerror'
quick='lendis_acquire lendis_release'
harmless='__libc_single_threaded __stack_chk_fail clock_gettime pthread_setcancelstate pthread_setcanceltype
_GLOBAL_OFFSET_TABLE_'
# The last one is of cancel.h itself.
guarded='attachment_ring membership_empty queue_pass_on poll'

nm -u "$1" | while read -r _ symbol; do
    case " $(echo $harmless $guarded) " in
    *" ${symbol%@*} "*) ;;
    *)  echo "$1: calls $symbol: is that a cancellation point (pthreads(7))?" >&2
        exit 1 ;;
    esac
done

awk -v guarded="${guarded% poll}" '
    BEGIN { count = split(guarded, names, " ") }
    /^\{/ { off = 0; next }
    /cancel_off\(\)/ { off = 1 }
    !/^[ \/]\*/ {
        for (i = 1; i <= count; i++)
            if ($0 ~ names[i] "\\(" && !off) { printf "%s:%d: %s(), and cancellation is on\n", FILENAME, FNR, names[i]; bad++ }
    }
    END { exit bad > 0 }' libclient/quick_lease.c >&2

awk -v without="$without" -v quick="$quick" '
    BEGIN {
        count = split(without, names, " "); for (i = 1; i <= count; i++) exempt[names[i]] = 1
        count = split(quick, names, " "); for (i = 1; i <= count; i++) tries[names[i]] = 1
    }
    /^LENDIS_PUBLIC / {
        match($0, /lendis_[a-z_]+\(/)
        name = substr($0, RSTART, RLENGTH - 1)
        found++
        body = 0
        next
    }
    name && /^\{/ { body = 1; next }
    # Nothing is done before the quick way is left, and nothing after it but by a function of the kind below.
    name && body && name in tries {
        seen[name] = 1
        if (/quick_/ && !/cancel_is_deferred\(\)/) { printf "%s:%d: %s: not without cancel_is_deferred()\n", FILENAME, FNR, name; bad++ }
        if (/return .*\(/ && !/return [a-z]+_thoroughly\(/) { printf "%s:%d: %s returns what begins with cancel_off()\n", FILENAME, FNR, name; bad++ }
        if (/^\}/) name = ""
        next
    }
    /_thoroughly\(.*[^;]$/ && /^[a-z]/ { name = "the thorough way"; body = 0; next }
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
        for (name in tries)
            if (!(name in seen)) { print name " is on the list, and there is no such function"; bad++ }
        for (name in exempt)
            if (!(name in seen)) { print name " is on the list, and there is no such function"; bad++ }
        if (found < 20) { print "only " found " public functions found"; bad++ }
        exit bad > 0
    }' libclient/*.c libclient/*/*.c >&2
