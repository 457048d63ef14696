#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lendisd as process 1 of a container, alone and with --supervise: it reaps what is left to it. And
# the socket by which the broker below reports to --supervise: nobody else reaches it, and a
# supervisor that is stopped stops nobody.
#
# Environment: LENDIS_BUILD, the folder of the programs (build). As root, with unshare, nsenter,
# setpriv and python3.
set -u
cd "$(dirname "$0")/../../.." || exit 1
# shellcheck source=tests/support/fixture.sh
. tests/support/fixture.sh
[ "$(id -u)" -eq 0 ] || skip "not root"
fixture_begin init

children_in_state()
{
    ps -o stat= --ppid "$1" 2>/dev/null | grep -c "^$2"
}

fixture_start_redis
fixture_configure

# A process of the namespace leaves three to process 1 that end at once, and one that lasts.
leave_orphans()
{
    nsenter -t "$1" -p -m sh -c '(true & true & true & sleep 60 &)'
    until_true 10 orphaned "$1"
}

orphaned()
{
    ps -o args= --ppid "$1" | grep -q '^sleep 60'
}

for how in "" --supervise; do
    # shellcheck disable=SC2086 # an option or nothing
    unshare -pf --mount-proc "$build/lendisd" --config "$work/lendis.conf" $how \
        >"$work/lendisd.log" 2>&1 &
    outer=$!
    pids+=("$outer")
    until_true 20 lends
    ok "process 1 ${how:-alone}: lends"
    init=$(child_of "$outer")
    leave_orphans "$init"
    ok "process 1 ${how:-alone}: is given what others leave"
    kill "$(ps -o pid=,args= --ppid "$init" | awk '/sleep 60/ { print $1 }')"
    until_true 10 eval '! orphaned "$init"' &&
        until_true 10 eval '[ "$(children_in_state "$init" Z)" -eq 0 ]'
    ok "process 1 ${how:-alone}: reaps it"
    lends
    ok "process 1 ${how:-alone}: goes on"
    kill -TERM "$init"
    until_true 10 eval '! kill -0 "$init"'
    ok "process 1 ${how:-alone}: SIGTERM ends it"
    wait "$outer"
done

# ---- the socket of --supervise ----

notify_of()
{
    tr '\0' '\n' <"/proc/$(child_of "$1")/environ" | sed -n 's/^NOTIFY_SOCKET=//p'
}

"$build/lendisd" --supervise --config "$work/lendis.conf" >"$work/lendisd.log" 2>&1 &
parent=$!
pids+=("$parent")
until_true 20 lends
socket=$(notify_of "$parent")
[ -S "$socket" ] && [ "$(stat -c %a "$(dirname "$socket")")" = 700 ]
ok "the socket of --supervise is in a directory of its own"

# A liar says what keeps a broker that hangs from being replaced, and that there is nothing to keep.
cat >"$work/liar.py" <<'END'
import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setblocking(False)
until, sent = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < until:
    try:
        s.sendto(b"WATCHDOG=1\nREADY=1\nFDSTOREREMOVE=1\nFDNAME=catalog", sys.argv[1])
        sent += 1
    except BlockingIOError:
        if len(sys.argv) > 3:
            sys.exit(0)
    time.sleep(0.001 if len(sys.argv) > 3 else 0.1)
print(sent)
END
[ -e "$socket" ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -e "$socket"
ok "another user cannot reach it"
before=$(child_of "$parent")
python3 "$work/liar.py" "$socket" 30 >"$work/sent" &
liar=$!
pids+=("$liar")
kill -STOP "$before"
until_true 25 eval '[ -n "$(child_of "$parent")" ] && [ "$(child_of "$parent")" != "$before" ]'
ok "WATCHDOG=1 of a process that is not the broker keeps no broker that hangs"
kill "$liar"
until_true 20 lends
ok "the next one lends"

# Its queue is full, and it is stopped: the broker's own messages find no room for longer than the
# watchdog lets a broker be silent. When it goes on it does not take the broker for dead.
kill -STOP "$parent"
python3 "$work/liar.py" "$socket" 30 fill
ok "the queue of a supervisor that is stopped is full"
sleep 11
until_true 3 timeout 2 "$build/lendisctl" --socket "$work/lendis.sock" reconnect main
ok "a supervisor that is stopped does not stop the broker"
kill -CONT "$parent"
kill -TERM "$parent"
wait "$parent"
ok "SIGTERM ends both"
[ ! -e "$(dirname "$socket")" ]
ok "no socket is left"

# ---- a socket of a wrong type, from whoever activates ----

cat >"$work/activate.py" <<'END'
import os, socket, sys
family, kind, address = getattr(socket, sys.argv[1]), getattr(socket, sys.argv[2]), sys.argv[3]
s = socket.socket(family, kind)
s.bind(("127.0.0.1", 0) if family == socket.AF_INET else address)
if kind != socket.SOCK_DGRAM:
    s.listen()
fd = os.dup(s.fileno())
os.dup2(fd, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[4], ["lendisd", "--config", sys.argv[5]])
END

# refuses FAMILY TYPE TEXT...: says so of such a socket.
refuses()
{
    rm -f "$work/x"
    timeout 20 python3 "$work/activate.py" "$1" "$2" "$work/x" "$build/lendisd" \
        "$work/lendis.conf" >"$work/activated" 2>&1
    [ $? -eq 1 ] && grep "$2" "$work/activated" | grep "$1" | grep "$3" |
        grep -q 'wanted is a listening SOCK_SEQPACKET'
    ok "$1 $2 from socket activation: says what it is"
}
refuses AF_UNIX SOCK_STREAM "$work/x"
refuses AF_UNIX SOCK_DGRAM "$work/x, and does not listen"
refuses AF_INET SOCK_STREAM "127.0.0.1 port"
plan
