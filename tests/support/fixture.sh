# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# A folder, a redis-server and a configuration of a script's own, for tests that are scripts. To be
# sourced by bash in the project's folder; fixture_begin comes first. What is started is put into
# `pids`, and is killed when the script ends; when it fails, the ends of its logs are printed before
# the folder is removed.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).

# shellcheck source=tests/support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/cases.sh"

build=$(realpath "${LENDIS_BUILD:-build}")
pids=()

# fixture_begin NAME: sets `work`, the folder.
fixture_begin()
{
    work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-$1.XXXXXX") || exit 1
    trap fixture_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

fixture_end()
{
    local status=$?

    [ "${#pids[@]}" -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
    wait 2>/dev/null
    [ "$status" -eq 0 ] || tail -n 30 "$work"/*.log 2>/dev/null | sed 's/^/# /'
    rm -rf "$work"
}

# Starts a redis-server at $work/redis.sock.
fixture_start_redis()
{
    redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --dir "$work" \
        >"$work/redis.log" 2>&1 &
    pids+=($!)
    until_true 10 redis ping
}

redis()
{
    redis-cli -s "$work/redis.sock" "$@"
}

# fixture_configure LINE...: $work/lendis.conf, of a broker at $work/lendis.sock and a pool main on
# that redis-server, which has these lines besides.
fixture_configure()
{
    printf '%s\n' '[broker]' "socket = $work/lendis.sock" 'drain_timeout = 1s' '[pool main]' \
        "redis = unix://$work/redis.sock" "$@" >"$work/lendis.conf"
}

# Whether the broker at $work/lendis.sock lends.
lends()
{
    "$build/lendisctl" --socket "$work/lendis.sock" reconnect main >/dev/null
}

# child_of PID: the first one.
child_of()
{
    local child

    child=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
    echo "${child%% *}"
}
