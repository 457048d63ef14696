#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Shows what lendis does: the same prefork HTTP server, first with a Redis connection in each of its
# workers, then with connections borrowed from lendisd, under the same load, side by side. `make
# demo` runs it.
#
# Everything is private: a redis-server, a lendisd and the servers of this run, on loopback and in a
# temporary directory. They are ended by their process ids and the directory is removed, also on
# Ctrl-C. They all stay in one session: with setsid(1) each would get a share of the processors of
# its own (autogroups, sched(7)), and the two measurements would differ by that.
#
# Environment: WORKERS (200), SIZE (8, the pool's connections), CLIENTS (200, HTTP connections),
# SECONDS_EACH (5), LENDIS_BUILD (build), TMPDIR.
# shellcheck disable=SC2317 # functions that trap and await() call
set -eu

workers=${WORKERS:-200}
size=${SIZE:-8}
clients=${CLIENTS:-$workers}
seconds=${SECONDS_EACH:-5}
build=${LENDIS_BUILD:-build}
warmup=1

directory=''
redis_pid='' lendisd_pid='' server_pid='' load_pid=''

# Ends a process of ours and waits for it: end PID
end() {
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP # once is enough
    end "$load_pid"
    end "$server_pid"
    end "$lendisd_pid"
    end "$redis_pid"
    [ -z "$directory" ] || rm -rf "$directory"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Says why and shows the end of a log: fail MESSAGE [LOG]
fail() {
    echo "demo: $1" >&2
    [ -z "${2:-}" ] || tail -n 20 "$2" >&2
    exit 1
}

# Waits until a command succeeds, for 20 s, while a process lives: await WHAT PID LOG COMMAND...
await() {
    what=$1 pid=$2 log=$3
    shift 3
    tries=0
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || fail "$what ended" "$log"
        tries=$((tries + 1))
        [ "$tries" -le 400 ] || fail "$what is not ready after 20 s" "$log"
        sleep 0.05
    done
}

cli() {
    redis-cli -s "$directory/redis.sock" "$@"
}

redis_answers() {
    [ "$(cli PING)" = PONG ]
}

# A number from INFO: info SECTION FIELD
info() {
    cli INFO "$1" | sed -n "s/^$2:\([0-9]*\).*/\1/p"
}

# A free port cannot be had without a race, so try until one is ours.
start_redis() {
    tries=0
    while :; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        redis-server --bind 127.0.0.1 --port "$port" --unixsocket "$directory/redis.sock" \
            --save "" --appendonly no --daemonize no --dir "$directory" \
            >"$directory/redis.log" 2>&1 &
        redis_pid=$!
        while kill -0 "$redis_pid" 2>/dev/null; do
            if redis_answers >/dev/null 2>&1; then
                return
            fi
            sleep 0.05
        done
        wait "$redis_pid" || :
        redis_pid=''
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || fail "redis-server does not start" "$directory/redis.log"
    done
}

start_lendisd() {
    cat >"$directory/lendis.conf" <<CONF
[broker]
socket = $directory/lendis.sock

[pool demo]
redis = redis://127.0.0.1:$port/0
size = $size
min_idle = $size
CONF
    "$build/lendisd" --config "$directory/lendis.conf" >"$directory/lendisd.log" 2>&1 &
    lendisd_pid=$!
    await lendisd "$lendisd_pid" "$directory/lendisd.log" pool_is_open
}

# Redis sees the whole pool, and the one that asks.
pool_is_open() {
    [ -S "$directory/lendis.sock" ] && [ "$(info clients connected_clients)" -gt "$size" ]
}

# The port that the server says it listens on.
server_port() {
    sed -n 's|^listening on http://127.0.0.1:||p' "$directory/$mode.log"
}

server_answers() {
    http_port=$(server_port)
    [ -n "$http_port" ] &&
        "$build/examples/http-load" --port "$http_port" --connections 1 --warmup 0 --duration 0.01
}

# Samples what Redis sees while the load runs, the most clients and memory for them, into MODE.json.
watch_redis() {
    most_clients=0 most_memory=0
    while kill -0 "$load_pid" 2>/dev/null; do
        sleep 0.5
        now_clients=$(($(info clients connected_clients) - 1)) # without the one that asks
        now_memory=$(info memory mem_clients_normal)
        [ "$now_clients" -le "$most_clients" ] || most_clients=$now_clients
        [ "$now_memory" -le "$most_memory" ] || most_memory=$now_memory
    done
    load_status=0
    wait "$load_pid" || load_status=$?
    load_pid=''
    echo "{\"clients\": $most_clients, \"memory\": $most_memory}" >>"$directory/$mode.json"
}

# A number from what was measured: field MODE NAME
field() {
    sed -n "s/.*\"$2\": \([0-9.]*\).*/\1/p" "$directory/$1.json"
}

# One measurement: measure MODE SERVER-OPTIONS...
measure() {
    mode=$1
    shift
    echo "  $mode: $workers workers, $clients HTTP connections, $seconds s ..."
    "$build/examples/prefork-http" --workers "$workers" "$@" >"$directory/$mode.log" 2>&1 &
    server_pid=$!
    await "the $mode server" "$server_pid" "$directory/$mode.log" server_answers

    "$build/examples/http-load" --json --port "$http_port" --connections "$clients" \
        --warmup "$warmup" --duration "$seconds" \
        >"$directory/$mode.json" 2>"$directory/$mode.errors" &
    load_pid=$!
    watch_redis
    end "$server_pid"
    server_pid=''
    [ -n "$(field "$mode" requests)" ] || fail "the load generator failed" "$directory/$mode.errors"
    if [ "$load_status" -ne 0 ]; then
        errors_seen=1
        cat "$directory/$mode.errors" >&2
        tail -n 20 "$directory/$mode.log" >&2
    fi
}

# A line of the table: line LABEL DIRECT LENDIS UNIT
line() {
    printf '  %-30s %10s %10s  %s\n' "$1" "$2" "$3" "${4:-}" | sed 's/ *$//'
}

# A line of numbers: numbers LABEL NAME DIVISOR DIGITS UNIT
numbers() {
    line "$1" "$(ratio "$(field direct "$2")" "$3" "$4")" \
        "$(ratio "$(field lendis "$2")" "$3" "$4")" "${5:-}"
}

# VALUE / DIVISOR with DIGITS: ratio VALUE DIVISOR DIGITS
ratio() {
    awk -v a="$1" -v b="$2" -v digits="$3" 'BEGIN { printf "%.*f", digits, b ? a / b : 0 }'
}

print_table() {
    times=$(ratio "$(field lendis requests_per_second)" "$(field direct requests_per_second)" 2)
    echo
    line "" direct lendis
    numbers "requests per second" requests_per_second 1 0 "$times times as many"
    numbers "p50" p50_us 1000 2 ms
    numbers "p99" p99_us 1000 2 ms
    numbers "connections that Redis saw" clients 1 0
    numbers "Redis' memory for its clients" memory 1024 0 KiB
    numbers "errors" errors 1 0
    echo
    echo "  Each request: INCR, GET of 1 KiB, SET with expiry; every byte of all answers checked."
}

for program in lendisd examples/prefork-http examples/http-load; do
    [ -x "$build/$program" ] || fail "$build/$program is missing: make demo builds it"
done
for program in redis-server redis-cli; do
    command -v "$program" >/dev/null || fail "$program is missing: make deps installs it"
done

errors_seen=0
directory=$(mktemp -d "${TMPDIR:-/tmp}/lendis-demo.XXXXXX")
start_redis
echo "lendis demo: redis-server on port $port, a pool of $size connections"
measure direct --direct "redis://127.0.0.1:$port/0"
start_lendisd
measure lendis --lendis demo --socket "$directory/lendis.sock"
print_table
exit "$errors_seen"
