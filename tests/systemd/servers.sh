#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Servers as they are under a real systemd, with the drop-in that lendis-run --install writes: their
# units start, php-fpm's and Apache's are Debian's own, and the workers' connections are lent. The
# same under supervisord, with the example's program section.
set -u
# shellcheck source=tests/systemd/lib.sh
. "$(dirname "$0")/lib.sh"

servers=$sources/tests/system/servers
python=/usr/bin/python3 # Debian's

# unit NAME LINE...: a unit of a server that has none.
unit()
{
    local name=$1
    shift
    printf '%s\n' '[Unit]' "Description=$name" '[Service]' "$@" |
        inside sh -c "cat >/etc/systemd/system/$name.service"
}

# asks COMMAND...: runs it inside, with what the requests are made of.
asks()
{
    inside env PYTHONDONTWRITEBYTECODE=1 REDIS_PORT=6379 "$@"
}

# Connections at Redis that are not the pool's.
own()
{
    inside redis-cli client list | grep -v ' name=lendis-main ' | grep -vc ' cmd=client'
}

leases()
{
    inside lendisctl metrics | awk '/^lendis_(leases|commands)_total/ { sum += $2 }
        END { print sum + 0 }'
}

# lent UNIT COMMAND...: with the drop-in written, the unit starts, the command, a load of 40
# requests, is answered rightly, by the pool; and no process of the unit has one of its own.
lent()
{
    local unit=$1 before

    shift
    inside lendis-run --install "$unit" --write >/dev/null &&
        inside test -f "/etc/systemd/system/$unit.service.d/lendis.conf" &&
        inside systemctl daemon-reload && inside systemctl restart "$unit"
    ok "$unit: the drop-in is written, and the unit starts"
    [ "$(property "$unit" ActiveState)" = active ]
    ok "$unit: it is active"
    before=$(leases)
    until_true 20 answered "$@"
    ok "$unit: answers are right"
    [ "$(leases)" -ge $((before + 40)) ] && [ "$(own)" -eq 0 ]
    ok "$unit: by the pool alone"
    inside systemctl stop "$unit"
}

# The load prints that all 40 were right.
answered()
{
    [ "$(asks "$@" 40 /run/progress /run/stop)" = "right 40 wrong 0 failed 0" ]
}

machine_start
machine_install
configure '[pool main]' 'redis = unix:///run/redis.sock' 'size = 4' \
    'serves = 127.0.0.1:6379 localhost:6379'
inside usermod -aG lendis www-data # php-fpm's and Apache's workers become that
inside systemctl start lendis.socket lendis.service
ok "lendis.service starts"

if inside test -e /lib/systemd/system/php8.2-fpm.service && [ -e /usr/lib/php/20220829/redis.so ]
then
    lent php8.2-fpm "$python" "$servers/load.py" fcgi /run/php/php8.2-fpm.sock \
        "$servers/page.php?c=pconnect&n=" 4
else
    echo "# php-fpm and php-redis are not installed: left out"
fi

if [ -e /lib/systemd/system/apache2.service ] && [ -e /etc/apache2/mods-available/php8.2.load ]
then
    inside sh -c "cp $servers/page.php /var/www/html/ && a2enmod -q php8.2 mpm_prefork env &&
        a2dismod -q mpm_event
        echo 'SetEnv REDIS_PORT 6379' >/etc/apache2/conf-enabled/redis.conf" >/dev/null 2>&1
    lent apache2 "$python" "$servers/load.py" http 80 '/page.php?c=pconnect&n=' 4
else
    echo "# apache2 and its mod_php are not installed: left out"
fi

if "$python" -c 'import gunicorn, redis' 2>/dev/null; then
    unit gunicorn 'Type=notify' 'User=nobody' 'Environment=REDIS_PORT=6379' \
        "WorkingDirectory=$servers" 'NotifyAccess=all' 'RestrictAddressFamilies=AF_INET AF_UNIX' \
        "ExecStart=$python -m gunicorn --workers 6 --bind 127.0.0.1:8001 app:app" \
        'ExecReload=/bin/kill -s HUP $MAINPID' 'KillMode=mixed'
    lent gunicorn "$python" "$servers/load.py" http 8001 '/?' 4
else
    echo "# gunicorn and python3-redis are not installed: left out"
fi

if [ -x /usr/bin/uwsgi-core ] && [ -e /usr/lib/uwsgi/plugins/python3_plugin.so ]; then
    unit uwsgi 'Type=notify' 'User=nobody' 'Environment=REDIS_PORT=6379' 'KillSignal=SIGQUIT' \
        "WorkingDirectory=$servers" 'NotifyAccess=all' \
        "ExecStart=/usr/bin/uwsgi-core --plugin python3 --master --processes 6 \
--http-socket 127.0.0.1:8002 --wsgi-file app.py --callable app --disable-logging"
    lent uwsgi "$python" "$servers/load.py" http 8002 '/?' 4
else
    echo "# uwsgi-core and its plugin are not installed: left out"
fi

if [ -x /usr/bin/celery ]; then
    unit celery 'Type=exec' 'User=nobody' 'Environment=REDIS_PORT=6379' \
        "WorkingDirectory=$servers" 'Environment=PYTHONDONTWRITEBYTECODE=1' \
        "ExecStart=/usr/bin/celery -A tasks worker --concurrency 6 --without-mingle \
--without-gossip --without-heartbeat --loglevel WARNING"
    lent celery env PYTHONPATH="$servers" "$python" "$servers/jobs.py" celery 4
else
    echo "# celery is not installed: left out"
fi

if [ -x /usr/bin/supervisord ]; then
    inside sh -c "
        useradd --system --groups lendis app && mkdir -p /srv/app /etc/supervisor/conf.d &&
        cp $servers/app.py /srv/app &&
        sed -e 's|app:app|--bind 127.0.0.1:8003 app:app|' -e 's|--workers 50|--workers 6|' \
            $sources/deploy/examples/unmodified/supervisord.conf >/etc/supervisor/conf.d/app.conf &&
        echo 'environment=REDIS_PORT=6379' >>/etc/supervisor/conf.d/app.conf" &&
        inside systemd-run --quiet --unit=supervised /usr/bin/supervisord -n \
            -c /etc/supervisor/supervisord.conf
    ok "supervisord reads the example"
    before=$(leases)
    until_true 20 answered "$python" "$servers/load.py" http 8003 '/?' 4
    ok "supervisord: answers are right"
    [ "$(leases)" -ge $((before + 40)) ] && [ "$(own)" -eq 0 ]
    ok "supervisord: by the pool alone"
    inside systemctl stop supervised
else
    echo "# supervisor is not installed: left out"
fi
finish
