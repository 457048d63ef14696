#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual, the example configuration and the programs agree. What is generated
# (deploy/generate.sh: keys, options, commands, counters, metrics) is complete: whatever a program
# lists is in its page. What is written by hand (functions and constants of liblendis(3); rows,
# variants and figures of lendis-bench(1)) names what there is and nothing else.
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

# section PAGE TITLE: its lines.
section()
{
    awk -v title="# $2" '/^# / { on = $0 == title } on' "$man/$1.scd"
}

# names SIGN: of the entries on standard input, those set in SIGN (* or _), one per line.
names()
{
    grep "^[$1][^ ]" | tr -d "$1 " | tr , '\n'
}

for file in "$build/lendis.conf" "$build/lendisd" "$build/lendisctl" "$man/lendis.conf.5.scd"; do
    [ -e "$file" ] || { echo "manual.sh: there is no $file" >&2; exit 1; }
done

# ---- what is generated ----

# has PAGE WHAT: each line of standard input begins an entry of the page.
has()
{
    local name count=0

    while read -r name; do
        count=$((count + 1))
        grep -qE "^(\*-.\*, )?\*$name\*" "$man/$1.scd" || complain "$2 $name is not in $1"
    done
    [ "$count" -gt 0 ] || complain "no $2 is listed for $1"
}

has lendis.conf.5 key < <("$build/lendisd" --list-keys | cut -f2)
has lendisctl.1 command < <("$build/lendisctl" --list-commands | cut -f1)
has lendisctl.1 counter < <("$build/lendisctl" --list-counters | cut -f2)
has lendisctl.1 metric < <("$build/lendisctl" --list-metrics | cut -f1)
for page in lendisctl.1 lendisd.8 lendis-report.1 lendis-bench.1 lendis-run.1; do
    has "$page" option < <("$build/${page%.*}" --list-options | cut -f2 | sed -n 's/^./--&/p')
done
has lendis-bench.1 option < <("$build/lendis-bench" load --list-options | cut -f2 | sed 's/^/--/')

# A page whose marker cannot be filled is not built.
for marker in "@KEYS nowhere@" "@OPTIONS lendisctl nothing@" "@ZSH lendis-nothing@" "@NOTHING@"; do
    echo "$marker" >"$work/page"
    deploy/generate.sh "$build" "$work/page" >/dev/null 2>&1 &&
        complain "generate.sh takes $marker for filled"
done

# ---- the example configuration ----

# section.key of each that is listed, and of each that is set or commented out in the example.
"$build/lendisd" --list-keys | awk -F'\t' '{ sub(/ .*/, "", $1); print $1 "." $2 }' >"$work/listed"
awk '/^#? *\[broker\]/ { section = "broker" } /^#? *\[pool / { section = "pool" }
    section && match($0, /^#? ?[a-z_]+ *=/) {
        key = substr($0, 1, RLENGTH)
        gsub(/[# =]/, "", key)
        print section "." key
    }' "$build/lendis.conf" >"$work/example"
compare key "$work/listed" "lendisd --list-keys" "$work/example" "the example"

# The example is a configuration, and what is commented out in it is the default: with that taken
# in, nothing changes.
defaults()
{
    "$build/lendisd" --config "$1" --print-config 2>&1
}
awk '/^\[pool main\]/ { on = 1 } /^# Programs with/ { on = 0 } /^\[broker\]/ { on = 1 }
    on && /^#[a-z_]+ = ./ { sub(/^#/, "") }
    { print }' "$build/lendis.conf" >"$work/uncommented.conf"
defaults "$build/lendis.conf" >"$work/a.conf" ||
    complain "the example is refused: $(head -1 "$work/a.conf")"
defaults "$work/uncommented.conf" >"$work/b.conf" ||
    complain "its defaults are refused: $(head -1 "$work/b.conf")"
cmp -s "$work/a.conf" "$work/b.conf" ||
    complain "what is commented out in the example is not the default"
cmp -s "$build/lendis.conf" "$work/uncommented.conf" &&
    complain "nothing is commented out in the example"

# ---- the library ----

sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' include/*.h | grep -oE '\blendis_[a-z_]+\(' |
    tr -d '(' >"$work/declared"
grep -oE '\*lendis_[a-z_]+\*\(' "$man/liblendis.3.scd" | tr -d '*(' >"$work/described"
compare function "$work/declared" "the headers" "$work/described" "liblendis(3)"
section liblendis.3 SYNOPSIS | grep -oE '\*lendis_[a-z_]+\*\(' | tr -d '*(' >"$work/synopsis"
compare function "$work/declared" "the headers" "$work/synopsis" "the synopsis of liblendis(3)"
grep -ohE '\bLENDIS_(E_[A-Z]+|LAZY|REPLICA)\b' include/*.h | grep -v '_E_$' >"$work/declared"
grep -oE '\*LENDIS_(E_[A-Z]+|LAZY|REPLICA)\*' "$man/liblendis.3.scd" | tr -d '*' >"$work/described"
compare constant "$work/declared" "the headers" "$work/described" "liblendis(3)"

# ---- lendis-bench: rows, variants, and the figures of its rounds ----

"$build/lendis-bench" --list-rows | awk '{ print $1 }' >"$work/rows"
section lendis-bench.1 ROWS | names _ >"$work/described"
compare row "$work/rows" "lendis-bench --list-rows" "$work/described" "lendis-bench(1)"
"$build/lendis-bench" --variants none 2>&1 | sed -n 's/.*there are //p' | tr -d ' ' |
    tr , '\n' >"$work/variants"
section lendis-bench.1 VARIANTS | names _ >"$work/described"
compare variant "$work/variants" "lendis-bench" "$work/described" "lendis-bench(1)"
grep -ohE '(FIELD\(|figures_add\(.*, )"[a-z0-9_]+' broker/bench/load.c broker/bench/cell.c |
    sed 's/.*"//' >"$work/figures"
section lendis-bench.1 FIGURES | names '*' >"$work/described"
compare figure "$work/figures" "load.c and cell.c" "$work/described" "lendis-bench(1)"

[ "$problems" -eq 0 ] || exit 1
echo "manual.sh: manual and programs agree"
