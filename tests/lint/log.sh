#!/bin/bash
# SPDX-License-Identifier: MIT
#
# No line of the broker's log is without a limit, and none waits for whoever reads standard error (broker/log.h). A log
# call that something outside of the broker can reach has the tighter limit of log_limited(), or a comment
# "unprovoked: ..." above it that says why a peer cannot bring it about at will.
#
# Usage: tests/lint/log.sh [FOLDER]: the folder with broker/ in it (.).
set -u
cd "${1:-.}" || exit 2

# Run on behalf of a worker, a tool, a metrics client or Redis.
peers='adopt bells connection control demand dialler direct exporter gate handshake hygiene lease_watch outage pool private
    process redirection refusal replies reply_walk request reset rights session_info stall survey upkeep worker'
bad=0

complain()
{
    echo "$2" | sed "s/^/$1: /" >&2
    bad=1
}

# Past the log: main.c's command line is for the one who typed it.
found=$(grep -nE '\<(f?printf *\( *stderr|f?puts *\([^;]*stderr|v?fprintf *\( *stderr|perror|psignal|warnx?|errx?|dprintf|vdprintf|syslog|sd_journal_[a-z]+) *\(?' \
    broker/*.c | grep -E 'stderr|perror *\(|psignal *\(|dprintf *\( *(2|STDERR)|syslog *\(|sd_journal|\<(warnx|errx|err) *\(' |
    grep -vE "^broker/(main|standard_io)\.c:")
[ -z "$found" ] || complain 'writes past the log' "$found"
found=$(grep -nE '(write|writev|send|dup2|dprintf) *\( *(STDERR_FILENO|2)\>' broker/*.c | grep -vE '^broker/(log_writer|standard_io)\.c:')
[ -z "$found" ] || complain 'writes past the log' "$found"
found=$(grep -nE '\<(log_writer_put|log_of_place)\(' broker/*.c | grep -vE '^broker/log(_writer)?\.c:')
[ -z "$found" ] || complain 'a log call without a limit' "$found"

for name in $peers; do
    [ -f "broker/$name.c" ] || continue
    found=$(awk '/\/\* unprovoked: / { excused = 1; next }
        /(^|[^a-z_])log_line\(/ && !excused { print FILENAME ":" FNR ": " $0 }
        /;/ { excused = 0 }' "broker/$name.c")
    [ -z "$found" ] || complain 'a peer can reach it: use log_limited()' "$found"
done
exit $bad
