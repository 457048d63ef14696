#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Throughput and p99 of unmodified servers at a saturating load, behind nginx: 200 workers of
# php-fpm with phpredis (connect, and pconnect) and 100 of gunicorn with redis-py, with connections
# of their own and by lendis-run. Rounds are interleaved; what counts is the median of their ratios.
#
# Environment: ROUNDS (5), REQUESTS (4000) of each measurement, CLIENTS (200, and no more than there
# are workers), SIZE (16, the pool's connections), PHP_WORKERS (200), PYTHON_WORKERS (100),
# LENDIS_BUILD.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

need nginx-light /usr/sbin/nginx
need apache2-utils ab
fpm=$(ls /usr/sbin/php-fpm* | tail -1)
rounds=${ROUNDS:-5} requests=${REQUESTS:-4000} clients=${CLIENTS:-200} size=${SIZE:-16}
php_workers=${PHP_WORKERS:-200} python_workers=${PYTHON_WORKERS:-100}
servers_begin figures >/dev/null
redis set value "$(head -c 1024 /dev/zero | tr '\0' x)" >/dev/null

# php MODE: a php-fpm of its own.
php()
{
    cat >"$work/fpm-$1.conf" <<END
[global]
error_log = $work/fpm-$1.log
daemonize = no
[www]
user = $(id -un)
group = $(id -gn)
listen = $work/fpm-$1.sock
listen.backlog = 1024
pm = static
pm.max_children = $php_workers
END
    server_start "$fpm" -R -F -y "$work/fpm-$1.conf"
}

# py MODE: a gunicorn of its own.
py()
{
    server_start "$python" -m gunicorn --preload --workers "$python_workers" --backlog 1024 \
        --bind "unix:$work/gunicorn-$1.sock" --chdir "$here" hot:app
}

nginx_start()
{
    cat >"$work/nginx.conf" <<END
daemon off;
$([ "$(id -u)" -ne 0 ] || echo 'user root;')
worker_processes 2;
pid $work/nginx.pid;
error_log $work/nginx.log crit;
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path $work;
    proxy_temp_path $work;
    fastcgi_temp_path $work;
    uwsgi_temp_path $work;
    scgi_temp_path $work;
    fastcgi_param QUERY_STRING \$query_string;
    fastcgi_param REQUEST_METHOD \$request_method;
    fastcgi_param SCRIPT_FILENAME $here/hot.php;
    fastcgi_param REDIS_PORT $port;
    server {
        listen 127.0.0.1:$web backlog=1024;
        location /php/direct { fastcgi_pass unix:$work/fpm-direct.sock; }
        location /php/lendis { fastcgi_pass unix:$work/fpm-lendis.sock; }
        location /python/direct { proxy_pass http://unix:$work/gunicorn-direct.sock:/; }
        location /python/lendis { proxy_pass http://unix:$work/gunicorn-lendis.sock:/; }
    }
}
END
    /usr/sbin/nginx -c "$work/nginx.conf" -p "$work" -e "$work/nginx.log" \
        >>"$work/server.log" 2>&1 &
    pids+=($!)
}

# load CLIENTS REQUESTS PATH: requests per second, p50 and p99 in ms, requests that failed.
load()
{
    ab -q -c "$1" -n "$2" "http://127.0.0.1:$web$3" 2>&1 | awk '
        /^Requests per second/ { rate = $4 }
        /^Failed requests|^Non-2xx/ { failed += $NF }
        $1 == "50%" { p50 = $2 }
        $1 == "99%" { p99 = $2 }
        END { print rate + 0, p50 + 0, p99 + 0, failed + 0 }'
}

median()
{
    sort -g | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

# compare NAME CLIENTS PATH QUERY
compare()
{
    local mode round file=$work/$RANDOM

    for mode in direct lendis; do
        load "$2" $((2 * $2)) "$3/$mode?$4" >/dev/null
    done
    for ((round = 0; round < rounds; round++)); do
        # Whoever is first alternates.
        for mode in $([ $((round % 2)) -eq 0 ] && echo direct lendis || echo lendis direct); do
            load "$2" "$requests" "$3/$mode?$4" >"$file.$mode"
            cat "$file.$mode" >>"$file.$mode.all"
        done
        paste -d ' ' "$file.direct" "$file.lendis" >>"$file.rounds"
    done
    printf '%-22s' "$1"
    for mode in direct lendis; do
        printf ' %8.0f/s %6.0f ms %6d' "$(cut -d ' ' -f 1 "$file.$mode.all" | median)" \
            "$(cut -d ' ' -f 3 "$file.$mode.all" | median)" \
            "$(awk '{ sum += $4 } END { print sum }' "$file.$mode.all")"
    done
    printf ' %10.2f %10.2f\n' "$(awk '{ print $5 / $1 }' "$file.rounds" | median)" \
        "$(awk '{ print $7 / ($3 > 0 ? $3 : 1) }' "$file.rounds" | median)"
}

lend=("${run[@]}")
for mode in direct lendis; do
    [ "$mode" = direct ] && run=(env) || run=("${lend[@]}")
    php "$mode"
    py "$mode"
done
nginx_start
for path in /php/direct /php/lendis /python/direct /python/lendis; do
    until_true 60 eval '[ "$(load 1 5 "$path?c=connect" | cut -d " " -f 4)" = 0 ]' ||
        { echo "$path does not answer" >&2 && exit 1; }
done
most=$((clients < php_workers ? clients : php_workers))
printf '%-22s %34s %28s %21s\n' "" "a connection each" lendis-run "lendis-run / direct"
printf '%-22s %11s %8s %6s %12s %8s %6s %10s %10s\n' "" requests p99 failed requests p99 failed \
    requests p99
compare 'php-fpm, connect' "$most" /php 'c=connect'
compare 'php-fpm, pconnect' "$most" /php 'c=pconnect'
compare gunicorn $((clients < python_workers ? clients : python_workers)) /python ''
redis client list | awk '/name=lendis-main/ { pool++; next } !/cmd=client/ { own++ }
    END { printf "connections at the end: %d of the pool, %d of the servers\x27 own\n", pool, own }'
