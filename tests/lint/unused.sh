#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: what one file offers to others (a function or variable that is not static), another
# file uses, a unit test perhaps. Not for main() and for what liblendis offers to everybody.
#
# Usage: tests/lint/unused.sh OBJECT...: the objects of product and tests, BUILD/obj/FOLDER/NAME.o
set -eu
cd "$(dirname "$0")/../.."
nm -A -g "$@" | awk -v sorted='sort >&2' '
    {
        split($1, place, ":")
        file = place[1]
        sub(/^.*\/obj\//, "", file)
        sub(/o$/, "c", file)
    }
    $(NF-1) == "U" { used[$NF] = 1; next }
    file !~ /^tests\/fuzz/ && $NF !~ /^(main$|lendis_)/ { offered[file ": " $NF] = $NF }
    END {
        for (place in offered)
            if (!(offered[place] in used)) {
                print place ": used by no other file: make it static, or delete it" | sorted
                bad = 1
            }
        close(sorted)
        exit bad
    }'
