# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the drivers of the load engine share: private servers, interleaved rounds, tables, targets. To be sourced by
# bash, from any directory. Nothing outlives the driver: whatever it starts dies with it (PR_SET_PDEATHSIG), and its
# directory goes too.
#
# A *variant* is what is compared: MODE[:SIZE][:TRANSPORT][@BUILD], for example
#
#   direct:tcp          a hiredis connection per worker
#   lendis:4:tcp        lendis_command() on a pool of 4
#   lease:16:unix       a lease for each command, 16 connections, Redis over its Unix socket
#   acquire:16:tcp      the same, measuring the wait for the lease alone
#   exec:4:tcp          lendis_exec()
#   twemproxy:tcp       a connection per worker to a twemproxy, haproxy:tcp likewise
#   lendis:4:tcp@/tmp/b the lendisd and load engine of another build, to compare two
#
# A *cell* is a load (workers, think time, ...) with several variants, of which the first is what the others are
# compared with. Its rounds run interleaved, forwards and backwards in turn, so that a machine that drifts or is
# busy touches all variants alike; ratios are medians of the ratios of rounds that ran side by side.
#
# From the environment: LENDIS_BUILD; BENCH_KEEP=1 keeps the directory; BENCH_QUIET is explained below;
# BENCH_FIRST=1 lets the benchmark run before everything else on a busy machine;
# BENCH_BROKER_EXTRA and BENCH_POOL_EXTRA, lines for the configuration's sections ("key = value"); REDIS_SERVER,
# NUTCRACKER and HAPROXY, programs.

bench_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bench_root=$(cd "$bench_here/../.." && pwd)
bench_build=${LENDIS_BUILD:-build}
case $bench_build in /*) ;; *) bench_build=$bench_root/$bench_build ;; esac

# The load of a cell; drivers set these.
workers=200 think=0 think_kind=exponential seconds=2 ramp=0.3 value=3 mix=0 hold=0 rounds=3
# So many of the workers take leases, for `hold`, beside those that run commands.
leasers=0
# 1: processors are kept from idling, see load.c.
awake=0
# Empty, or how many processors others may keep busy: rounds wait for that, and are repeated when it did not last.
quiet=${BENCH_QUIET:-}

# ---- processes ----

die()
{
    echo "bench: $*" >&2
    exit 2
}

# spawn NAME COMMAND...: in the background, its output in NAME.log; sets `spawned`.
spawn()
{
    local name=$1
    shift
    setpriv --pdeathsig KILL "$@" >>"$bench_dir/$name.log" 2>&1 </dev/null &
    spawned=$!
}

# stop PID: SIGTERM, after two seconds SIGKILL; returns when it is gone.
stop()
{
    local tries

    kill -TERM "$1" 2>/dev/null
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.02
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    return 0
}

# until_ready PID WHAT COMMAND...: runs COMMAND until it succeeds, up to 10 s; false if PID ended.
until_ready()
{
    local pid=$1 what=$2 tries
    shift 2
    for ((tries = 0; tries < 500; tries++)); do
        "$@" >/dev/null 2>&1 && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.02
    done
    die "$what does not answer; see $bench_dir"
}

# On a machine that others use, as root: this session before all others (sched(7), "The autogroup feature"), for as
# long as the benchmark runs. Far better than nothing, though not the same as a quiet machine.
go_first()
{
    [ -n "${BENCH_FIRST:-}" ] || return 0
    bench_nice=$(sed -n 's/.* nice //p' /proc/self/autogroup 2>/dev/null)
    if ! { [ -n "$bench_nice" ] && echo -20 >/proc/self/autogroup; } 2>/dev/null; then
        echo "bench: BENCH_FIRST needs root and a kernel with autogroups" >&2
        bench_nice=
    fi
}

bench_end()
{
    local status=$?

    trap - EXIT
    [ -z "${bench_nice:-}" ] || echo "$bench_nice" >/proc/self/autogroup
    [ -z "${proxy_pid:-}" ] || stop "$proxy_pid"
    [ -z "${broker_pid:-}" ] || stop "$broker_pid"
    [ -z "${redis_pid:-}" ] || stop "$redis_pid"
    if [ -n "${BENCH_KEEP:-}" ] || [ "$status" -eq 2 ]; then
        echo "bench: logs and results are in $bench_dir" >&2
    else
        rm -rf "$bench_dir"
    fi
    exit "$status"
}

# Makes the directory and starts Redis. Call it once, first.
bench_begin()
{
    bench_dir=$(mktemp -d "${TMPDIR:-/tmp}/lendis-bench.XXXXXX") || exit 2
    trap bench_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    bench_rounds=$bench_dir/rounds.tsv
    bench_metrics=$bench_dir/metrics.tsv
    bench_checks=$bench_dir/checks.tsv
    touch "$bench_rounds" "$bench_metrics" "$bench_checks"
    [ -x "$bench_build/bench/load" ] || die "$bench_build/bench/load is missing: make bench-programs"
    go_first
    start_redis
}

port_is_free()
{
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Sets `port`: nobody listens on it now, and it is below the range of ports of outgoing connections.
choose_port()
{
    local tries

    for ((tries = 0; tries < 100; tries++)); do
        port=$((20000 + RANDOM % 12000))
        port_is_free "$port" && return
    done
    die "no free port"
}

start_redis()
{
    local tries

    for ((tries = 0; tries < 5; tries++)); do
        choose_port
        redis_port=$port redis_socket=$bench_dir/redis.sock
        spawn redis "${REDIS_SERVER:-redis-server}" --bind 127.0.0.1 --port "$port" --unixsocket "$redis_socket" \
            --unixsocketperm 700 --save '' --appendonly no --dir "$bench_dir" --daemonize no
        redis_pid=$spawned
        until_ready "$redis_pid" redis-server redis-cli -s "$redis_socket" ping && return
    done
    die "redis-server does not start; see $bench_dir"
}

# redis_url TRANSPORT
redis_url()
{
    if [ "$1" = unix ]; then
        echo "unix://$redis_socket"
    else
        echo "redis://127.0.0.1:$redis_port"
    fi
}

# start_lendisd SIZE TRANSPORT BUILD
start_lendisd()
{
    broker_socket=$bench_dir/lendisd.sock
    rm -f "$broker_socket"
    printf '[broker]\nsocket = %s\nmax_workers = 1100\n%s\n[pool bench]\nredis = %s\nsize = %s\nmin_idle = %s\n%s\n' \
        "$broker_socket" "${BENCH_BROKER_EXTRA:-}" "$(redis_url "$2")" "$1" "$1" "${BENCH_POOL_EXTRA:-}" \
        >"$bench_dir/lendis.conf"
    spawn lendisd "$3/lendisd" --config "$bench_dir/lendis.conf"
    broker_pid=$spawned
    until_ready "$broker_pid" lendisd test -S "$broker_socket" ||
        die "lendisd does not start: $(tail -n 3 "$bench_dir/lendisd.log")"
}

# start_twemproxy TRANSPORT, start_haproxy TRANSPORT: between workers and Redis on the same transport. Settings are
# the packages' defaults. Set `proxy_url` and `proxy_pid`.
start_twemproxy()
{
    local listen server stats

    if [ "$1" = unix ]; then
        listen="$bench_dir/twemproxy.sock 0600" server="$redis_socket:1 redis"
        proxy_url=unix://$bench_dir/twemproxy.sock
        rm -f "$bench_dir/twemproxy.sock"
    else
        choose_port
        listen=127.0.0.1:$port server="127.0.0.1:$redis_port:1"
        proxy_url=redis://127.0.0.1:$port
    fi
    printf 'bench:\n  listen: %s\n  redis: true\n  preconnect: true\n  servers:\n   - %s\n' "$listen" "$server" \
        >"$bench_dir/twemproxy.yml"
    choose_port
    stats=$port
    spawn twemproxy "${NUTCRACKER:-nutcracker}" -c "$bench_dir/twemproxy.yml" -a 127.0.0.1 -s "$stats"
    proxy_pid=$spawned
}

start_haproxy()
{
    local listen server

    if [ "$1" = unix ]; then
        listen=unix@$bench_dir/haproxy.sock server=unix@$redis_socket
        proxy_url=unix://$bench_dir/haproxy.sock
        rm -f "$bench_dir/haproxy.sock"
    else
        choose_port
        listen=127.0.0.1:$port server=127.0.0.1:$redis_port
        proxy_url=redis://127.0.0.1:$port
    fi
    cat >"$bench_dir/haproxy.cfg" <<END
global
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen bench
    bind $listen
    server redis $server
END
    spawn haproxy "${HAPROXY:-haproxy}" -db -f "$bench_dir/haproxy.cfg"
    proxy_pid=$spawned
}

# ---- rounds ----

# parse_variant VARIANT: sets v_mode, v_size, v_transport, v_build.
parse_variant()
{
    local text=$1 part IFS=:

    v_mode='' v_size=4 v_transport=tcp v_build=$bench_build
    case $text in *@*) v_build=${text#*@} text=${text%%@*} ;; esac
    for part in $text; do
        case $part in
        tcp | unix) v_transport=$part ;;
        [0-9]*) v_size=$part ;;
        direct | lendis | exec | lease | acquire | twemproxy | haproxy) v_mode=$part ;;
        *) die "variant $1: what is $part?" ;;
        esac
    done
    [ -n "$v_mode" ] || die "variant $1 has no mode"
    [ -x "$v_build/bench/load" ] || die "$v_build/bench/load is missing"
}

# busy_cpus: how many processors were busy during the last 0.2 s.
busy_cpus()
{
    {
        head -n 1 /proc/stat
        sleep 0.2
        head -n 1 /proc/stat
    } | awk '{ busy[NR] = $2 + $3 + $4 + $7 + $8 } END { print (busy[2] - busy[1]) / 20 }'
}

# On a machine that others use: waits until they keep less than $quiet processors busy, for up to 20 s.
await_quiet()
{
    local tries

    [ -n "$quiet" ] || return 0
    for ((tries = 0; tries < 100; tries++)); do
        [ "$(awk -v busy="$(busy_cpus)" -v quiet="$quiet" 'BEGIN { print busy < quiet }')" = 0 ] || return 0
    done
}

# was_quiet: others were during the last round, too, or it does not matter.
was_quiet()
{
    [ -z "$quiet" ] || awk -v quiet="$quiet" 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        NR == 2 { exit $column["other_load"] > quiet }' "$bench_dir/round"
}

# run_round CELL VARIANT ROUND: one invocation of the load engine; its line goes to $bench_rounds.
run_round()
{
    local cell=$1 variant=$2 round=$3 status tries
    local arguments=(--redis "unix://$redis_socket" --workers "$workers" --think-us "$think" --think-kind "$think_kind"
        --seconds "$seconds" --ramp "$ramp" --value "$value" --mix "$mix" --hold-us "$hold" --seed "$round"
        --pid "redis=$redis_pid" --tsv)

    [ "$awake" = 0 ] || arguments+=(--awake)
    [ "$leasers" = 0 ] || arguments+=(--leasers "$leasers")
    parse_variant "$variant"
    broker_pid='' proxy_pid=''
    case $v_mode in
    direct)
        arguments+=(--mode direct --url "$(redis_url "$v_transport")")
        ;;
    twemproxy | haproxy)
        "start_$v_mode" "$v_transport"
        arguments+=(--mode direct --url "$proxy_url" --pid "proxy=$proxy_pid")
        ;;
    *)
        start_lendisd "$v_size" "$v_transport" "$v_build"
        arguments+=(--mode "$v_mode" --socket "$broker_socket" --pool bench --pid "broker=$broker_pid")
        ;;
    esac
    for ((tries = 0; tries < 4; tries++)); do
        await_quiet
        setpriv --pdeathsig KILL timeout --foreground -k 5 "$bench_limit" setpriv --pdeathsig KILL \
            "$v_build/bench/load" "${arguments[@]}" >"$bench_dir/round" 2>"$bench_dir/load.log"
        status=$?
        if [ "$status" -ne 0 ] || was_quiet; then break; fi
    done
    if [ -s "$bench_dir/load.log" ]; then
        sed "s|^|$variant: |" "$bench_dir/load.log" >&2
    fi
    [ -z "$proxy_pid" ] || stop "$proxy_pid"
    [ -z "$broker_pid" ] || stop "$broker_pid"
    broker_pid='' proxy_pid=''
    [ "$status" -le 1 ] || die "a round of $variant did not run (status $status)"
    [ "$status" -eq 0 ] || bench_bad=1
    awk -v cell="$cell" -v variant="$variant" -v round="$round" -v OFS='\t' '
        NR == 1 { print "#cell", "variant", "round", $0 } NR == 2 { print cell, variant, round, $0 }
    ' "$bench_dir/round" >>"$bench_rounds"
}

# A round that takes longer than this does not end by itself.
bench_limit=120
# Set when a round had errors, wrong replies or workers that hung. For the drivers.
# shellcheck disable=SC2034
bench_bad=0

# run_cell CELL VARIANT,VARIANT,...: all rounds, then the table; its figures go to $bench_metrics.
run_cell()
{
    local cell=$1 round i order variants

    IFS=, read -ra variants <<<"$2"
    for ((round = 1; round <= rounds; round++)); do
        for ((i = 0; i < ${#variants[@]}; i++)); do
            order=$i
            ((round % 2)) || order=$((${#variants[@]} - 1 - i))
            [ ! -t 2 ] || printf '\r%s: round %d of %d, %-24s' "$cell" "$round" "$rounds" "${variants[order]}" >&2
            run_round "$cell" "${variants[order]}" "$round"
        done
    done
    [ ! -t 2 ] || printf '\r%-79s\r' '' >&2
    awk -v cell="$cell" -v variants="$2" -v metrics="$bench_metrics" -f "$bench_here/table.awk" "$bench_rounds"
}

# describe_load: the cell's load in words.
describe_load()
{
    local text

    if [ "$mix" = 0 ]; then text=GET; else text="$((100 - mix))/$mix GET/SET"; fi
    text="$text, $value-byte values, $workers worker"
    [ "$workers" = 1 ] || text=${text}s
    if [ "$think" = 0 ]; then
        text="$text, no think time"
    else
        text="$text, $think us think time"
    fi
    [ "$leasers" = 0 ] || text="$text, of which $leasers take leases"
    [ "$hold" = 0 ] || text="$text, leases held $hold us"
    [ "$awake" = 0 ] || text="$text, processors kept awake"
    echo "$text; $rounds rounds of $seconds s"
}

# ---- figures and targets ----

# program NAME: runs a benchmark that starts its own servers; its figures become metrics "NAME - ...".
program()
{
    "$bench_build/bench/$1" --tsv "$bench_dir/$1.tsv" || die "$1 failed"
    awk -v OFS='\t' -v cell="$1" '{ print cell, "-", $1, $2 }' "$bench_dir/$1.tsv" >>"$bench_metrics"
}

# metric CELL VARIANT NAME: a figure of a table, or nothing.
metric()
{
    awk -F '\t' -v cell="$1" -v variant="$2" -v name="$3" \
        '$1 == cell && $2 == variant && $3 == name { value = $4 } END { print value }' "$bench_metrics"
}

# expect TEXT CELL VARIANT NAME OPERATOR TARGET [UNIT]: notes whether a figure is <= or >= its target.
expect()
{
    local text=$1 value
    value=$(metric "$2" "$3" "$4")
    awk -v text="$text" -v value="$value" -v operator="$5" -v target="$6" -v unit="${7:-}" 'BEGIN {
        if (value == "") word = "NONE"
        else if (operator == "<=" ? value + 0 <= target + 0 : value + 0 >= target + 0) word = "PASS"
        else word = "MISS"
        printf "%s\t%s\t%s\t%s %s\t%s\n", word, text, value, operator, target, unit }' >>"$bench_checks"
}

# show_checks: all that was expected; false if anything was missed.
show_checks()
{
    echo
    awk -F '\t' '{ figure = $3 == "" ? "-" : sprintf($3 >= 1000 ? "%.0f" : "%.4g", $3)
        printf "%s  %-66s %10s   target %s %s\n", $1, $2, figure, $4, $5
        if ($1 != "PASS") missed++ }
        END { printf "%d of %d targets met\n", NR - missed, NR; exit missed > 0 }' \
        "$bench_checks"
}

# describe_machine: what the figures were measured on.
describe_machine()
{
    local cpu commit

    cpu=$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)
    commit=$(git -C "$bench_root" describe --always --dirty 2>/dev/null || echo unknown)
    echo "lendis $commit, $(date -u +%Y-%m-%d); $cpu, $(nproc) cores; Linux $(uname -r);" \
        "redis $("${REDIS_SERVER:-redis-server}" --version | sed 's/.*v=\([^ ]*\).*/\1/'); load average $(
            cut -d ' ' -f 1 /proc/loadavg
        ) at the start"
}

# in_us TEXT: 5ms, 500us, 1s or plain microseconds, in microseconds. in_bytes TEXT: 1KiB, 2MiB or plain bytes.
in_us()
{
    case $1 in
    *us) echo "${1%us}" ;;
    *ms) echo "$((${1%ms} * 1000))" ;;
    *s) echo "$((${1%s} * 1000000))" ;;
    *) echo "$1" ;;
    esac
}

in_bytes()
{
    case $1 in
    *KiB) echo "$((${1%KiB} * 1024))" ;;
    *MiB) echo "$((${1%MiB} * 1048576))" ;;
    *B) echo "${1%B}" ;;
    *) echo "$1" ;;
    esac
}
