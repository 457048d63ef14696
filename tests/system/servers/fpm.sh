#!/bin/bash
# SPDX-License-Identifier: MIT
#
# php-fpm with phpredis, as it is: 50 workers on 8 connections, with connect, with pconnect, and
# with sessions in Redis. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

fpm=$(ls /usr/sbin/php-fpm* 2>/dev/null | tail -1)
need php-fpm "${fpm:-php-fpm}"
need php-redis "$(ls /usr/lib/php/2*/redis.so 2>/dev/null || echo redis.so)"

name=php-fpm workers=50
servers_begin fpm
cat >"$work/fpm.conf" <<END
[global]
error_log = $work/fpm.log
process_control_timeout = 10s
daemonize = no
[www]
user = $(id -un)
group = $(id -gn)
listen = $work/fpm.sock
listen.backlog = 512
pm = static
pm.max_children = $workers
php_value[session.save_handler] = redis
php_value[session.save_path] = "tcp://127.0.0.1:$port?timeout=5&persistent=1"
php_value[session.use_cookies] = 0
php_value[session.use_strict_mode] = 0
php_value[session.cache_limiter] = ""
END

server_reload()
{
    kill -USR2 "$server"
}

# page SCRIPT?QUERY
page()
{
    load=("$python" "$here/load.py" fcgi "$work/fpm.sock" "$here/$1" 30)
}

server_start "$fpm" -R -F -y "$work/fpm.conf"
page 'page.php?c=connect&n='
until_true 20 answers_rightly 60
ok "php-fpm answers"
under_load 30 none "php-fpm, connect: $workers workers on $size connections"
page 'page.php?c=pconnect&n='
server_trials 40
name='php-fpm, sessions'
page 'session.php?n='
if [ -n "${LONG:-}" ]; then
    server_trials 40
else
    under_load 40 none "$name: $workers workers on $size connections"
    under_load 40 some "$name: workers are killed" kill_workers "$server" 3
    under_load 40 none "$name: reloaded gracefully" server_reload
fi
kill "$server"
plan
