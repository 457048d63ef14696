#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs a command with busy loops beside it, as many as are asked for, at the command's own priority.
# They are ended by their numbers, however the command ends. Exits with the command's status.
#
# Usage: tests/busy.sh COUNT COMMAND [ARGUMENT ...]
set -u

count=$1
shift
hogs=
child=

end()
{
    # shellcheck disable=SC2086 # several numbers
    [ -z "$hogs" ] || kill $hogs 2>/dev/null
    hogs=
}
trap end EXIT
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 130' INT TERM HUP

while [ "$count" -gt 0 ]; do
    # Each ends by itself, too, when this shell is gone.
    sh -c 'while kill -0 "$0" 2>/dev/null; do
        i=0
        while [ $i -lt 100000 ]; do i=$((i + 1)); done
    done' $$ &
    hogs="$hogs $!"
    count=$((count - 1))
done
"$@" &
child=$!
wait "$child"
