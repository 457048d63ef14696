#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual and the programs must agree: every key that lendisd --list-keys knows is in
# lendis.conf(5) and in the example configuration, with the same default, and no other (both are made
# from that list: deploy/generate.sh); every function of the public headers is in liblendis(3); every
# command, option and JSON field of lendisctl is in lendisctl(1); every option of lendisd in
# lendisd(8).
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -eu

cd "$(dirname "$0")/../../.."
build=${LENDIS_BUILD:-build}
man=$build/man # with what the programs say of themselves filled in
work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-manual.XXXXXX")
trap 'rm -rf "$work"' EXIT
problems=0

complain()
{
    echo "manual.sh: $*" >&2
    problems=$((problems + 1))
}

# compare WHAT FILE_A NAME_A FILE_B NAME_B: both have one name per line.
compare()
{
    local name

    LC_ALL=C sort -u "$2" >"$work/a"
    LC_ALL=C sort -u "$4" >"$work/b"
    [ -s "$work/a" ] && [ -s "$work/b" ] || complain "found no $1 in $3 or $5"
    while read -r name; do
        complain "$1 $name is in $3 and not in $5"
    done < <(LC_ALL=C comm -23 "$work/a" "$work/b")
    while read -r name; do
        complain "$1 $name is in $5 and not in $3"
    done < <(LC_ALL=C comm -13 "$work/a" "$work/b")
}

# ---- the configuration ----

# section.key<TAB>default ("-": none) from each of the three.
for file in "$build/lendis.conf" "$build/lendisd" "$build/lendisctl" "$man/lendis.conf.5.scd"; do
    [ -e "$file" ] || { echo "manual.sh: there is no $file" >&2; exit 1; }
done
"$build/lendisd" --list-keys | awk -F'\t' '{ sub(/ .*/, "", $1); print $1 "." $2 "\t" ($4 == "" ? "-" : $4) }' |
    LC_ALL=C sort >"$work/keys.listed"
awk '/^# \[BROKER\]/ { section = "broker" } /^# \[POOL/ { section = "pool" } /^# [A-Z]/ { section = "" }
    section && match($0, /^\*[a-z_]+\* \(/) {
        key = $1; gsub(/\*/, "", key)
        value = "-"
        if (match($0, /default [_*]?[^ )]+\)/)) {
            value = substr($0, RSTART + 8, RLENGTH - 9); gsub(/^[_*]|[_*]$/, "", value)
        }
        print section "." key "\t" value
    }' "$man/lendis.conf.5.scd" | LC_ALL=C sort >"$work/keys.manual"
cut -f1 "$work/keys.listed" >"$work/names.listed"
cut -f1 "$work/keys.manual" >"$work/names.manual"
compare key "$work/names.listed" "lendisd --list-keys" "$work/names.manual" "lendis.conf(5)"
LC_ALL=C join -t "$(printf '\t')" "$work/keys.listed" "$work/keys.manual" |
    awk -F'\t' '$2 != $3 { print $1 ": default " $2 " in lendisd, " $3 " in lendis.conf(5)" }' >"$work/defaults"
while read -r line; do
    complain "$line"
done <"$work/defaults"

# In the example a key is set or commented out: "key = value" or "#key = value".
awk '/^#? *\[broker\]/ { section = "broker" } /^#? *\[pool / { section = "pool" }
    section && match($0, /^#? ?[a-z_]+ *=/) { key = substr($0, 1, RLENGTH); gsub(/[# =]/, "", key); print section "." key }' \
    "$build/lendis.conf" >"$work/names.example"
compare key "$work/names.listed" "lendisd --list-keys" "$work/names.example" "the example"

# The example is a configuration, and what is commented out in it is the default: with that taken in, nothing changes.
defaults()
{
    "$build/lendisd" --config "$1" --print-config 2>&1
}
awk '/^\[pool main\]/ { on = 1 } /^# Programs with/ { on = 0 } /^\[broker\]/ { on = 1 }
    on && /^#[a-z_]+ = ./ { sub(/^#/, "") } { print }' "$build/lendis.conf" >"$work/uncommented.conf"
defaults "$build/lendis.conf" >"$work/a.conf" || complain "the example is refused: $(head -1 "$work/a.conf")"
defaults "$work/uncommented.conf" >"$work/b.conf" || complain "its defaults are refused: $(head -1 "$work/b.conf")"
cmp -s "$work/a.conf" "$work/b.conf" || complain "what is commented out in the example is not the default"
cmp -s "$build/lendis.conf" "$work/uncommented.conf" && complain "nothing is commented out in the example"

# A page whose marker cannot be filled is not built.
for marker in "@KEYS nowhere@" "@ZSH lendis-nothing@" "@NOTHING@"; do
    echo "$marker" >"$work/page"
    deploy/generate.sh "$build" "$work/page" >/dev/null 2>&1 && complain "generate.sh takes $marker for filled"
done

# ---- the library ----

sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' include/*.h | grep -oE '\blendis_[a-z_]+\(' | tr -d '(' >"$work/declared"
grep -oE '\*lendis_[a-z_]+\*\(' "$man/liblendis.3.scd" | tr -d '*(' >"$work/described"
compare function "$work/declared" "the headers" "$work/described" "liblendis(3)"
awk '/^# SYNOPSIS/ { on = 1 } /^# DESCRIPTION/ { on = 0 } on' "$man/liblendis.3.scd" |
    grep -oE '\*lendis_[a-z_]+\*\(' | tr -d '*(' >"$work/synopsis"
compare function "$work/declared" "the headers" "$work/synopsis" "the synopsis of liblendis(3)"
grep -ohE '\bLENDIS_(E_[A-Z]+|LAZY|REPLICA)\b' include/*.h | grep -v '_E_$' >"$work/declared"
grep -oE '\*LENDIS_(E_[A-Z]+|LAZY|REPLICA)\*' "$man/liblendis.3.scd" | tr -d '*' >"$work/described"
compare constant "$work/declared" "the headers" "$work/described" "liblendis(3)"

# ---- the programs ----

"$build/lendisctl" --list-commands | cut -f1 >"$work/commands"
awk '/^# COMMANDS/ { on = 1 } /^# OPTIONS/ { on = 0 } on' "$man/lendisctl.1.scd" | grep -oE '^\*[a-z ]+\*' | tr -d '*' \
    >"$work/described"
compare command "$work/commands" "lendisctl --list-commands" "$work/described" "lendisctl(1)"
"$build/lendisctl" --help | sed -n 's/^  \(show [a-z]*\|[a-z][a-z]*\) .*/\1/p' >"$work/described"
compare command "$work/commands" "lendisctl --list-commands" "$work/described" "lendisctl --help"
for program in lendisctl.1 lendisd.8 lendis-report.1 lendis-bench.1; do
    "$build/${program%.*}" --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+' >"$work/options"
    grep -E '^\*-' "$man/$program.scd" | grep -oE '\*--[a-z-]+\*' | tr -d '*' >"$work/described"
    compare option "$work/options" "$program --help" "$work/described" "$program.scd"
done
# Counters are declared once, in counters.h.
grep -oE '^    COUNTER\([a-z_]+' include/lendis/counters.h | sed 's/.*(\(.*\)/\1_total/' >"$work/counters"
awk '/^# COUNTERS/ { on = 1 } /^# REASONS/ { on = 0 } on' "$man/lendisctl.1.scd" | grep -oE '^\*[a-z_]+_total\*' |
    tr -d '*' >"$work/described"
compare counter "$work/counters" "counters.h" "$work/described" "lendisctl(1)"
# Likewise reasons, in reasons.h: the section of each is known by its macro.
awk '/^#define/ { prefix = /CLOSE/ ? "closed_" : /REVOKE/ ? "revoked_" : "dial_errors_" }
    match($0, /^    REASON\([a-z_]+/) { print prefix substr($0, 12, RLENGTH - 11) "_total" }' include/lendis/reasons.h >"$work/reasons"
awk '/^# REASONS/ { on = 1 } /^# METRICS/ { on = 0 } on' "$man/lendisctl.1.scd" | grep -oE '^\*[a-z_]+_total\*' |
    tr -d '*' >"$work/described"
compare reason "$work/reasons" "reasons.h" "$work/described" "lendisctl(1)"

# Metrics: name and text.
"$build/lendisctl" --list-metrics | awk -F'\t' '{ print $1 "\t" $4 }' >"$work/metrics"
awk '/^# METRICS/ { on = 1 } /^# EXIT/ { on = 0 } on && /^\*lendis_/ { split($0, part, "*"); name = part[2]; getline
    gsub(/^\t/, ""); gsub(/\\_/, "_"); print name "\t" $0 }' "$man/lendisctl.1.scd" >"$work/described"
compare metric "$work/metrics" "lendisctl --list-metrics" "$work/described" "lendisctl(1)"

# lendis-bench: rows, variants, and the figures that its load engine prints.
"$build/lendis-bench" --list-rows | awk '{ print $1 }' >"$work/rows"
awk '/^# ROWS/ { on = 1 } /^# HOW TO READ/ { on = 0 } on && /^_/' "$man/lendis-bench.1.scd" | tr -d '_ ' | tr , '\n' \
    >"$work/described"
compare row "$work/rows" "lendis-bench --list-rows" "$work/described" "lendis-bench(1)"
"$build/lendis-bench" --variants none 2>&1 | sed -n 's/.*there are //p' | tr -d ' ' | tr , '\n' >"$work/variants"
awk '/^# VARIANTS/ { on = 1 } /^# ROWS/ { on = 0 } on && /^_/' "$man/lendis-bench.1.scd" | tr -d '_ ' | tr , '\n' \
    >"$work/described"
compare variant "$work/variants" "lendis-bench" "$work/described" "lendis-bench(1)"
grep -oE '^ *FIELD\("[a-z0-9_]+' broker/bench/load.c | sed 's/.*"//' >"$work/figures"
awk '/^# FIGURES/ { on = 1 } /^# LOAD/ { on = 0 } on && /^\*/' "$man/lendis-bench.1.scd" | tr -d '* ' | tr , '\n' \
    >"$work/described"
compare figure "$work/figures" "load.c" "$work/described" "lendis-bench(1)"

[ "$problems" -eq 0 ] || exit 1
echo "manual.sh: manual and programs agree"
