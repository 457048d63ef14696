#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The completions know every command and option of the programs and no other: what bash offers is
# asked of bash, what zsh offers is read in its file, for zsh is not everywhere.
#
# Environment: LENDIS_BUILD, the folder of the programs (build).
set -eu

cd "$(dirname "$0")/../../.."
build=$(realpath "${LENDIS_BUILD:-build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-completion.XXXXXX")
trap 'rm -rf "$work"' EXIT
PATH=$build:$PATH
problems=0

# expect WHAT FILE FILE: the same lines, in whatever order.
expect()
{
    sort -u "$2" >"$work/a"
    sort -u "$3" >"$work/b"
    [ -s "$work/a" ] || { echo "completion.sh: $1: nothing is expected" >&2; problems=1; }
    diff "$work/a" "$work/b" >&2 || { echo "completion.sh: $1 (< lendisctl, > completion)" >&2; problems=1; }
}

# shellcheck source=/dev/null
. "$build"/completion/lendisctl.bash

# offers WORD...: what bash offers for the last one.
offers()
{
    COMP_WORDS=(lendisctl "$@")
    COMP_CWORD=$#
    _lendisctl
    printf '%s\n' "${COMPREPLY[@]}"
}

lendisctl --list-commands | cut -f1 >"$work/commands"
awk '{ print $1 }' "$work/commands" >"$work/first"
awk '$1 == "show" { print $2 }' "$work/commands" >"$work/shown"
lendisctl --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+' >"$work/options"

offers "" >"$work/bash"
expect "bash: commands" "$work/first" "$work/bash"
offers show "" >"$work/bash"
expect "bash: what can be shown" "$work/shown" "$work/bash"
offers --socket /nowhere show "" >"$work/bash"
expect "bash: what can be shown, behind an option" "$work/shown" "$work/bash"
offers -- >"$work/bash"
expect "bash: options" "$work/options" "$work/bash"

awk '/^    commands=/ { on = 1 } /^    \)/ { on = 0 } on' "$build"/completion/_lendisctl |
    sed -n "s/^ *'\([a-z]*\):.*/\1/p" >"$work/zsh"
expect "zsh: commands" "$work/first" "$work/zsh"
awk '/^    shown=/ { on = 1 } /^    \)/ { on = 0 } on' "$build"/completion/_lendisctl |
    sed -n "s/^ *'\([a-z]*\):.*/\1/p" >"$work/zsh"
expect "zsh: what can be shown" "$work/shown" "$work/zsh"
awk '/_arguments/ { on = 1 } on' "$build"/completion/_lendisctl | grep -oE '\-\-[a-z-]+' | sort -u >"$work/zsh"
expect "zsh: options" "$work/options" "$work/zsh"
if command -v zsh >/dev/null; then
    zsh -n "$build"/completion/_lendisctl
fi

# ---- lendis-bench ----

# shellcheck source=/dev/null
. "$build"/completion/lendis-bench.bash

bench_offers()
{
    COMP_WORDS=(lendis-bench "$@")
    COMP_CWORD=$#
    _lendis_bench
    printf '%s\n' "${COMPREPLY[@]}"
}

lendis-bench --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+' >"$work/options"
bench_offers -- >"$work/bash"
expect "bash: options of lendis-bench" "$work/options" "$work/bash"
lendis-bench load --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+' >"$work/load"
bench_offers load -- >"$work/bash"
expect "bash: options of lendis-bench load" "$work/load" "$work/bash"
printf 'exponential\nfixed\n' >"$work/list"
bench_offers load --think-kind "" >"$work/bash"
expect "bash: values of an option of lendis-bench load" "$work/list" "$work/bash"
lendis-bench --list-rows | awk '{ print $1 }' >"$work/rows"
bench_offers --rows "" >"$work/bash"
expect "bash: rows of lendis-bench" "$work/rows" "$work/bash"
printf '200,think1\n200,think5\n200,think20\n' >"$work/list"
bench_offers --rows 200,think >"$work/bash"
expect "bash: rows of lendis-bench, in a list" "$work/list" "$work/bash"
# Each variant that is offered is one.
bench_offers --variants "" | sed 's/:$//' >"$work/bash"
lendis-bench --variants none 2>&1 | sed -n 's/.*there are //p' | tr -d ' ' | tr , '\n' >"$work/variants"
expect "bash: variants of lendis-bench" "$work/variants" "$work/bash"
awk '/^_arguments/ { on = 1 } on' "$build"/completion/_lendis-bench | grep -oE '\-\-[a-z-]+' >"$work/zsh"
expect "zsh: options of lendis-bench" "$work/options" "$work/zsh"
sed -n 's/.*_values -s , variant //p' "$build"/completion/_lendis-bench | tr ' ' '\n' >"$work/zsh"
expect "zsh: variants of lendis-bench" "$work/variants" "$work/zsh"
if command -v zsh >/dev/null; then
    zsh -n "$build"/completion/_lendis-bench
fi

# ---- lendis-report ----

# shellcheck source=/dev/null
. "$build"/completion/lendis-report.bash

report_offers()
{
    COMP_WORDS=(lendis-report "$@")
    COMP_CWORD=$#
    _lendis_report
    printf '%s\n' "${COMPREPLY[@]}"
}

lendis-report --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+' >"$work/options"
report_offers -- >"$work/bash"
expect "bash: options of lendis-report" "$work/options" "$work/bash"
# Those of the other command are not offered behind a command.
for command in compare watch; do
    report_offers "$command" -- | sort >"$work/bash"
    [ -s "$work/bash" ] || { echo "completion.sh: nothing is offered behind lendis-report $command" >&2; problems=1; }
    while read -r option; do
        # A word too many: it does nothing but say what is wrong.
        lendis-report "$command" "$option" 1 more >"$work/said" 2>&1 || true
        if grep -q 'option of the other command' "$work/said"; then
            echo "completion.sh: lendis-report $command has no $option" >&2
            problems=1
        fi
    done < <(grep -vE '^--(reference|strict|idle|busy|json|csv|help|version)$' "$work/bash")
done
printf 'compare\nwatch\n' >"$work/commands"
report_offers "" >"$work/bash"
expect "bash: commands of lendis-report" "$work/commands" "$work/bash"
awk '/^_arguments/ { on = 1 } on' "$build"/completion/_lendis-report | grep -oE '\-\-[a-z-]+' >"$work/zsh"
expect "zsh: options of lendis-report" "$work/options" "$work/zsh"
if command -v zsh >/dev/null; then
    zsh -n "$build"/completion/_lendis-report
fi

[ "$problems" -eq 0 ] || exit 1
echo "completion.sh: completions and programs agree"
