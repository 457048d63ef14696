#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: files, folders and lines that one can take in. No source file of the product has
# more than 600 lines. No folder has more than 25 files (name.c and name.h are one). None but
# folders are directly in broker/. No line of ours is longer than 100 columns, but for a row of a
# table (in a manual page, in Markdown, or of an X-macro), which cannot be broken.
#
# tests/lint/known-sizes lists what is larger, and how much. It only shrinks: what is small enough
# by now is to be taken out.
set -eu
cd "$(dirname "$0")/../.."
list=tests/lint/known-sizes
bad=0

# files: ours, without what is generated, recorded or drawn.
files()
{
    find include libclient broker tests deploy .ci Makefile README.md -type f \
        ! -path 'tests/fuzz/corpus/*' ! -path '*/__pycache__/*' ! -path '*/samples/*' \
        ! -path 'deploy/figures/*' \
        ! -name '*.json' ! -name commands.txt ! -name command_table.h ! -name 'known-*' | sort
}

# over KIND: reads lines "PLACE SIZE" of what is too large, and compares them with the list.
over()
{
    awk -v kind="$1" -v list="$list" '
        function fail(place, why) { print place ": " why | "cat >&2"; bad = 1 }
        FILENAME != "-" { if ($1 == kind) known[$2] = $3; next }
        NF == 0 { next }
        { seen[$1] = 1 }
        !($1 in known) { fail($1, $2 " " kind ", that is too many"); next }
        $2 > known[$1] { fail($1, $2 " " kind ", more than the " known[$1] " of " list) }
        END {
            for (place in known)
                if (!(place in seen))
                    fail(place, "few enough " kind " by now, take it out of " list)
            exit bad
        }' "$list" - || bad=1
}

over lines <<END
$(find include libclient broker -name '*.[ch]' -exec wc -l {} + |
    awk '$2 != "total" && $1 > 600 { print $2, $1 }')
END
over files <<END
$(files | sed 's|\.[ch]$||' | uniq | sed 's|/[^/]*$||' | sort | uniq -c |
    awk '$1 > 25 { print $2, $1 }')
END
# A tab is as wide as in an editor; a character of several bytes is one column.
over columns <<END
$(files | LC_ALL=C xargs awk '
    length <= 100 && !/\t/ { next }
    FILENAME ~ /\.(md|scd)$/ && /^[|:[]/ || FILENAME ~ /\.h$/ && /^ +[A-Z]+\(/ { next }
    {
        gsub(/[\200-\277]/, "")
        while (tab = index($0, "\t"))
            $0 = substr($0, 1, tab - 1) substr("        ", 1 + (tab - 1) % 8) substr($0, tab + 1)
        if (length > 100)
            n[FILENAME]++
    }
    END { for (file in n) print file, n[file] }')
END
if find broker -maxdepth 1 -type f | grep . >&2; then
    echo "broker/ has folders alone" >&2
    bad=1
fi
exit $bad
