#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Celery prefork with Redis as broker and as store of results, as it is: 50 processes on 8
# connections. Its consumer waits for jobs all the time: on one of the pool's, or on one of its own,
# if all others were busy when it began. Without remote control, which subscribes, and so has a
# connection of its own. See kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

"$python" -c 'import celery, redis' 2>/dev/null ||
    skip "python3-celery and python3-redis are not both installed"

celery=$(command -v celery || echo /usr/bin/celery)
need celery "$celery"

name=celery workers=50
servers_begin celery
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
reload_failures=some # direct, too: results of the jobs under way are lost
held=1 private=1 # its consumer waits for jobs (BRPOP), on one of the pool or its own

server_reload()
{
    kill -HUP "$server"
}

# It executes itself again, and wants to be found by its own name.
server_start "$celery" --workdir "$here" -A tasks worker --concurrency $workers \
    --without-mingle --without-gossip --without-heartbeat --loglevel WARNING
load=("$python" "$here/jobs.py" celery 20)
until_true 40 answers_rightly 40
ok "celery answers"
server_trials 40
kill "$server"
plan
