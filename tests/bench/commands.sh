#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The table of commands (make bench-commands): lendis_command() beside a hiredis connection per worker, over worker
# counts, think times, value sizes and a mix, and beside the proxies.
#
# From the environment:
#   BENCH_ROWS=200,think5,mix   only these rows (the names are below)
#   BENCH_TRANSPORTS=tcp,unix   (both)
#   BENCH_SECONDS=2 BENCH_ROUNDS=3
#   BENCH_SIZE=4                connections of the rows without think time
#   BENCH_TSV=FILE              appends every round's figures to FILE
#   BENCH_STRICT=1              a missed target is a failure
# Further ones in tests/bench/lib.sh. Exits 1 if there was an error or a wrong reply.
set -u

# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${BENCH_SECONDS:-2} rounds=${BENCH_ROUNDS:-3}
size=${BENCH_SIZE:-4}
rows=${BENCH_ROWS:-}
IFS=, read -ra transports <<<"${BENCH_TRANSPORTS:-tcp,unix}"

wanted()
{
    case ",$rows," in
    ,, | *,"$1",*) ;;
    *) return 1 ;;
    esac
}

# row NAME VARIANT...: on each transport; the load is what the variables say. Sets nothing.
row()
{
    local name=$1 transport variant list
    shift
    for transport in "${transports[@]}"; do
        list=
        for variant; do
            list=$list${list:+,}$variant:$transport
        done
        printf '\n[%s] %s, %s\n' "$name" "$transport" "$(describe_load)"
        run_cell "$name:$transport" "$list"
    done
}

# on_each NAME VARIANT FIGURE OPERATOR TARGET TEXT: expect, on each transport.
on_each()
{
    local transport

    for transport in "${transports[@]}"; do
        expect "[$1] $transport: $6" "$1:$transport" "$2:$transport" "$3" "$4" "$5"
    done
}

# Worker counts without think time. The target of each in issue terms: throughput over direct's.
workers_row()
{
    local count=$1 target=$2

    wanted "$count" || return 0
    workers=$count
    row "$count" direct "lendis:$size"
    on_each "$count" "lendis:$size" ops_per_s_ratio '>=' "$target" 'op/s, times direct'
    [ "$count" -ge 200 ] || return 0
    on_each "$count" "lendis:$size" p50_us_ratio '<=' 0.5 'p50, times direct'
    on_each "$count" "lendis:$size" p99_us_ratio '<=' 0.5 'p99, times direct'
    on_each "$count" "lendis:$size" cpu_us_per_op_ratio '<=' 1 'CPU per operation, times direct'
}

# One worker: a whole round of it depends on whether the scheduler puts it on Redis' processor or on another;
# alone.c changes sides every few milliseconds.
alone_row()
{
    local transport

    wanted 1 || return 0
    printf '\n[1] GET, 3-byte values, 1 worker, in turns of 200 commands\n'
    program alone
    for transport in "${transports[@]}"; do
        expect "[1] $transport: op/s, times direct" alone - "${transport}_lendis_ratio" '>=' 0.97
    done
}

# think_row NAME MICROSECONDS: one size of at most 16 has to do for all of them; 4, 8 and 16 are shown.
think_row()
{
    local each

    wanted "$1" || return 0
    workers=200 think=$2
    row "$1" direct lendis:4 lendis:8 lendis:16
    for each in 4 8 16; do
        on_each "$1" "lendis:$each" ops_per_s_ratio '>=' 1 "op/s, times direct, $each connections"
        on_each "$1" "lendis:$each" p50_us_ratio '<=' 1 "p50, times direct, $each connections"
        on_each "$1" "lendis:$each" p99_us_ratio '<=' 1 "p99, times direct, $each connections"
    done
    think=0
}

# value_row NAME BYTES PERCENT_SET
value_row()
{
    wanted "$1" || return 0
    workers=200 value=$2 mix=$3
    row "$1" direct "lendis:$size"
    on_each "$1" "lendis:$size" ops_per_s_ratio '>=' 1 'op/s, times direct'
    value=3 mix=0
}

# Commands and exclusive leases from one queue: what each gets, and the longest that one of each waited. With one order
# for both, nobody waits much longer than most do.
mixed_row()
{
    local transport variant figures each

    wanted mixed || return 0
    workers=200 leasers=50 hold=500
    row mixed "lendis:$size"
    for transport in "${transports[@]}"; do
        variant=lendis:$size:$transport figures=()
        for each in leases_per_s lease_p50_us lease_p99_us lease_max_us p50_us max_us; do
            figures+=("$(metric "mixed:$transport" "$variant" "$each")")
        done
        printf '  %-18s %.0f leases/s, waited p50 %.0f us, p99 %.0f us, at most %.0f us; commands p50 %.0f us, at most %.0f us\n' \
            "$transport" "${figures[@]}"
        awk -v OFS='\t' -v cell="mixed:$transport" -v variant="$variant" -v usual="${figures[1]}" -v lease="${figures[3]}" \
            -v command="${figures[5]}" 'BEGIN { if (usual > 0)
                print cell, variant, "starved", (lease + 0 > command + 0 ? lease : command) / usual }' >>"$bench_metrics"
    done
    leasers=0 hold=0
    on_each mixed "lendis:$size" ops_per_s '>=' 1000 'commands/s beside leases'
    on_each mixed "lendis:$size" leases_per_s '>=' 1000 'leases/s beside commands'
    on_each mixed "lendis:$size" starved '<=' 10 "worst wait of both kinds, times the leases' p50"
}

proxies_row()
{
    wanted proxies || return 0
    workers=200
    row proxies twemproxy haproxy direct "lendis:$size"
    on_each proxies "lendis:$size" ops_per_s_ratio '>=' 8 'op/s, times twemproxy'
}

bench_begin
describe_machine
alone_row
workers_row 2 0.97
workers_row 8 1
workers_row 50 2.5
workers_row 200 4
workers_row 500 5
think_row think1 1000
think_row think5 5000
think_row think20 20000
value_row 64B 64 0
value_row 1KiB 1024 0
value_row 16KiB 16384 0
value_row mix 3 10
mixed_row
proxies_row
[ -z "${BENCH_TSV:-}" ] || cat "$bench_rounds" >>"$BENCH_TSV"
if [ ! -s "$bench_checks" ]; then
    echo "no row is called ${rows//,/ or }" >&2
    exit 1
fi
show_checks || [ -z "${BENCH_STRICT:-}" ] || bench_bad=1
exit "$bench_bad"
