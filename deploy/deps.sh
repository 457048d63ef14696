#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs those of the named Debian packages that are missing. Usage: deploy/deps.sh PACKAGE...
#
# Does nothing, and does it fast, when all are there or when this is not a Debian system. Needs root
# or sudo otherwise. Some of the packages bring a service, which Debian starts on installation;
# tests and benchmarks want the program alone. deb-systemd-invoke(1p) and invoke-rc.d(8) ask
# /usr/sbin/policy-rc.d whether they may, so one that says no (101) stands there for the time of the
# installation, unless the machine has one of its own. (RUNLEVEL=1 would stop invoke-rc.d alone.)
set -eu

command -v dpkg-query >/dev/null 2>&1 || exit 0

# One query for all in the usual case; it fails if any is unknown.
states=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null) || true
missing=
for package; do
    case "
$states
" in
    *"
installed $package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then
        sudo="sudo"
        [ -t 0 ] || sudo="sudo -n"
    fi
    if [ -z "$sudo" ] || ! $sudo true; then
        echo "missing packages:$missing" >&2
        echo "Install them as root:  apt-get install$missing" >&2
        exit 1
    fi
fi

policy=/usr/sbin/policy-rc.d
mark='# Written by "make deps" of lendis for the time of an installation; remove it if you find it.'
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    trap '$sudo rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi

install()
{
    # shellcheck disable=SC2086 # a list of packages
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends $missing </dev/null
}

echo "installing packages:$missing" >&2
# A fresh machine has no package lists, an old one outdated ones: get them and try again.
install || { $sudo apt-get update -qq && install; }
