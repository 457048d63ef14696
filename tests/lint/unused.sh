#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: what one file offers to others (a function or variable that is not static), another
# file uses, a unit test perhaps. Not for main(), for what liblendis and lendisd-tls.so offer, and
# for the functions of the C library that the preloaded library stands before.
# tests/lint/known-unused lists what is to be made static still, and only shrinks.
#
# Usage: tests/lint/unused.sh OBJECT...: the objects of product and tests, BUILD/obj/FOLDER/NAME.o
set -eu
cd "$(dirname "$0")/../.."
nm -A -g "$@" | awk -v sorted='sort >&2' -v list=tests/lint/known-unused '
    FILENAME == list { if ($0 !~ /^#/) known[$1 " " $2] = 1; next }
    {
        split($1, part, ":")
        file = part[1]
        sub(/^.*\/obj\//, "", file)
        sub(/o$/, "c", file)
    }
    $(NF-1) == "U" { used[$NF] = 1; next }
    file !~ /^tests\/|\/hooks\/[a-z_]*\.c$/ && $NF !~ /^(main$|lendis_|lendisd_tls$|DW\.ref\.)/ {
        offered[file ": " $NF] = $NF
    }
    END {
        for (place in offered) {
            if (offered[place] in used)
                continue
            seen[place] = 1
            if (!(place in known)) {
                print place ": used by no other file: make it static, or delete it" | sorted
                bad = 1
            }
        }
        for (place in known)
            if (!(place in seen)) {
                print place ": used by now, or gone: take it out of " list | sorted
                bad = 1
            }
        close(sorted)
        exit bad
    }' tests/lint/known-unused -
