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

complain()
{
    echo "completion.sh: $*" >&2
    problems=1
}

# expect WHAT FILE: standard input has the same lines, in whatever order.
expect()
{
    sort -u "$2" >"$work/a"
    sort -u >"$work/b"
    [ -s "$work/a" ] || complain "$1: nothing is expected"
    diff "$work/a" "$work/b" >&2 || complain "$1 (< program, > completion)"
}

# offers PROGRAM WORD...: what bash offers for the last word.
offers()
{
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    "_${1//-/_}"
    printf '%s\n' "${COMPREPLY[@]}"
}

# options_of PROGRAM [WORD]: those in its help.
options_of()
{
    "$@" --help | grep -oE '^ +(-., )? *--[a-z-]+' | grep -oE '\-\-[a-z-]+'
}

# zsh_words PROGRAM VARIABLE: the names that are described in it.
zsh_words()
{
    awk -v begin="^    $2=" '$0 ~ begin { on = 1 } /^    \)/ { on = 0 } on' \
        "$build/completion/_$1" | sed -n "s/^ *'\([a-z]*\):.*/\1/p"
}

for program in lendisctl lendis-bench lendis-report lendis-run; do
    # shellcheck source=/dev/null
    . "$build/completion/$program.bash"
    options_of "$program" >"$work/options"
    offers "$program" -- | expect "bash: options of $program" "$work/options"
    awk '/_arguments/ { on = 1 } on' "$build/completion/_$program" | grep -oE '\-\-[a-z-]+' |
        expect "zsh: options of $program" "$work/options"
    ! command -v zsh >/dev/null || zsh -n "$build/completion/_$program"
done

# ---- lendisctl ----

lendisctl --list-commands | cut -f1 >"$work/commands"
awk '{ print $1 }' "$work/commands" >"$work/first"
awk '$1 == "show" { print $2 }' "$work/commands" >"$work/shown"
offers lendisctl "" | expect "bash: commands" "$work/first"
zsh_words lendisctl commands | expect "zsh: commands" "$work/first"
offers lendisctl show "" | expect "bash: what can be shown" "$work/shown"
offers lendisctl --socket /nowhere show "" |
    expect "bash: what can be shown, behind an option" "$work/shown"
zsh_words lendisctl shown | expect "zsh: what can be shown" "$work/shown"

# ---- lendis-bench ----

options_of lendis-bench load >"$work/options"
offers lendis-bench load -- | expect "bash: options of lendis-bench load" "$work/options"
printf 'exponential\nfixed\n' >"$work/list"
offers lendis-bench load --think-kind "" | expect "bash: values of an option" "$work/list"
lendis-bench --list-rows | awk '{ print $1 }' >"$work/rows"
offers lendis-bench --rows "" | expect "bash: rows" "$work/rows"
printf '200,think1\n200,think5\n200,think20\n' >"$work/list"
offers lendis-bench --rows 200,think | expect "bash: rows, in a list" "$work/list"
# Each variant that is offered is one.
lendis-bench --variants none 2>&1 | sed -n 's/.*there are //p' | tr -d ' ' | tr , '\n' \
    >"$work/variants"
offers lendis-bench --variants "" | sed 's/:$//' | expect "bash: variants" "$work/variants"
sed -n '/_values -s , variant/{n;s/^ *//p}' "$build/completion/_lendis-bench" | tr ' ' '\n' |
    expect "zsh: variants" "$work/variants"

# ---- lendis-report ----

printf 'compare\nwatch\n' >"$work/commands"
offers lendis-report "" | expect "bash: commands of lendis-report" "$work/commands"
# Those of the other command are not offered behind a command.
for command in compare watch; do
    offers lendis-report "$command" -- | sort >"$work/bash"
    [ -s "$work/bash" ] || complain "nothing is offered behind lendis-report $command"
    while read -r option; do
        # A word too many: it does nothing but say what is wrong.
        lendis-report "$command" "$option" 1 more >"$work/said" 2>&1 || true
        ! grep -q 'option of the other command' "$work/said" ||
            complain "lendis-report $command has no $option"
    done < <(grep -vE '^--(reference|strict|idle|busy|json|csv|help|version)$' "$work/bash")
done

[ "$problems" -eq 0 ] || exit 1
echo "completion.sh: completions and programs agree"
