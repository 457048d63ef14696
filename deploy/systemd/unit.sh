#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Prints a unit as it is installed: unit.sh system|user/NAME SBINDIR. There is one text of the
# socket and one of the service: lendis@NAME has a configuration and a socket of its own, a user's
# manager has both in the user's directories and leaves out what only the system's can do.
set -eu
unit=$1 sbindir=$2
here=$(dirname "$0")
case $unit in *.socket) source=$here/lendis.socket ;; *) source=$here/lendis.service ;; esac

case $unit in
system/lendis@.*)
    sed -e 's|/run/lendis/lendis\.sock|/run/lendis/%i.sock|' \
        -e 's|lendis\.socket|lendis@%i.socket|g' \
        -e 's|lendis\.service|lendis@.service|g' \
        -e 's|^\(Description=.*\)|\1 %i|' \
        -e '/^ExecStopPost=/d' \
        -e 's|^ExecStart=.*|& --config /etc/lendis/%i.conf|' "$source"
    ;;
system/*)
    cat "$source"
    ;;
user/*)
    # From the user to the last line of the sandbox is the system manager's.
    sed -e 's|/run/lendis/lendis\.sock|%t/lendis.sock|' \
        -e 's|^ExecStart=.*|& --config %E/lendis/lendis.conf|' \
        -e '/^SocketGroup=/d' -e '/^ExecStopPost=/d' -e 's|^SocketMode=.*|SocketMode=0600|' \
        -e '/^After=/s| network\.target||' \
        -e 's|^ExecStop=+-\(.*\)systemctl |ExecStop=-\1systemctl --user |' \
        -e '/^User=/,/^# allow_uids would/d' -e 's|multi-user\.target|default.target|' "$source"
    ;;
esac | sed "s|@SBINDIR@|$sbindir|"
