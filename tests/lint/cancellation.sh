#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: every public function of the library begins with cancel_off() (libclient/cancel.h),
# but for those named here:
# - those that wait for nothing and hold nothing: they read, or free memory;
# - those that try the quick way first, while nothing but a cancellation point ends the thread, and
#   leave the rest to a function that begins with cancel_off(). What the quick way calls is listed
#   here: none is a cancellation point, or it is called where cancellation is off.
#
# Usage: tests/lint/cancellation.sh OBJECT: BUILD/obj/libclient/quick_lease.o
set -eu
cd "$(dirname "$0")/../.."
without='lendis_free lendis_pool_error lendis_strerror'
quick='lendis_acquire lendis_release'
harmless='__libc_single_threaded _GLOBAL_OFFSET_TABLE_ __stack_chk_fail clock_gettime
pthread_setcancelstate pthread_setcanceltype'
guarded='attachment_ring membership_empty queue_pass_on'
own='poll' # of cancel.h

nm -u "$1" | while read -r _ symbol; do
    case " $(echo $harmless $guarded $own) " in
    *" ${symbol%@*} "*) ;;
    *)  echo "$1: calls $symbol: is that a cancellation point (pthreads(7))?" >&2
        exit 1 ;;
    esac
done

awk -v guarded="$guarded" '
    function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad++ }
    BEGIN { count = split(guarded, names, " ") }
    /^\{/ { off = 0; next }
    /cancel_off\(\)/ { off = 1 }
    !/^[ \/]\*/ {
        for (i = 1; i <= count; i++)
            if ($0 ~ names[i] "\\(" && !off)
                complain(names[i] "(), and cancellation is on")
    }
    END { exit bad > 0 }' libclient/quick_lease.c >&2

awk -v without="$without" -v quick="$quick" '
    function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad++ }
    function check_seen(list, name) {
        for (name in list)
            if (!(name in seen)) {
                print name " is on the list, and there is no such function"
                bad++
            }
    }
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
    /_thoroughly\(.*[^;]$/ && /^[a-z]/ { name = "the thorough way"; body = 0; next }
    name && /^\{/ { body = 1; next }
    # The quick way, and nothing after it but a function of the kind above.
    name && body && name in tries {
        seen[name] = 1
        if (/quick_/ && !/cancel_is_deferred\(\)/)
            complain(name ": the quick way is not tried without cancel_is_deferred()")
        if (/return .*\(/ && !/return [a-z]+_thoroughly\(/)
            complain(name ": what it leaves the rest to does not begin with cancel_off()")
        if (/^\}/)
            name = ""
        next
    }
    # The first statement: declarations may stand before it only on the same line.
    name && body {
        if (/cancel_off\(\)/ == (name in exempt))
            complain(name (name in exempt ? ": has cancel_off(), and is among those without" : \
                ": does not begin with cancel_off()"))
        seen[name] = 1
        name = ""
    }
    END {
        check_seen(exempt)
        check_seen(tries)
        if (found < 20) { print "only " found " public functions found"; bad++ }
        exit bad > 0
    }' $(find libclient -name '*.c') >&2
