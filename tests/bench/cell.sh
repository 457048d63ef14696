#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Measures one cell: a load, and the variants to compare under it. For tuning: the default takes about 15 s.
#
# Usage: tests/bench/cell.sh VARIANT,VARIANT,... [KEY=VALUE]...
#   workers=200 think=0 think_kind=exponential seconds=2 ramp=0.3 rounds=3 value=3 mix=0 hold=0 leasers=0
#   awake=1 keeps processors from idling, which makes rounds of few workers repeatable on virtual machines
#   quiet=0.3 repeats rounds during which others kept more processors busy than that
#   think and hold take us, ms, s; value takes KiB, MiB; mix is the percentage of SET
#   tsv=FILE appends every round's figures to FILE
# For example:
#   tests/bench/cell.sh direct:tcp,lendis:4:tcp workers=200
#   tests/bench/cell.sh lendis:4:tcp@/tmp/before/build,lendis:4:tcp workers=50 think=1ms rounds=5
# Variants and environment: tests/bench/lib.sh. Exits 1 if there was an error or a wrong reply.
set -u

# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

if [ $# -lt 1 ] || [ "$1" = --help ]; then
    sed -n '3,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
fi
compared=$1
tsv=
shift
for argument; do
    case $argument in
    workers=* | think_kind=* | seconds=* | ramp=* | rounds=* | quiet=* | awake=* | mix=* | leasers=* | tsv=*)
        declare "${argument%%=*}=${argument#*=}"
        ;;
    think=*) think=$(in_us "${argument#*=}") ;;
    hold=*) hold=$(in_us "${argument#*=}") ;;
    value=*) value=$(in_bytes "${argument#*=}") ;;
    *) die "what is $argument?" ;;
    esac
done

bench_begin
describe_machine
describe_load
run_cell cell "$compared"
[ -z "$tsv" ] || cat "$bench_rounds" >>"$tsv"
exit "$bench_bad"
