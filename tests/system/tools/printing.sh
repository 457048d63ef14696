#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the programs print arrives, or they fail with status 74 and say why: onto a full disk, and
# onto a standard output that is closed. And a broker that is started with 0, 1 and 2 closed has
# nothing of its own there.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/support/fixture.sh
. tests/support/fixture.sh
fixture_begin printing

# fails REASON: the last command ended with 74 and said why, in $work/err.
fails()
{
    [ "$status" -eq 74 ] && grep -q ": cannot print: $1" "$work/err"
}

# cannot_print PROGRAM ARGUMENT...: works, and fails where it cannot print.
cannot_print()
{
    local program=$1
    shift
    timeout 60 "$build/$program" "$@" >"$work/out" 2>"$work/err" && [ -s "$work/out" ]
    ok "$program $*: prints"
    timeout 60 "$build/$program" "$@" >/dev/full 2>"$work/err"
    status=$?
    fails 'No space left on device'
    ok "$program $*: onto a full disk"
    timeout 60 "$build/$program" "$@" >&- 2>"$work/err"
    status=$?
    fails 'Bad file descriptor'
    ok "$program $*: onto nothing"
}

fixture_start_redis
fixture_configure 'min_idle = 4'
"$build/lendisd" --config "$work/lendis.conf" <&- >&- 2>&- &
broker=$!
pids+=("$broker")
until_true 20 lends
ok "a broker without standard files lends"
for fd in 0 1 2; do
    [ "$(readlink "/proc/$broker/fd/$fd")" = /dev/null ]
    ok "its descriptor $fd is nothing's"
done

for option in --help --version --list-keys --list-options; do
    cannot_print lendisd "$option"
done
cannot_print lendisd --config "$work/lendis.conf" --print-config
cannot_print lendisd --config "$work/lendis.conf" --check-config
for option in --help --version --list-metrics --list-counters --list-commands --list-options; do
    cannot_print lendisctl "$option"
done
for what in pools connections workers stats latency leases waiters config; do
    case $what in
    workers | leases | waiters) ;; # a table without lines is no text
    *) cannot_print lendisctl --socket "$work/lendis.sock" show "$what" ;;
    esac
    cannot_print lendisctl --socket "$work/lendis.sock" --json show "$what"
done
cannot_print lendisctl --socket "$work/lendis.sock" metrics
cannot_print lendisctl --socket "$work/lendis.sock" reconnect main
cannot_print lendis-report --help
cannot_print lendis-report --version
cannot_print lendis-run --help
cannot_print lendis-run --version
cannot_print lendis-run --install nothing
cannot_print lendis-run --check "$build/lendisd"
cannot_print lendis-bench --help
cannot_print lendis-bench --version
cannot_print lendis-bench load --help
cannot_print lendis-bench load --mode direct --url "unix://$work/redis.sock" --workers 1 \
    --seconds 0.2 --json

# A reader that is gone ends a tool, and does not hang it.
timeout 10 "$build/lendisctl" --list-metrics | true
[ "${PIPESTATUS[0]}" -ne 124 ]
ok "a reader that is gone"

kill "$broker"
wait "$broker"
ok "the broker without standard files ends well"
plan
