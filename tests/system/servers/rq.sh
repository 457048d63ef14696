#!/bin/bash
# SPDX-License-Identifier: MIT
#
# RQ as it is: 8 workers, each of which forks a process for each job. A worker waits for jobs and
# for orders all the time, on two connections of its own; those of the jobs are the pool's. See
# kit.sh.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/system/servers/kit.sh
. tests/system/servers/kit.sh

rq=$(command -v rq || echo /usr/bin/rq)
need python3-rq "$rq"

name=rq workers=8
servers_begin rq
export PYTHONPATH=$here
held=$workers private=$((2 * workers)) # BLPOP and SUBSCRIBE
for ((i = 0; i < workers; i++)); do
    server_start "$rq" worker --quiet --url "redis://127.0.0.1:$port"
done
load=("$python" "$here/jobs.py" rq 8)
until_true 40 answers_rightly 16
ok "rq answers"
under_load 20 none "$name: $workers workers on $size connections"
[ -n "${DIRECT:-}" ] || [ "$(requests)" -ge 40 ]
ok "$name: by the pool"
own_meanwhile=1 under_load 20 none "$name: the broker is killed" broker_kill
plan
