#!/bin/bash
# SPDX-License-Identifier: MIT
#
# No line of the broker's log is without a limit, and none waits for whoever reads standard error
# (broker/base/log.h). A log call that something outside of the broker can reach has the tighter
# limit of log_limited(), or a comment "unprovoked: ..." above it that says why a peer cannot bring
# it about at will.
#
# Usage: tests/lint/log.sh [FOLDER]: the folder with broker/ in it (.).
set -u
cd "${1:-.}" || exit 2

# Run on behalf of a worker, a tool, a metrics client or Redis: what these folders do, and what is
# named.
peers='broker/pool broker/workers broker/redis broker/metrics/exporter.c broker/daemon/control.c
broker/base/process.c'
# What lendisd is made of.
daemon='broker/base broker/config broker/redis broker/pool broker/workers broker/metrics
broker/daemon'
bad=0

complain()
{
    echo "$2" | sed "s/^/$1: /" >&2
    bad=1
}

# calls PATTERN...: lines of the daemon with one of these.
calls()
{
    local pattern patterns=()

    for pattern in "$@"; do
        patterns+=(-e "$pattern")
    done
    # shellcheck disable=SC2086 # a list of folders
    grep -rnE "${patterns[@]}" $daemon --include='*.c'
}

# Past the log: what a command line was refused for goes to the one who typed it.
found=$(calls '\<(v?fprintf *\( *stderr|f?put[cs] *\([^;]*stderr|fwrite *\([^;]*stderr)' \
    '\<(perror|psignal|v?warnx?|v?errx?|v?syslog|sd_journal_[a-z_]+) *\(' |
    grep -vE '^broker/(daemon/main|base/standard_io|base/option_table)\.c:')
[ -z "$found" ] || complain 'writes past the log' "$found"
found=$(calls '(write|writev|send|dup2|v?dprintf) *\( *(STDERR_FILENO|2)\>' |
    grep -vE '^broker/(base/log_writer|base/standard_io)\.c:')
[ -z "$found" ] || complain 'writes past the log' "$found"
found=$(calls '\<(log_writer_put|log_of_place)\(' | grep -vE '^broker/base/log(_writer)?\.c:')
[ -z "$found" ] || complain 'a log call without a limit' "$found"

for file in $(find $peers -name '*.c'); do
    found=$(awk '/\/\* unprovoked: / { excused = 1; next }
        /(^|[^a-z_])log_line\(/ && !excused { print FILENAME ":" FNR ": " $0 }
        /;/ { excused = 0 }' "$file")
    [ -z "$found" ] || complain 'a peer can reach it: use log_limited()' "$found"
done
exit $bad
