#!/bin/bash
# SPDX-License-Identifier: MIT
#
# uWSGI with redis-py, as it is: 50 workers, forked after the application was loaded, on 8
# connections. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

need uwsgi-core /usr/bin/uwsgi-core
need uwsgi-plugin-python3 /usr/lib/uwsgi/plugins/python3_plugin.so
"$python" -c 'import redis' 2>/dev/null || skip "python3-redis is not installed"

name=uwsgi workers=50
reload_failures=some # direct ones, too: uWSGI drops what it has not accepted
servers_begin uwsgi

server_reload()
{
    kill -HUP "$server"
}

server_start /usr/bin/uwsgi-core --plugin python3 --master --processes $workers \
    --http-socket "127.0.0.1:$web" --chdir "$here" --wsgi-file app.py --callable app \
    --disable-logging
load=("$python" "$here/load.py" http "$web" '/?' 30)
until_true 20 answers_rightly 60
ok "uwsgi answers"
server_trials 40
kill -INT "$server"
plan
