#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The second half of `make demo`: gunicorn with redis-py, as it is, first with a Redis connection in
# each of its workers, then by lendis-run. Everything is private and is gone afterwards.
#
# Environment: WORKERS (50), SIZE (8, the pool's connections), CLIENTS (20), SECONDS_EACH (5),
# LENDIS_BUILD (build), TMPDIR.
set -eu

here=$(dirname "$(realpath "$0")")
build=$(realpath "${LENDIS_BUILD:-build}")
workers=${WORKERS:-50}
python=/usr/bin/python3 # Debian's, which has python3-redis
directory=$(mktemp -d "${TMPDIR:-/tmp}/lendis-demo.XXXXXX")
pids=()

clean_up()
{
    [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || :
    wait || :
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# await COMMAND...: until it succeeds, for 20 s.
await()
{
    local tries=0

    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -le 400 ] || { echo "demo: not ready after 20 s: $*" >&2 && exit 1; }
        sleep 0.05
    done
}

cli()
{
    redis-cli -p "$REDIS_PORT" "$@"
}

page()
{
    "$python" "$here/load.py" "$web" 0.1 1 | awk '{ exit !($1 > 0 && $2 == 0) }'
}

# measure NAME COMMAND...: the server, under load; a line of the table.
measure()
{
    local name=$1 server rate failed

    shift
    cli flushall >/dev/null
    (cd "$here" && exec "$@" "$python" -m gunicorn --workers "$workers" --preload \
        --bind "127.0.0.1:$web" app:app >"$directory/gunicorn.log" 2>&1) &
    server=$!
    pids+=("$server")
    await page
    "$python" "$here/load.py" "$web" 1 "${CLIENTS:-20}" >/dev/null
    read -r rate failed < <("$python" "$here/load.py" "$web" "${SECONDS_EACH:-5}" "${CLIENTS:-20}")
    printf '%-12s %11s %14s %10s %8s\n' "$name" "$(($(cli client list | wc -l) - 1))" \
        "$(cli info memory | sed -n 's/^used_memory_human:\([^\r]*\).*/\1/p')" "$rate" "$failed"
    kill "$server"
    wait "$server" || :
}

REDIS_PORT=$((20000 + RANDOM % 10000))
web=$((REDIS_PORT + 1))
export REDIS_PORT LENDIS_SOCKET=$directory/lendis.sock
redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --dir "$directory" \
    >"$directory/redis.log" 2>&1 &
pids+=($!)
printf '%s\n' '[broker]' "socket = $LENDIS_SOCKET" '[pool demo]' \
    "redis = redis://127.0.0.1:$REDIS_PORT" "serves = localhost:$REDIS_PORT" \
    "size = ${SIZE:-8}" 'min_idle = 0' >"$directory/lendis.conf"
await cli ping
echo
echo "gunicorn with redis-py, as it is: $workers workers"
printf '%-12s %11s %14s %10s %8s\n' '' connections "Redis' memory" pages/s failed
measure direct env
"$build/lendisd" --config "$directory/lendis.conf" >"$directory/lendisd.log" 2>&1 &
pids+=($!)
await "$build/lendisctl" --socket "$LENDIS_SOCKET" show pools
measure lendis-run "$build/lendis-run"
