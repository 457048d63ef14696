#!/bin/bash
# SPDX-License-Identifier: MIT
#
# gunicorn with redis-py, as it is: 25 workers of two threads, with LONG also 50 of one, forked
# after the application was loaded, on 8 connections. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

"$python" -c 'import redis, gunicorn' 2>/dev/null ||
    skip "gunicorn and python3-redis are not both installed"

name=gunicorn workers=50
servers_begin gunicorn

server_reload()
{
    kill -HUP "$server"
}

gunicorn_start()
{
    server_start "$python" -m gunicorn --preload --bind "127.0.0.1:$web" --chdir "$here" "$@" \
        app:app
    until_true 20 answers_rightly 60
    ok "$name answers"
}

load=("$python" "$here/load.py" http "$web" '/?' 30)
if [ -n "${LONG:-}" ]; then
    gunicorn_start --workers $workers
    server_trials 40
    kill "$server"
    wait "$server" 2>/dev/null
fi
name='gunicorn gthread' workers='25 times 2'
gunicorn_start --workers 25 --worker-class gthread --threads 2
server_trials 40
kill "$server"
plan
