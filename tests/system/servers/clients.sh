#!/bin/bash
# SPDX-License-Identifier: MIT
#
# 50 processes each of clients as they are, on 8 connections: Ruby's redis, hiredis' own API, sync
# and async. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

processes=50 turns=$((20 * long))
servers_begin clients

# client NAME COMMAND...: all of its turns are right, by the pool.
client()
{
    local name=$1 before

    shift
    before=$(requests)
    timeout $((60 * long)) "${run[@]}" "$@" "$port" $processes $turns \
        >"$work/said" 2>"$work/said.log"
    grep -qx "right $((processes * turns))" "$work/said"
    ok "$name: $processes processes on $size connections"
    [ -n "${DIRECT:-}" ] || [ "$(requests)" -ge $((before + turns)) ]
    ok "$name: by the pool"
    at_rest "$name"
}

if /usr/bin/ruby -e 'require "redis"' 2>/dev/null; then
    client "Ruby's redis" /usr/bin/ruby "$here/client.rb"
else
    echo "# ruby-redis is not installed: left out"
fi
read -r -a hiredis < <("${PKG_CONFIG:-pkg-config}" --cflags --libs hiredis)
"${CC:-cc}" -D_GNU_SOURCE -o "$work/client" "$here/client.c" "${hiredis[@]}" &&
    client "hiredis, sync" "$work/client" sync &&
    client "hiredis, async" "$work/client" async
plan
