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
build=${LENDIS_BUILD:-build}
work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-supervise.XXXXXX") || exit 1
cases=0 bad=0
pids=()

# shellcheck disable=SC2317 # by the trap
end()
{
    [ "${#pids[@]}" -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

ok()
{
    local status=$?

    cases=$((cases + 1))
    [ "$status" -eq 0 ] || { bad=$((bad + 1)) && printf 'not '; }
    echo "ok $cases - $1"
}

until_true()
{
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

redis()
{
    redis-cli -s "$work/redis.sock" "$@"
}

connections()
{
    redis client list | sed -n 's/^id=\([0-9]*\) .* name=lendis-main .*/\1/p' | sort -n
}

broker()
{
    local child
    child=$(cat "/proc/$parent/task/$parent/children")
    echo "${child% }"
}

another_is_ready()
{
    [ -n "$(broker)" ] && [ "$(broker)" != "$1" ] && [ "$(grep -c 'lends at' "$work/log")" -gt "$2" ]
}

# replaced_by COMMAND...: runs it and waits until another broker is ready.
replaced_by()
{
    local before ready
    before=$(broker)
    ready=$(grep -c 'lends at' "$work/log")
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
    "$build/lendis-bench" load --mode lendis --socket "$work/lendis.sock" --pool main --redis "unix://$work/redis.sock" \
        --workers 100 --think-us 2000 --mix 10 --seconds "$seconds" --ramp 0.3 --json >"$work/load" 2>&1 &
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
    echo "#   $(sed -n 's/.*"ops": \([0-9]*\).*"max_us": \([0-9]*\).*/\1 commands, the longest took \2 us/p' <<<"$line")"
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

redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --dir "$work" >"$work/redis.log" 2>&1 &
pids+=($!)
until_true 10 redis ping
printf '[broker]\nsocket = %s/lendis.sock\n[pool main]\nredis = unix://%s/redis.sock\nsize = 4\nmin_idle = 4\n' \
    "$work" "$work" >"$work/lendis.conf"
"$build/lendisd" --supervise --config "$work/lendis.conf" >"$work/log" 2>&1 &
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
[ "$bad" -eq 0 ] || tail -n 30 "$work/log" | sed 's/^/# /'
echo "1..$cases"
[ "$bad" -eq 0 ]
