#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The broker goes and comes back, in every way, while 200 workers send commands: none may fail, and
# Redis must see the same connections afterwards as before. Prints the longest that any command
# took. A store that is too small, things in it that nobody knows, Redis away, workers that die:
# none of it stops a restart.
#
# Environment: MACHINE_SECONDS=3, of load in each case.
set -u
# shellcheck source=tests/systemd/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${MACHINE_SECONDS:-3}
number=0 mix=10

# under_load TEXT COMMAND...: 200 workers, and in the middle of it the command.
under_load()
{
    local text=$1 before after line unit
    shift
    number=$((number + 1))
    unit=load$number
    load "$unit" --seconds "$seconds" --ramp 0.3 --mix "$mix"
    sleep 1
    before=$(connections)
    "$@"
    local status=$?
    sleep 0.3
    after=$(connections)
    line=$(load_ended "$unit")
    [ "$status" -eq 0 ] && served "$line" 1000
    ok "$text: no command failed"
    echo "#   $(field ops <<<"$line") commands, the longest took $(field max_us <<<"$line") us"
    [ -n "$before" ] && [ "$before" = "$after" ]
    ok "$text: the same connections ($(wc -w <<<"$before"))"
    [ "$bad" -eq 0 ] || { echo "# $line"; inside cat "/run/$unit.err" | head -5 | sed 's/^/# /'; }
}

many_restarts()
{
    for _ in $(seq 20); do
        gone_and_back inside systemctl restart lendis.service || return 1
    done
}

machine_start
machine_install 2>/dev/null
redis='redis = redis://127.0.0.1:6379/0'
configure '[pool main]' "$redis" 'size = 8' 'min_idle = 8'
drop_in lendis.service '[Service]' 'WatchdogSec=1s'
inside systemctl start lendis.socket lendis.service
until_true 10 eval '[ "$(connections | wc -l)" -eq 8 ]'
ok "8 connections are open"

under_load "systemctl restart" gone_and_back inside systemctl restart lendis.service
under_load "SIGKILL" gone_and_back inside systemctl kill -s KILL lendis.service
under_load "SIGSEGV" gone_and_back inside systemctl kill -s SEGV lendis.service
under_load "watchdog" gone_and_back signal_broker STOP
under_load "systemctl reload" inside systemctl reload lendis.service
under_load "20 restarts in a row" many_restarts

# Half of the workers die with the broker: what they had is taken back by the next one.
all_idle()
{
    inside lendisctl show pools --json | tr -d ' \n' | grep -q '"idle":8,"leased":0,'
}
load dying --seconds 30
# A write on its way through a worker that dies has an uncertain end, which would be an error here.
mix=0
under_load "a restart while 200 other workers die" gone_and_back \
    inside systemctl kill -s KILL lendis.service dying.service
mix=10
until_true 10 all_idle || inside lendisctl show pools | sed 's/^/# /'
all_idle
ok "nothing stays leased"

# Redis is away while the broker restarts.
inside systemctl stop test-redis.service
gone_and_back inside systemctl restart lendis.service
ok "the broker restarts without Redis"
start_redis
until_true 15 eval '[ "$(connections | wc -l)" -eq 8 ]'
ok "and opens its connections when Redis is back"
under_load "after that, a restart" gone_and_back inside systemctl restart lendis.service

drop_in lendis.service '[Service]' 'FileDescriptorStoreMax=4'
inside systemctl stop lendis.service
inside systemctl start lendis.service
until_true 10 said 'set FileDescriptorStoreMax=' ||
    inside journalctl --no-pager -u lendis.service -n 5 | sed 's/^/# /'
said 'set FileDescriptorStoreMax='
ok "a store that is too small is reported"
gone_and_back inside systemctl restart lendis.service
until_true 10 eval '[ "$(connections | wc -l)" -eq 8 ]'
ok "and a restart begins anew with what is missing"

# A large one: 64 connections, 500 workers that do little.
attaches()
{
    inside "$build/lendis-bench" load "${to_main[@]}" --seconds 0.01 --ramp 0 --no-fill
}

in_ms()
{
    echo $(($(date +%s%N) / 1000000))
}

switches()
{
    inside awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$(main_pid)/status"
}

drop_in lendis.service '[Service]'
private_kib()
{
    inside awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$(main_pid)/smaps_rollup"
}

configure '[pool main]' "$redis" 'size = 64' 'min_idle = 64'
inside systemctl stop lendis.service
inside systemctl start lendis.service
load many --workers 500 --think-us 2000000 --seconds 60 --ramp 0
until_true 20 eval '[ "$(connections | wc -l)" -eq 64 ] &&
    [ "$(inside lendisctl show workers | wc -l)" -gt 500 ]'
ok "500 workers are attached, and 64 connections open"
before=$(connections)
started=$(in_ms)
inside systemctl kill -s KILL lendis.service
until_true 10 attaches
ok "after SIGKILL the broker serves attaches again"
echo "#   $(($(in_ms) - started)) ms after it, RestartSec=100ms and the looking included"
[ "$before" = "$(connections)" ]
ok "with the same 64 connections"
inside systemctl stop many.service
sleep 1
switched=$(switches)
sleep 5
kib=$(private_kib)
echo "#   idle: woken $(($(switches) - switched)) times in 5 s; $kib KiB of private memory"
[ "$kib" -le 4096 ]
ok "the broker has at most 4 MiB of private memory"

configure '[pool main]' "$redis" 'size = 8' 'min_idle = 8' \
    '[pool other]' 'redis = redis://127.0.0.1:6379/1'
inside systemctl stop lendis.service
inside systemctl start lendis.service
configure '[pool main]' "$redis" 'size = 8' 'min_idle = 8'
gone_and_back inside systemctl restart lendis.service
until_true 10 said 'are of no use to this one and were closed'
ok "what nobody knows any more is closed"

load last --seconds 30
sleep 1
inside systemctl stop lendis.service lendis.socket
[ "$(property lendis.service Result)/$(property lendis.service ExecMainStatus)" = success/0 ] &&
    ! inside test -e /run/lendis
ok "a stop under load ends in time, with success, and leaves nothing in /run"
[ -z "$(connections)" ]
ok "and no connection open"
finish
