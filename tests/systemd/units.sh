#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The installed units under a real systemd: how tight they are, start by the first worker, who may
# attach, reload, watchdog, stop, several brokers.
set -u
# shellcheck source=tests/systemd/lib.sh
. "$(dirname "$0")/lib.sh"

# exposure UNIT: what systemd-analyze security says, in tenths.
exposure()
{
    inside systemd-analyze security --no-pager "$1" |
        sed -n 's/.*exposure level for .*: \([0-9]*\)\.\([0-9]\).*/\1\2/p'
}

at_most()
{
    [ -n "$1" ] && echo "# $3: $1 (tenths)" && [ "$((10#$1))" -le "$2" ]
}

# one_worker GROUP [SOCKET]
one_worker()
{
    inside systemd-run --quiet --wait --pipe -p User=nobody -p "SupplementaryGroups=$1" \
        "$build/lendis-bench" load "${to_main[@]}" --socket "${2:-/run/lendis/lendis.sock}" \
        --seconds 0.2 --ramp 0.1 --json 2>&1
}

no_errors()
{
    served "$1" 0 || { echo "# $1"; return 1; }
}

machine_start
machine_install
redis='redis = redis://127.0.0.1:6379/0'
configure '[pool main]' "$redis" 'size = 4'

inside systemd-analyze verify lendis.socket lendis.service lendis@x.socket lendis@x.service 2>&1 |
    grep lendis | sed 's/^/# /'
[ "${PIPESTATUS[1]}" -eq 1 ]
ok "systemd-analyze verify has no complaint about the units"

at_most "$(exposure lendis.service)" 15 'exposure with TCP'
ok "the exposure of lendis.service is at most 1.5"

inside mkdir -p /etc/systemd/system/lendis.service.d
inside cp /usr/share/doc/lendis/systemd/redis-on-unix-socket.conf \
    /etc/systemd/system/lendis.service.d/
inside systemctl daemon-reload
at_most "$(exposure lendis.service)" 7 'exposure with Redis on a Unix socket'
ok "with the drop-in for Redis on a Unix socket it is at most 0.7"

configure '[pool main]' 'redis = unix:///run/redis.sock' 'size = 4'
inside systemctl start lendis.socket
ok "lendis.socket starts"
[ "$(property lendis.service ActiveState)" = inactive ]
ok "and the broker not yet"
[ "$(inside stat -c '%a %G' /run/lendis/lendis.sock)" = "660 lendis" ]
ok "the socket is mode 0660 and the group's"
no_errors "$(one_worker lendis)"
ok "the first worker starts the broker and is served, with no network at all"
[ "$(property lendis.service ActiveState)" = active ] &&
    [ "$(property lendis.service StatusText)" = "1 of 1 pools up" ]
ok "it is active and says what is up"
! one_worker nogroup >/dev/null
ok "a worker that is not in the group is refused"

inside rm /etc/systemd/system/lendis.service.d/redis-on-unix-socket.conf
configure '[pool main]' "$redis" 'size = 4'
inside systemctl daemon-reload
inside systemctl restart lendis.service
no_errors "$(one_worker lendis)"
ok "the unit without the drop-in reaches Redis over TCP"

drop_in lendis.service '[Service]' 'WatchdogSec=1s'
inside systemctl restart lendis.service
gone_and_back signal_broker STOP
ok "a broker that hangs is replaced by the watchdog"
no_errors "$(one_worker lendis)"
ok "and serves again"

configure '[broker]' 'exit_after_idle = 1s' '[pool main]' "$redis" 'size = 4'
inside systemctl restart lendis.service
until_true 10 eval '[ "$(property lendis.service ActiveState)" = inactive ] &&
    [ "$(property lendis.service Result)" = success ]'
ok "a broker without workers exits by option"
no_errors "$(one_worker lendis)"
ok "and the next worker starts it again"

inside systemctl stop lendis.service lendis.socket
[ "$(property lendis.service Result)/$(property lendis.service ExecMainStatus)" = success/0 ]
ok "systemctl stop ends it with success"
! inside test -e /run/lendis
ok "nothing is left in /run"

inside sh -c 'cp /etc/lendis/lendis.conf /etc/lendis/second.conf'
inside systemctl start lendis@second.socket lendis.socket
no_errors "$(one_worker lendis /run/lendis/second.sock)" && no_errors "$(one_worker lendis)"
ok "two brokers lend side by side"
# Else they end by themselves while the next one's connections are counted.
inside systemctl stop lendis.service lendis@second.service

# A user's own manager, with nothing but the user's rights.
own()
{
    inside setpriv --reuid nobody --regid nogroup --clear-groups \
        env XDG_RUNTIME_DIR=/run/own HOME=/run/own "$@"
}
inside systemd-run --quiet --unit=own-manager -p User=nobody -p Delegate=yes -p Type=notify \
    -p RuntimeDirectory=own -E XDG_RUNTIME_DIR=/run/own -E HOME=/run/own /lib/systemd/systemd --user
printf '%s\n' '[pool main]' 'redis = unix:///run/redis.sock' 'size = 2' 'min_idle = 2' |
    own sh -c 'mkdir -p ~/.config/lendis && cat >~/.config/lendis/lendis.conf'
own systemctl --user start lendis.socket &&
    no_errors "$(own "$build/lendis-bench" load "${to_main[@]}" --socket /run/own/lendis.sock \
        --seconds 0.2 --ramp 0.1 --json 2>&1)"
ok "a user's own broker starts with the user's first worker"
until_true 10 eval '[ "$(connections | wc -l)" -ge 2 ]'
before=$(connections)
own systemctl --user restart lendis.service
until_true 10 [ "$(own systemctl --user show --value -p ActiveState lendis.service)" = active ]
[ -n "$before" ] && [ "$(connections)" = "$before" ]
ok "and its connections survive a restart"
inside systemctl stop own-manager.service

configure '[pool main]' 'size = 4'
inside systemctl restart lendis.service 2>/dev/null
[ "$(property lendis.service ExecMainStatus)" = 78 ] &&
    [ "$(property lendis.service NRestarts)" = 0 ]
ok "a wrong configuration is not tried again and again"
finish
