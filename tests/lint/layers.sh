#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: dependencies point down, and no files use each other in a circle.
#
# - An #include or a symbol of a folder leads only where tests/lint/layers says.
# - Headers do not include each other in a circle.
# - Files (name.c and name.h are one) do not use each other's symbols in a circle, but for those of
#   tests/lint/known-circles. That list only shrinks: a circle that is smaller by now, or gone, is
#   to be changed there, or taken out.
#
# Usage: tests/lint/layers.sh OBJECT...: the product's objects, BUILD/obj/FOLDER/NAME.o
set -eu
cd "$(dirname "$0")/../.."

# Lines "symbol FROM TO NAME": files as FOLDER/NAME. A name that several tools have is each one's.
symbols()
{
    nm -A -g "$@" | awk -v tools='^broker/(ctl|report|bench)/|/main$' '
        {
            split($1, place, ":")
            file = place[1]
            sub(/^.*\/obj\//, "", file)
            sub(/\.o$/, "", file)
            folder = file
            sub(/\/[^\/]*$/, "", folder)
        }
        $(NF-1) == "U" { used[file " " $NF] = folder; next }
        $(NF-1) !~ /^[wv]$/ {
            defined[$NF] = defined[$NF] (defined[$NF] == "" ? "" : " ") file
            beside[folder " " $NF] = file
        }
        END {
            for (use in used) {
                split(use, part, " ")
                name = part[2]
                if ((used[use] " " name) in beside) {
                    print "symbol", part[1], beside[used[use] " " name], name
                    continue
                }
                for (i = split(defined[name], definer, " "); i > 0; i--)
                    if (definer[i] == defined[name] || definer[i] !~ tools)
                        print "symbol", part[1], definer[i], name
            }
        }'
}

# Lines "include FROM TO": files as FOLDER/NAME.c and .h.
includes()
{
    find libclient broker include -name '*.[ch]' -exec grep -H '^ *# *include "' {} + | awk '
        {
            split($0, part, ":")
            folder = part[1]
            sub(/\/[^\/]*$/, "", folder)
            split($0, quoted, "\"")
            header = quoted[2]
            if (header ~ /^lendis/)
                header = "include/" header
            else if (header !~ /\//)
                header = folder "/" header
            print "include", part[1], header
        }'
}

{
    symbols "$@"
    includes
} | sort | awk -f tests/lint/layers.awk tests/lint/layers tests/lint/known-circles -
