# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What tests of unmodified servers have in common: a Redis, a pool of 8 connections, a load whose
# answers each name what was asked for, and what is done to a server, a broker or a Redis under that
# load. To be sourced by bash; `servers_begin NAME` comes first.
#
# Redis listens at $port, to which the servers connect, and on a Unix socket, where the pool is: its
# connections are told from those that servers have of their own by their name.
#
# Environment: LENDIS_BUILD, the folder of the programs (build); LONG, how many times as many
# answers are awaited each time (1); DIRECT=1, the servers run without lendis, for comparison.

# shellcheck source=tests/support/fixture.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../support/fixture.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH # Debian's own
python=/usr/bin/python3 # Debian's, which has its packages
size=8
long=${LONG:-1}
run=("$build/lendis-run")
load=()    # the command of the load, to which the three places of load.py are added
held=0     # connections of the pool that the server's processes keep by design, when idle
private=0  # connections of their own that they have by design

# need PACKAGE PROGRAM: skips the test if that is missing.
need()
{
    command -v "$2" >/dev/null || [ -e "$2" ] || skip "$1 is not installed ($2)"
}

servers_begin()
{
    need redis-server redis-server
    fixture_begin "$1"
    chmod 755 "$work" # for workers that run as somebody else
    port=$((20000 + RANDOM % 10000))
    web=$((port + 1))
    export LENDIS_SOCKET=$work/lendis.sock REDIS_PORT=$port
    redis_options=(--bind 127.0.0.1 --port $port --unixsocket "$work/redis.sock" --save ''
        --dir "$work")
    redis_start
    fixture_configure "size = $size" \
        "serves = 127.0.0.1:$port localhost:$port $work/redis.sock"
    [ -z "${DIRECT:-}" ] || run=(env)
    broker_start
    ok "a broker and a Redis"
}

redis_start()
{
    redis-server "${redis_options[@]}" >>"$work/redis.log" 2>&1 &
    redis_pid=$!
    pids+=("$redis_pid")
    until_true 10 redis ping
}

redis_restart()
{
    kill -KILL "$redis_pid"
    wait "$redis_pid" 2>/dev/null
    redis_start
}

# As under systemd: one that is killed is replaced by another one. Workers may run as another user
# than the broker.
broker_start()
{
    "$build/lendisd" --supervise --config "$work/lendis.conf" >>"$work/broker.log" 2>&1 &
    broker=$!
    pids+=("$broker")
    until_true 10 chmod 666 "$LENDIS_SOCKET" && until_true 20 lends
}

broker_stop()
{
    kill "$broker"
    wait "$broker" 2>/dev/null
    true
}

broker_kill()
{
    local pid

    pid=$(child_of "$broker")
    kill -KILL "$pid"
    until_true 10 eval '[ "$(child_of "$broker")" != '"$pid"' ]' && until_true 20 lends
}

# No broker: servers have connections of their own meanwhile.
broker_away()
{
    broker_stop && more_answers 50 && broker_start
}

# server_start COMMAND...: in the background, in a session of its own; sets `server`. At the end its
# whole group is killed: workers of php-fpm outlive a master that is killed.
server_start()
{
    setsid "${run[@]}" "$@" >>"$work/server.log" 2>&1 &
    server=$!
    pids+=("-$server")
}

# ---- the load ----

# Right answers so far.
answers()
{
    stat -c %s "$work/progress" 2>/dev/null || echo 0
}

# more_answers COUNT: that many more come before long.
more_answers()
{
    local wanted=$(($(answers) + $1))

    until_true 40 eval "[ \"\$(answers)\" -ge $wanted ]"
}

# answers_rightly COUNT: a server that has just started, or has recovered: all of so many requests.
answers_rightly()
{
    rm -f "$work/stop"
    "${load[@]}" "$1" "$work/progress" "$work/stop" >"$work/load.out" 2>>"$work/load.log" &&
        grep -qx "right $1 wrong 0 failed 0" "$work/load.out"
}

# under_load ANSWERS FAILURES TEXT [COMMAND...]: a load, so many answers, the command, so many
# answers again. FAILURES: `none`, or `some`, where requests may fail as they do without lendis.
# No answer may be wrong, and nothing may be held when it is over.
under_load()
{
    local count=$(($1 * long)) failures=$2 text=$3 pid status=0

    shift 3
    rm -f "$work/stop"
    : >"$work/progress"
    "${load[@]}" 0 "$work/progress" "$work/stop" >"$work/load.out" 2>"$work/load.log" &
    pid=$!
    pids+=("$pid")
    more_answers "$count" && { [ $# -eq 0 ] || "$@"; } && more_answers "$count" || { status=1; }
    touch "$work/stop"
    wait "$pid"
    echo "# $text: $(cat "$work/load.out")"
    [ "$status" -eq 0 ] && grep -q ' wrong 0 ' "$work/load.out" &&
        { [ "$failures" = some ] || grep -q ' failed 0$' "$work/load.out"; }
    ok "$text"
    [ -n "${own_meanwhile:-}" ] || at_rest "$text"
}

# at_rest TEXT
at_rest()
{
    until_true 20 rests || { rests_why && false; }
    ok "$1: at rest $held held, $size connections at most, and $private of their own"
}

# ---- what is to be seen at Redis and at the broker ----

# Nothing is leased beyond design; Redis has the pool's connections at most, and the private ones.
rests()
{
    local leased own

    [ -z "${DIRECT:-}" ] || return 0
    "$build/lendisctl" --socket "$LENDIS_SOCKET" metrics >"$work/metrics" &&
        redis client list >"$work/clients" || return 1
    leased=$(sed -n 's/^lendis_connections{.*state="leased".*} //p' "$work/metrics")
    own=$(grep -v ' name=lendis-main ' "$work/clients" | grep -vc ' cmd=client')
    [ "$leased" -le "$held" ] && [ "$own" -le "$private" ] &&
        [ "$(grep -c ' name=lendis-main ' "$work/clients")" -le "$size" ]
}

# What is not as it should be.
rests_why()
{
    grep -E '^lendis_connections\{' "$work/metrics" | sed 's/^/# /'
    grep -v ' cmd=client' "$work/clients" | cut -c 1-150 | sed 's/^/# /'
}

# Requests that went by the pool since the broker started.
requests()
{
    "$build/lendisctl" --socket "$LENDIS_SOCKET" metrics | awk '
        /^lendis_(leases|commands)_total/ { sum += $2 }
        END { print sum + 0 }'
}

# ---- what is done to a server ----

# The processes whose parent is $1.
children_of()
{
    cat "/proc/$1/task/$1/children" 2>/dev/null
}

# kill_workers MASTER COUNT: one after the other, with answers in between.
kill_workers()
{
    local i victim victims

    for ((i = 0; i < $2; i++)); do
        read -r -a victims < <(children_of "$1"; echo)
        [ "${#victims[@]}" -gt 0 ] || return 1
        victim=${victims[RANDOM % ${#victims[@]}]}
        kill -KILL "$victim" 2>/dev/null
        more_answers 10 || return 1
    done
}

# What every server goes through. server_reload is the test's own; $server is the master.
server_trials()
{
    local count=$1

    under_load "$count" none "$name: $workers workers on $size connections"
    [ -n "${DIRECT:-}" ] || [ "$(requests)" -ge "$count" ]
    ok "$name: by the pool"
    under_load "$count" some "$name: workers are killed" kill_workers "$server" 3
    under_load "$count" "${reload_failures:-none}" "$name: reloaded gracefully" server_reload
    # While there is no broker, or only the pool has not noticed yet that Redis is back, connections
    # become real ones for the rest of their lives: the next reload ends them.
    own_meanwhile=1 under_load "$count" none "$name: the broker is killed" broker_kill
    own_meanwhile=1 under_load "$count" some "$name: Redis restarts" redis_restart
    own_meanwhile=1 under_load "$count" none "$name: there is no broker for a while" broker_away
    server_reload
    until_true 20 answers_rightly "$count"
    ok "$name goes on"
    at_rest "$name, reloaded"
}
