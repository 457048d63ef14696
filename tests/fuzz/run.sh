#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs libFuzzer's programs one after the other, for FUZZ_SECONDS (60) in all: from the checked-in
# corpus tests/fuzz/corpus/NAME and from what earlier runs found, which is kept in
# FOLDER/corpus/NAME. One line for each: how often the target was executed, and how many of the
# program's edges were reached (those of code that it does not use count as well). As the very last
# line "N passed, N failed, N skipped". Exits 1 if any found something.
#
# Usage: tests/fuzz/run.sh FOLDER NAME ...
#   FOLDER   where make fuzz builds: its programs are FOLDER/tests/fuzz/fuzz_NAME
#
# What was found is left in FOLDER/crash-NAME-*. Repair it, and add the file to
# tests/fuzz/corpus/NAME.
set -u
cd "$(dirname "$0")/../.."

folder=$1
shift
share=$((${FUZZ_SECONDS:-60} / $#))
[ "$share" -gt 0 ] || share=1
passed=0 failed=0

# run_one NAME
run_one()
{
    local name=$1 program=$folder/tests/fuzz/fuzz_$1 found=$folder/corpus/$1 log=$folder/$1.log
    local status=0 runs reached edges dictionary=()

    mkdir -p "$found"
    [ ! -e "tests/fuzz/$name.dict" ] || dictionary=("-dict=tests/fuzz/$name.dict")
    # What hangs or grows is a fault as well.
    "$program" -max_total_time="$share" -timeout=20 -rss_limit_mb=2048 -max_len=2048 \
        -print_final_stats=1 -artifact_prefix="$folder/crash-$name-" "${dictionary[@]}" \
        "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1 </dev/null || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    edges=$(sed -n 's/^INFO: Loaded .* (\([0-9]*\) inline 8-bit counters).*/\1/p' "$log" |
        head -n 1)
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok      fuzz %s: %s executions in %s s, %s of %s edges\n' "$name" "$runs" "$share" \
            "$reached" "$edges"
        return
    fi
    failed=$((failed + 1))
    printf 'FAIL    fuzz %s: exit status %s after %s executions\n' "$name" "$status" "${runs:-0}"
    grep -vE '^#[0-9]|NEW_FUNC|^"' "$log" | tail -n 60 | sed 's/^/    | /'
    echo "    repeat with: $program $(ls -t "$folder/crash-$name-"* 2>/dev/null | head -n 1)"
}

for name; do
    run_one "$name"
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
