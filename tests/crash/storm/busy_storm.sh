#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A short storm where processors are short: with a busy loop for each of them, the same with
# SCHED_BATCH, and in a cgroup that may use a fifth of one. Slow is not stopped: while nobody is
# killed nothing is uncertain, nobody but who was stopped loses a connection for it, and who was is
# found.
#
# Environment: LENDIS_BUILD, BUSY_SECONDS (10: for each), and the storm's own.
set -u

build=${LENDIS_BUILD:-build}
here=$(dirname "$0")/../..
storm=$build/tests/crash/storm/storm
export STORM_COMMANDS=${STORM_COMMANDS:-60000} STORM_LIMIT=${STORM_LIMIT:-120}
export STORM_CALM_MS=${STORM_CALM_MS:-3000}
export STRESS_SECONDS=${BUSY_SECONDS:-10}
group=
number=0

say()
{
    number=$((number + 1))
    echo "$1 $number - $2"
}

# run NAME COMMAND ...: a case of its own, with the storm's verdicts below it.
run()
{
    local name=$1

    shift
    if "$@" >"$log" 2>&1; then
        say ok "$name"
    else
        say "not ok" "$name"
    fi
    sed 's/^/# /' "$log"
}

end()
{
    rm -f "$log"
    [ -z "$group" ] || rmdir "$group" 2>/dev/null
}
log=$(mktemp) || exit 1
trap end EXIT

# Makes a cgroup with a quota of 20 % of one processor; false: that cannot be done here.
make_group()
{
    local parent

    for parent in /cpu "$(sed -n 's/^0:://p' /proc/self/cgroup)" ""; do
        parent=/sys/fs/cgroup$parent
        group=$parent/lendis-storm-$$
        mkdir "$group" 2>/dev/null || continue
        if [ -w "$group/cpu.cfs_quota_us" ]; then
            echo 100000 >"$group/cpu.cfs_period_us" &&
                echo 20000 >"$group/cpu.cfs_quota_us" && return
        elif [ -w "$group/cpu.max" ]; then
            echo "20000 100000" >"$group/cpu.max" && return
        fi 2>/dev/null
        rmdir "$group"
    done
    group=
    return 1
}

storm_in_group()
{
    # shellcheck disable=SC2016 # expanded by the shell that moves
    STORM_COMMANDS=$((STORM_COMMANDS / 3)) STORM_WORKERS=50 STORM_KILL_MS=50 \
        sh -c 'echo $$ >"$0/cgroup.procs" && exec "$1"' "$group" "$storm"
}

echo 1..3
run "a busy loop for each processor" "$here/busy.sh" "$(nproc)" "$storm"
if command -v chrt >/dev/null; then
    run "the same, all with SCHED_BATCH" chrt -b 0 "$here/busy.sh" "$(nproc)" "$storm"
else
    say ok "the same, all with SCHED_BATCH # SKIP there is no chrt(1)"
fi
if make_group; then
    run "a fifth of a processor" storm_in_group
else
    say ok "a fifth of a processor # SKIP no cgroup with a quota can be made here"
fi
