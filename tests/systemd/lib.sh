# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# A real systemd for the tests of the units: PID 1 of namespaces of its own, on this system's files,
# up in half a second (boot.sh). To be sourced by bash; a test calls machine_start once and then
# case_ok, case_fails and so on. All that runs inside dies with the test. Exit status 77, a skip,
# where namespaces are forbidden or there is no systemd.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sources=$(cd "$here/../.." && pwd)
build=${LENDIS_BUILD:-build}
case $build in /*) ;; *) build=$sources/$build ;; esac

machine=

# shellcheck source=tests/support/cases.sh
. "$sources/tests/support/cases.sh"

finish()
{
    if [ "$bad" -gt 0 ] && [ -n "$machine" ]; then
        inside journalctl --no-pager -o short-monotonic -n 60 \
            _TRANSPORT=stdout + _TRANSPORT=syslog + _TRANSPORT=journal 2>&1 | sed 's/^/# /'
    fi
    plan
}

# Runs a command inside.
inside()
{
    nsenter -t "$machine" -m -p -n -i -u -C -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

machine_stop()
{
    [ -z "${machine_keeper:-}" ] || kill -KILL "$machine_keeper" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$machine_directory"
}

machine_is_up()
{
    case $(inside systemctl is-system-running) in running | degraded) ;; *) false ;; esac
}

# Starts the machine; sets `machine`, the process id of its systemd as the host sees it.
machine_start()
{
    [ "$(id -u)" -eq 0 ] || skip "only root can make the namespaces that a systemd of its own needs"
    [ -x /lib/systemd/systemd ] || skip "there is no systemd on this system"
    machine_directory=$(mktemp -d "${TMPDIR:-/tmp}/lendis-machine.XXXXXX") || exit 1
    trap machine_stop EXIT
    trap 'exit 130' INT TERM
    unshare --mount --pid --fork --kill-child true 2>/dev/null ||
        skip "namespaces are forbidden here"
    setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount --net --ipc --uts --cgroup \
        --propagation private "$here/boot.sh" "$machine_directory" "$sources" \
        >"$machine_directory.log" 2>&1 </dev/null &
    machine_keeper=$!
    until_true 10 machine_find || machine_failed
    until_true 20 machine_is_up || machine_failed
    rm -f "$machine_directory.log"
}

# The only child of unshare(1), once it is systemd.
machine_find()
{
    machine=$(cat "/proc/$machine_keeper/task/$machine_keeper/children")
    machine=${machine% }
    [ -n "$machine" ] && [ "$(cat "/proc/$machine/comm")" = systemd ]
}

machine_failed()
{
    echo "not ok 1 - systemd starts in namespaces of its own"
    sed 's/^/# /' "$machine_directory.log"
    rm -f "$machine_directory.log"
    exit 1
}

# Installs lendis inside, with its user and units, and a Redis that listens on TCP and on
# /run/redis.sock.
machine_install()
{
    inside make -s -C "$sources" install NO_DEPS=1 PREFIX=/usr >/dev/null &&
        inside systemd-sysusers &&
        inside systemctl daemon-reload &&
        start_redis && return
    echo "not ok 1 - lendis and Redis are installed in the machine"
    exit 1
}

start_redis()
{
    inside systemd-run --quiet --unit=test-redis \
        redis-server --port 6379 --unixsocket /run/redis.sock \
        --unixsocketperm 777 --save '' --dir /run &&
        until_true 10 inside redis-cli ping
}

# configure LINE...: the file /etc/lendis/lendis.conf.
configure()
{
    printf '%s\n' "$@" | inside sh -c 'mkdir -p /etc/lendis && cat >/etc/lendis/lendis.conf'
}

# drop_in UNIT LINE...: replaces the unit's drop-in of the tests.
drop_in()
{
    local folder=/etc/systemd/system/$1.d
    shift
    printf '%s\n' "$@" | inside sh -c "mkdir -p $folder && cat >$folder/test.conf"
    inside systemctl daemon-reload
}

# property UNIT NAME: its value.
property()
{
    inside systemctl show --value -p "$2" "$1"
}

# signal_broker SIGNAL: sends it to the broker, if there is one.
signal_broker()
{
    local pid
    pid=$(property lendis.service MainPID)
    [ "${pid:-0}" -gt 0 ] && inside kill -s "$1" "$pid"
}

# Of the load generator: the broker's pool main.
to_main=(--mode lendis --socket /run/lendis/lendis.sock --pool main --redis unix:///run/redis.sock)

# load NAME [OPTION]...: the load generator, or $load_program, with 200 workers (or --workers N),
# members of the group lendis, as the transient service NAME in the background; load_ended NAME
# waits for its end and prints its line of values.
load()
{
    local name=$1
    shift
    inside systemd-run --quiet --unit="$name" -p User=nobody -p SupplementaryGroups=lendis \
        -p LimitNOFILE=65536 -p StandardOutput="file:/run/$name.out" \
        -p StandardError="file:/run/$name.err" -p RemainAfterExit=yes \
        "${load_program:-$build/lendis-bench}" load "${to_main[@]}" \
        --workers 200 --think-us 2000 "$@" --json
}

load_ended()
{
    until_true 60 load_is_over "$1" || return 1
    inside cat "/run/$1.out"
}

load_is_over()
{
    [ "$(property "$1" SubState)" = exited ] || [ "$(property "$1" ActiveState)" = failed ]
}

# ---- the broker and its connections ----

main_pid()
{
    property lendis.service MainPID
}

# The connections of the pool as Redis numbers them.
connections()
{
    inside redis-cli client list | sed -n 's/^id=\([0-9]*\) .* name=lendis-main .*/\1/p' | sort -n
}

replaced_and_ready()
{
    [ "$(property lendis.service ActiveState)" = active ] && [ "$(main_pid)" != "$1" ] &&
        [ "$(main_pid)" != 0 ]
}

# gone_and_back COMMAND...: runs it and waits until another broker is ready.
gone_and_back()
{
    local before
    before=$(main_pid)
    "$@"
    until_true 20 replaced_and_ready "$before"
}

# field NAME: of the load generator's line of values.
field()
{
    sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p"
}

# served LINE LEAST: by the load generator's line no command failed, of more than so many.
served()
{
    grep -q '"errors": 0, "wrong": 0, "hung": 0' <<<"$1" && [ "$(field ops <<<"$1")" -gt "$2" ]
}

# said TEXT: in the journal, by the broker.
said()
{
    inside journalctl --no-pager -o cat -u lendis.service | grep -q "$1"
}
