#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Apache prefork with mod_php and phpredis, as it is: 50 workers, which run as another user than the
# master that forked them, on 8 connections. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

modules=/usr/lib/apache2/modules
need apache2 /usr/sbin/apache2
php=$(ls $modules/libphp*.so 2>/dev/null | tail -1)
need libapache2-mod-php "${php:-$modules/libphp.so}"
need php-redis "$(php-config --extension-dir 2>/dev/null || ls -d /usr/lib/php/2*)/redis.so"

name=apache workers=50
servers_begin apache
mkdir "$work/root" && cp "$here/page.php" "$work/root"
cat >"$work/apache.conf" <<END
ServerRoot $work
ServerName localhost
PidFile $work/apache.pid
ErrorLog $work/apache.log
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule env_module $modules/mod_env.so
LoadModule php_module $php
Listen 127.0.0.1:$web
StartServers $workers
MinSpareServers $workers
MaxSpareServers $workers
ServerLimit $workers
MaxRequestWorkers $workers
KeepAlive Off
DocumentRoot $work/root
SetEnv REDIS_PORT $port
<FilesMatch \.php$>
    SetHandler application/x-httpd-php
</FilesMatch>
END
[ "$(id -u)" -ne 0 ] || printf '%s\n' 'User www-data' 'Group www-data' >>"$work/apache.conf"

server_reload()
{
    /usr/sbin/apache2 -f "$work/apache.conf" -k graceful
}

server_start /usr/sbin/apache2 -f "$work/apache.conf" -D FOREGROUND
load=("$python" "$here/load.py" http "$web" '/page.php?c=connect&n=' 30)
until_true 20 answers_rightly 60
ok "apache answers"
under_load 30 none "apache, connect: $workers workers on $size connections"
load=("$python" "$here/load.py" http "$web" '/page.php?c=pconnect&n=' 30)
server_trials 40
kill "$server"
plan
