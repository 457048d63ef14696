#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Becomes a systemd that runs this system's own files as PID 1 of private namespaces, with nothing
# of the host within its reach: changes to the file system stay in memory, the network is a loopback
# of its own.
#
# To be run by machine_start (lib.sh) as the first process of new mount, pid, net, ipc, uts and
# cgroup namespaces: boot.sh DIRECTORY SOURCES, an empty directory and the source tree, which the
# machine sees read-only where it is. What a container's PID 1 may expect:
# https://systemd.io/CONTAINER_INTERFACE.
set -eu
directory=$1 sources=$2
root=$directory/root

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" overlay "$root"
mount --rbind /dev "$root/dev"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mkdir -p "$root$sources"
mount --bind "$sources" "$root$sources"
mount -o remount,bind,ro "$root$sources"
ip link set lo up
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt

# Only what the tests start: none of the host's own services, and nothing that would change the
# kernel's settings or the host's /dev.
mkdir -p /etc/systemd/system
: >/etc/machine-id
rm -rf /etc/systemd/system/*.wants /etc/fstab
ln -sf /lib/systemd/system/basic.target /etc/systemd/system/default.target
for unit in systemd-sysctl.service systemd-binfmt.service systemd-modules-load.service \
    systemd-tmpfiles-setup-dev.service systemd-udevd.service systemd-udevd-kernel.socket \
    systemd-udevd-control.socket systemd-udev-trigger.service systemd-update-utmp.service \
    systemd-journal-flush.service systemd-random-seed.service dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
exec env -i container=lendis-tests TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --show-status=no
