#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Real programs as they are, on the connections of a pool: redis-cli, redis-benchmark, redis-py,
# phpredis, gunicorn and php-fpm. The broker's Redis is on a Unix socket, and nothing listens at the
# port that the programs connect to: what works there works by the pool alone.
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

# ---- clients ----

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

# ---- servers ----

web=$((port + 1))
(cd "$here" && exec "$run" "$python" -m gunicorn --workers 20 --preload \
    --bind "127.0.0.1:$web" --pid "$work/gunicorn.pid" app:app >"$work/gunicorn.log" 2>&1) &
pids+=($!)
cat >"$work/fpm.conf" <<END
[global]
error_log = $work/fpm.log
daemonize = no
[www]
user = $(id -un)
group = $(id -gn)
listen = $work/fpm.sock
pm = static
pm.max_children = 50
END
fpm=$(command -v php-fpm8.2 || ls /usr/sbin/php-fpm* | head -1)
"$run" "$fpm" -R -F -y "$work/fpm.conf" >"$work/fpm.out.log" 2>&1 &
fpm_pid=$!
pids+=("$fpm_pid")

http()
{
    timeout 100 "$python" "$here/load.py" http "$web" "$1" 20
}

fcgi()
{
    timeout 100 "$python" "$here/load.py" fcgi "$work/fpm.sock" "$1" 50 "$here/page.php" \
        "$port" "$2"
}

until_true 20 eval '[ "$(http 20 2>/dev/null)" = "good 20 bad 0" ]'
ok "gunicorn answers"
until_true 20 eval '[ "$(fcgi 50 connect 2>/dev/null)" = "good 50 bad 0" ]'
ok "php-fpm answers"
[ "$(http 600)" = "good 600 bad 0" ]
ok "gunicorn: 20 workers on $size connections"
held_by_none "gunicorn"
for method in connect pconnect; do
    [ "$(fcgi 1000 $method)" = "good 1000 bad 0" ]
    ok "php-fpm, $method: 50 workers on $size connections"
    held_by_none "php-fpm, $method"
done

# While workers are killed, the answers that come are right, and all is well afterwards.
http 600 >"$work/said" 2>/dev/null &
load=$!
for ((i = 0; i < 5; i++)); do
    sleep 0.1
    kill -KILL "$(child_of "$(cat "$work/gunicorn.pid")")"
done
wait "$load"
! grep -q wrong "$work/said"
ok "gunicorn: workers are killed"
held_by_none "gunicorn, afterwards"
until_true 20 eval '[ "$(http 200 2>/dev/null)" = "good 200 bad 0" ]'
ok "gunicorn goes on"

# Graceful reloads, and brokers that come and go, cost nothing.
http 600 >"$work/said" 2>"$work/reload.log" &
load=$!
sleep 0.1
kill -HUP "$(cat "$work/gunicorn.pid")"
wait "$load"
[ "$(cat "$work/said")" = "good 600 bad 0" ]
ok "gunicorn is reloaded"
fcgi 1000 pconnect >"$work/said" &
load=$!
sleep 0.1
kill -KILL "$broker"
wait "$broker" 2>/dev/null
"$build/lendisd" --config "$work/lendis.conf" >>"$work/broker.log" 2>&1 &
broker=$!
pids+=("$broker")
wait "$load"
[ "$(cat "$work/said")" = "good 1000 bad 0" ]
ok "php-fpm: the broker is killed and started again"
until_true 20 lends
until_true 20 eval '[ "$(http 200 2>/dev/null)" = "good 200 bad 0" ]' &&
    [ "$(fcgi 200 connect)" = "good 200 bad 0" ]
ok "and both go on"
kill "$(cat "$work/gunicorn.pid")" "$fpm_pid"
held_by_none "servers that have ended"

plan
