#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: MIT
#
# The first process of the machine that tests/ktls/machine.sh boots, which adds what is to be run.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin HOME=/ TMPDIR=/tmp CMOCKA_MESSAGE_OUTPUT=TAP
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp
ifconfig lo 127.0.0.1 up
ulimit -n 8192
for module in /modules/*.ko; do
    insmod "$module" 2>/dev/null
done

failed=0

end()
{
    echo "# machine: $1"
    poweroff -f
    sleep 60
}

run()
{
    local status=0 start

    start=$(cut -d ' ' -f 1 /proc/uptime)
    "$@" </dev/null 2>&1 || status=$?
    echo "# $(basename "$1"): status $status, $start to $(cut -d ' ' -f 1 /proc/uptime) s"
    [ "$status" -eq 0 ] || [ "$status" -eq 77 ] || failed=1
}

finish()
{
    [ "$failed" -eq 0 ] && end 'all passed'
    end 'failed'
}

[ -d /sys/module/tls ] || end 'no kernel TLS'
