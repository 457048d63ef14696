# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# The cases of a test that is a script, as TAP for tests/run. To be sourced by bash; starts nothing.

cases=0 bad=0

skip()
{
    echo "1..0 # SKIP $*"
    exit 77
}

# ok TEXT, after a command: reports whether it succeeded.
ok()
{
    local status=$?

    cases=$((cases + 1))
    [ "$status" -eq 0 ] || { bad=$((bad + 1)) && printf 'not '; }
    echo "ok $cases - $1"
}

# The last command of a script: the plan, and whether all succeeded.
plan()
{
    echo "1..$cases"
    [ "$bad" -eq 0 ]
}

# until_true SECONDS COMMAND...: runs it until it succeeds.
until_true()
{
    local until=$((SECONDS + $1))

    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}
