#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Real clients as they are, on the connections of a pool: redis-cli, redis-benchmark, redis-py,
# phpredis. (Servers: tests/system/servers.) The broker's Redis is on a Unix socket, and nothing
# listens at the port that the programs connect to: what works there works by the pool alone.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/support/fixture.sh
. tests/support/fixture.sh
fixture_begin preload

here=$PWD/tests/system/preload
python=/usr/bin/python3 # Debian's, which has python3-redis
run=$build/lendis-run
port=$((20000 + RANDOM % 10000))
size=8
export LENDIS_SOCKET=$work/lendis.sock REDIS_PORT=$port

fixture_start_redis
fixture_configure "size = $size" \
    "serves = 127.0.0.1:$port localhost:$port [::1]:$port $work/redis.sock" '[pool one]' \
    "redis = unix://$work/redis.sock?db=1" "size = $size" "serves = localhost:$port"
"$build/lendisd" --config "$work/lendis.conf" >"$work/broker.log" 2>&1 &
broker=$!
pids+=("$broker")
until_true 20 lends

leases()
{
    "$build/lendisctl" --socket "$LENDIS_SOCKET" metrics |
        awk '/^lendis_leases_total/ { sum += $2 } END { print sum + 0 }'
}

# Nothing is leased, and Redis has no more connections than the pools have.
rests()
{
    "$build/lendisctl" --socket "$LENDIS_SOCKET" metrics >"$work/metrics" &&
        ! grep -E '^lendis_connections\{.*state="leased".*\} [1-9]' "$work/metrics" >&2 &&
        [ "$(redis client list | grep -vc ' cmd=client')" -le $((2 * size)) ]
}

# held_by_none WHAT: that is so before long.
held_by_none()
{
    until_true 20 rests
    ok "$1: nothing is held"
}

before=$(leases)
for host in 127.0.0.1 localhost ::1; do
    [ "$("$run" redis-cli -h "$host" -p "$port" set "key:$host" value)" = OK ] &&
        [ "$("$run" redis-cli -h "$host" -p "$port" get "key:$host")" = value ]
    ok "redis-cli at $host"
done
printf '%s\n' 'multi' 'incr n' 'incr n' 'exec' 'select 1' 'set where one' 'select 0' 'get where' |
    "$run" redis-cli -p "$port" >"$work/said"
printf '%s\n' OK QUEUED QUEUED 1 2 OK OK OK '' | cmp - "$work/said"
ok "redis-cli: transactions and databases"
for ((i = 0; i < 2000; i++)); do
    printf '*3\r\n$3\r\nSET\r\n$5\r\n%05d\r\n$1\r\nx\r\n' "$i"
done |
    timeout 60 "$run" redis-cli -s "$work/redis.sock" --pipe | grep -q 'errors: 0, replies: 2000'
ok "redis-cli --pipe"
for options in "-c 4" "-c 4 -P 16" "-c 30"; do
    # shellcheck disable=SC2086
    timeout 60 "$run" redis-benchmark -s "$work/redis.sock" -n 2000 $options -t set,get,lpush -q \
        >"$work/said" 2>&1 && [ "$(grep -c 'requests per second' "$work/said")" -ge 3 ]
    ok "redis-benchmark $options"
done
[ "$(leases)" -ge $((before + 2000)) ]
ok "by leases of the pool"
held_by_none "clients"
for language in "$python client.py" "php client.php"; do
    before=$(leases)
    # shellcheck disable=SC2086
    (cd "$here" && timeout 120 "$run" $language "$port" >"$work/said.log" 2>&1)
    [ "$(tail -1 "$work/said.log")" = well ]
    ok "$language"
    [ "$(leases)" -ge $((before + 200)) ]
    ok "$language, by leases of the pool"
    held_by_none "$language"
done

plan
