#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The benchmark of the foundation (make bench), in under three minutes: what a lease costs, one worker beside a direct
# connection, how 200 workers wait for 16 connections, and memory; each with its target.
#
# From the environment: BENCH_SECONDS=1.5 and BENCH_ROUNDS=5, of the rounds; BENCH_STRICT=1, a missed target is a
# failure. Further ones in tests/bench/lib.sh. Exits 1 if there was an error or a wrong reply.
set -u

# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${BENCH_SECONDS:-1.5} rounds=${BENCH_ROUNDS:-5} ramp=0.2

cell()
{
    printf '\n%s\n' "$(describe_load)"
    run_cell "$1" "$2"
}

bench_begin
describe_machine

printf '\nA lease of an idle connection\n'
program lease
expect 'acquire + release, ns' lease - lease_median_ns '<=' 60 ns
expect 'system calls in 100,000 acquire + release' lease - lease_syscalls '<=' 0

printf '\nOne worker: GET, 3-byte values, 60,000 commands each way in slices of 200\n'
program alone
for transport in tcp unix; do
    expect "1 worker, GET, $transport: op/s, times direct" alone - "${transport}_lendis_ratio" '>=' 0.97
done

workers=200
cell waits acquire:16:tcp,acquire:16:unix
for transport in tcp unix; do
    expect "200 workers, 16 connections, $transport: p99 wait / median wait" waits "acquire:16:$transport" wait_ratio \
        '<=' 2
    expect "200 workers, 16 connections, $transport: least / most served worker" waits "acquire:16:$transport" \
        fairness_min '>=' 0.5
done

printf '\nMemory, of 50 workers forked from one master\n'
program memory
expect 'shared memory per connection' memory - shared_connection '<=' 128 bytes
expect 'shared memory per worker' memory - shared_worker '<=' 1024 bytes
expect 'shared memory per pool, fixed part' memory - shared_fixed '<=' 65535 bytes
expect 'private memory that attaching adds to a worker' memory - private_attached '<=' 8192 bytes

show_checks || [ -z "${BENCH_STRICT:-}" ] || bench_bad=1
exit "$bench_bad"
