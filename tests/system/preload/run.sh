#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lendis-run: what it sets, what it says of programs, and the drop-in that it writes.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -u

cd "$(dirname "$0")/../../.."
build=$(realpath "${LENDIS_BUILD:-build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-run.XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
cases=0
bad=0

# ok TEXT: the command before it succeeded.
ok()
{
    local status=$?

    cases=$((cases + 1))
    if [ "$status" -eq 0 ]; then
        echo "ok $cases - $1"
    else
        echo "not ok $cases - $1"
        bad=$((bad + 1))
    fi
}

# until_true SECONDS COMMAND...
until_true()
{
    local until=$((SECONDS + $1))

    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.02
    done
}

run=$build/lendis-run
port=$((20000 + RANDOM % 10000))
redis-server --port "$port" --save '' --dir "$work" >"$work/redis.log" 2>&1 &
pids+=($!)
printf '%s\n' '[broker]' "socket = $work/lendis.sock" '[pool main]' \
    "redis = redis://127.0.0.1:$port" >"$work/lendis.conf"
# First: a broker that finds nobody there says that Redis is down, and programs then rightly do
# without it.
until_true 20 redis-cli -p "$port" ping
ok "a server"
"$build/lendisd" --config "$work/lendis.conf" >"$work/broker.log" 2>&1 &
pids+=($!)
until_true 20 "$build/lendisctl" --socket "$work/lendis.sock" reconnect
ok "a broker"

leases()
{
    "$build/lendisctl" --socket "$work/lendis.sock" metrics |
        awk '/^lendis_leases_total/ { sum += $2 } END { print sum + 0 }'
}

# ---- running ----

before=$(leases)
[ "$("$run" --socket "$work/lendis.sock" redis-cli -p "$port" set key value)" = OK ]
ok "redis-cli"
[ "$("$run" --socket "$work/lendis.sock" redis-cli -p "$port" get key)" = value ]
ok "redis-cli again"
until_true 10 eval '[ "$(leases)" -ge $((before + 2)) ]'
ok "by leases of the pool"
LENDIS_SOCKET=$work/lendis.sock "$run" --explain redis-cli -p "$port" ping 2>"$work/said" |
    grep -qx PONG
ok "with the socket in the environment"
grep -q ' 1 connections that were virtual$' "$work/said"
ok "--explain says what was virtual"
"$run" sh -c 'exit 7'
[ $? -eq 7 ]
ok "the program's exit status"
"$run" "$work/nothing" 2>"$work/said"
[ $? -eq 127 ] && grep -q nothing "$work/said"
ok "a program that is not there"
[ "$("$run" sh -c 'echo "$1 $#"' sh --check -s)" = "--check 2" ]
ok "options behind the command are the command's"
LD_PRELOAD=/nowhere/other.so "$run" sh -c 'echo "$LD_PRELOAD"' 2>/dev/null |
    grep -q 'liblendis-preload.so:/nowhere/other.so'
ok "what was to be preloaded before stays"
[ -z "$(env -u POSIXLY_CORRECT "$run" sh -c 'echo "${POSIXLY_CORRECT:-}"')" ]
ok "nothing else is in the environment"
"$run" --wait 2s --strict sh -c 'echo "$LENDIS_PRELOAD_WAIT $LENDIS_PRELOAD_STRICT"' |
    grep -qx '2000 1'
ok "--wait and --strict"

for wrong in "--wait 5" "--wait 61s" "--wait x" "--socket here" "--write true" "--install a b" "" \
    "--nothing"; do
    # shellcheck disable=SC2086
    "$run" $wrong >"$work/said" 2>&1
    [ $? -eq 64 ]
    ok "refused: lendis-run $wrong"
done

# ---- what the operator sees ----

# preload FIELD: of the programs called redis-cli that are running.
preload()
{
    "$build/lendisctl" --socket "$work/lendis.sock" --json show preload |
        python3 -c 'import json, sys
rows = [row for row in json.load(sys.stdin)["preload"] if row["program"] == "redis-cli"]
print(rows[0][sys.argv[1]] if rows else 0)' "$1"
}

is()
{
    [ "$(preload "$1")" = "$2" ]
}

mkfifo "$work/commands"
exec 5<>"$work/commands"
"$run" --socket "$work/lendis.sock" redis-cli -p "$port" <"$work/commands" >"$work/replies" 5>&- &
pids+=($!)
echo 'set key other' >&5
until_true 20 grep -q OK "$work/replies"
ok "a program that goes on"
until_true 20 is virtual 1 && is processes 1 && is pinned 0 && is real 0
ok "show preload: a virtual connection, nothing pinned, none real"
before=$(preload requests)
echo 'get key' >&5
until_true 20 is requests $((before + 1))
ok "show preload: requests"
echo 'client setname joe' >&5
until_true 20 is answered 1
ok "show preload: what was answered without the server"
printf '%s\n' 'watch key' multi exec >&5
until_true 20 is pinned_by 'transaction 1'
ok "show preload: pinned by a transaction"
echo 'client id' >&5
until_true 20 is real_because 'lasting 1' && is virtual 0
ok "show preload: real, and why"
"$build/lendisctl" --socket "$work/lendis.sock" metrics |
    grep -q '^lendis_real_lasting_total{pool="main"} 1'
ok "and so do the metrics"
"$build/lendisctl" --socket "$work/lendis.sock" show preload | grep -q 'redis-cli.*lasting 1'
ok "for people, too"
exec 5>&-
until_true 20 is processes 0
"$build/lendisctl" --socket "$work/lendis.sock" --json show preload |
    grep -q '"real_because": *"lasting 1"'
ok "and what it was stays counted when it has ended"

# ---- what programs are ----

"$run" --check redis-cli >"$work/said"
ok "redis-cli can be helped"
grep -q 'binds itself: .*connect' "$work/said"
ok "and what it binds is told"
printf '#!/usr/bin/env redis-cli\n' >"$work/script"
chmod +x "$work/script"
"$run" --check "$work/script" >"$work/said" && grep -q 'is a script for redis-cli' "$work/said"
ok "a script"
printf 'int main(void) { return 0; }\n' >"$work/program.c"
if "${CC:-cc}" -static -o "$work/static" "$work/program.c" 2>/dev/null; then
    ! "$run" --check "$work/static" >"$work/said" && grep -q statically "$work/said"
    ok "a static program"
fi
"${CC:-cc}" -o "$work/plain" "$work/program.c"
"$run" --check "$work/plain" >/dev/null
ok "a plain program"
printf '%s\n' '#include <stdio.h>' '#include <unistd.h>' \
    'int main(void) { char c; return read(0, &c, 1) < 0 || !fdopen(0, "r"); }' >"$work/stdio.c"
"${CC:-cc}" -D_GNU_SOURCE -o "$work/stdio" "$work/stdio.c"
"$run" --check "$work/stdio" >"$work/said" && grep -q 'binds itself: .*read' "$work/said" &&
    grep -q 'becomes a real one: fdopen$' "$work/said"
ok "and what is not followed in one"
chmod u+s "$work/plain"
! "$run" --check "$work/plain" >"$work/said" && grep -q setuid "$work/said"
ok "a setuid program"
echo nonsense >"$work/nonsense"
chmod +x "$work/nonsense"
for what in "$work/nonsense" "$work/nowhere" /; do
    ! "$run" --check "$what" >/dev/null
    ok "cannot be helped: $what"
done
head -c 100 "$work/plain" >"$work/cut"
chmod +x "$work/cut"
"$run" --check "$work/cut" >/dev/null
[ $? -eq 1 ]
ok "a program that is cut off"

# ---- units ----

"$run" --socket /run/lendis/lendis.sock --install some >"$work/said"
grep -qx "Environment=LD_PRELOAD=$build/liblendis-preload.so" "$work/said" &&
    grep -qx Environment=LENDIS_SOCKET=/run/lendis/lendis.sock "$work/said" &&
    grep -qx SupplementaryGroups=lendis "$work/said"
ok "a drop-in"
if command -v systemd-analyze >/dev/null; then
    mkdir "$work/units" "$work/units/some.service.d"
    printf '[Service]\nExecStart=/bin/true\n' >"$work/units/some.service"
    cp "$work/said" "$work/units/some.service.d/lendis.conf"
    ! systemd-analyze verify --man=no "$work/units/some.service" 2>&1 | grep -i 'lendis.conf'
    ok "that systemd understands"
fi

echo "1..$cases"
[ "$bad" -eq 0 ]
