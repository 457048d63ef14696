#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lendisd --supervise under load: the broker below it is killed, crashes, hangs, is replaced, ten
# times over, while 100 workers send commands. None may fail, and Redis must see the same
# connections all the time.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/support/fixture.sh
. tests/support/fixture.sh
fixture_begin supervise

connections()
{
    redis client list | sed -n 's/^id=\([0-9]*\) .* name=lendis-main .*/\1/p' | sort -n
}

broker()
{
    child_of "$parent"
}

another_is_ready()
{
    [ -n "$(broker)" ] && [ "$(broker)" != "$1" ] &&
        [ "$(grep -c 'lends at' "$work/lendisd.log")" -gt "$2" ]
}

# replaced_by COMMAND...: runs it and waits until another broker is ready.
replaced_by()
{
    local before ready
    before=$(broker)
    ready=$(grep -c 'lends at' "$work/lendisd.log")
    "$@"
    until_true 30 another_is_ready "$before" "$ready"
}

signal_broker()
{
    kill -s "$1" "$(broker)"
}

# under_load TEXT COMMAND...
under_load()
{
    local text=$1 before after line status
    shift
    "$build/lendis-bench" load --mode lendis --socket "$work/lendis.sock" --pool main \
        --redis "unix://$work/redis.sock" --workers 100 --think-us 2000 --mix 10 \
        --seconds "$seconds" --ramp 0.3 --json >"$work/load" 2>&1 &
    pids+=($!)
    sleep 1
    before=$(connections)
    "$@"
    status=$?
    sleep 0.3
    after=$(connections)
    wait "${pids[-1]}"
    unset 'pids[-1]'
    line=$(cat "$work/load")
    [ "$status" -eq 0 ] && grep -q '"ops": [1-9].*"errors": 0, "wrong": 0, "hung": 0' <<<"$line"
    ok "$text: no command failed"
    [ "$status" -eq 0 ] || echo "# no other broker came"
    sed -n 's/.*"ops": \([0-9]*\).*"max_us": \([0-9]*\).*/# \1 commands, the longest took \2 us/p' \
        <<<"$line"
    [ -n "$before" ] && [ "$before" = "$after" ]
    ok "$text: the same connections"
    [ "$bad" -eq 0 ] || sed 's/^/# /' "$work/load"
}

ten_times()
{
    for _ in $(seq 10); do
        replaced_by kill -USR2 "$parent" || return 1
    done
}

fixture_start_redis
fixture_configure 'size = 4' 'min_idle = 4'
"$build/lendisd" --supervise --config "$work/lendis.conf" >"$work/lendisd.log" 2>&1 &
parent=$!
pids+=("$parent")
until_true 10 eval '[ "$(connections | wc -l)" -eq 4 ]'
ok "the broker below opens its connections"

seconds=3
under_load "SIGKILL" replaced_by signal_broker KILL
under_load "SIGSEGV" replaced_by signal_broker SEGV
under_load "SIGUSR2" replaced_by kill -USR2 "$parent"
under_load "ten in a row" ten_times
seconds=14
under_load "a broker that hangs" replaced_by signal_broker STOP

kill -TERM "$parent"
wait "$parent"
ok "SIGTERM ends both, with 0"
[ -z "$(connections)" ] && [ ! -e "$work/lendis.sock" ]
ok "nothing is left"
plan
