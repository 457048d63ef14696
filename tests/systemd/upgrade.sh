#!/bin/bash
# SPDX-License-Identifier: MIT
#
# An upgrade to a broker that lays out shared memory in another way, under load: the workers of the
# version before go on with the connections that they have, those of the new version get new ones,
# and the old ones go with their workers.
set -u
# shellcheck source=tests/systemd/lib.sh
. "$(dirname "$0")/lib.sh"

next=$build/next

none_of()
{
    local id
    for id in $1; do
        ! connections | grep -qx "$id" || return 1
    done
}

machine_start
machine_install 2>/dev/null
configure '[pool main]' 'redis = redis://127.0.0.1:6379/0' 'size = 8' 'min_idle = 8'
inside systemctl start lendis.socket lendis.service
until_true 10 eval '[ "$(connections | wc -l)" -eq 8 ]'
load old --seconds 5 --ramp 0.3
sleep 1
before=$(connections)
inside install -m 755 "$next/lendisd" /usr/sbin/lendisd
gone_and_back inside systemctl restart lendis.service
ok "the broker of the next version starts"
until_true 5 said 'another version'
ok "and says that it leaves alone what it found"
load_program=$next/lendis-bench load new --workers 50 --seconds 1 --ramp 0.3
line=$(load_ended new)
served "$line" 100
ok "workers of the next version are served while those of the version before work" || echo "# $line"
line=$(load_ended old)
served "$line" 1000
ok "no command of the version before failed"
echo "#   $(field ops <<<"$line") commands, the longest took $(field max_us <<<"$line") us"
inside systemctl stop old.service
until_true 5 none_of "$before"
ok "the connections of the version before go with its workers"
[ "$(connections | wc -l)" -eq 8 ]
ok "and the next version has its own"
load late --workers 1 --seconds 1
load_ended late >/dev/null
inside grep -q 'version' /run/late.err
ok "a worker of the version before that comes late is told why it is refused" ||
    inside cat /run/late.err | sed 's/^/# /'
finish
