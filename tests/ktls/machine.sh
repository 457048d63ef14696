#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs programs on a machine whose kernel has kernel TLS: Debian's own kernel, booted by qemu
# without hardware's help (tcg), with a file system in memory that holds the programs, redis-server
# and the libraries that they are linked with. Nothing is installed: the kernel's package is
# downloaded and unpacked, once, into build/ktls.
#
# Usage: tests/ktls/machine.sh [-e NAME=VALUE]... [-f FILE]... PROGRAM...
#   -e   in the environment of the programs
#   -f   another file for the machine, at the same path
#
# What the programs print is printed; each is followed by a line of its status. Exits 0 if all ended
# with 0, 77 if there is no such machine here (and says what is missing), else 1.
set -eu
cd "$(dirname "$0")/../.."

build=${LENDIS_BUILD:-build}
cache=build/ktls
limit=${KTLS_SECONDS:-300} # of the machine's life
memory=${KTLS_MEMORY:-2048} # MiB

skip()
{
    echo "# skipped: $*"
    exit 77
}

# ---- what the machine is made of ----

[ "$(uname -m)" = x86_64 ] || skip "kernel TLS is tested on x86_64 only"
for program in qemu-system-x86_64 cpio redis-server openssl dpkg-deb apt-get; do
    command -v "$program" >/dev/null || skip "there is no $program (make deps-ktls)"
done
busybox=$(command -v busybox) || skip "there is no busybox (make deps-ktls)"
! ldd "$busybox" >/dev/null 2>&1 || skip "busybox is not linked statically (busybox-static)"

# Downloads the package that linux-image-cloud-amd64 stands for.
fetch_kernel()
{
    local package

    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        awk '/Depends: linux-image-/ { print $2; exit }')
    [ -n "$package" ] || skip "apt knows no linux-image-cloud-amd64"
    rm -rf "$cache/new"
    mkdir -p "$cache/new"
    (cd "$cache/new" && apt-get download -qq "$package" >/dev/null 2>&1) ||
        skip "the package $package cannot be downloaded"
    dpkg-deb -x "$cache"/new/*.deb "$cache/new/root"
    rm -rf "$cache/kernel"
    mv "$cache/new/root" "$cache/kernel"
    rm -rf "$cache/new"
}

mkdir -p "$cache"
exec 8>"$cache/lock"
flock 8
[ -d "$cache/kernel/boot" ] || fetch_kernel
flock -u 8
kernel=$(echo "$cache"/kernel/boot/vmlinuz-*)
modules=$(echo "$cache"/kernel/lib/modules/*)

# ---- its file system ----

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,run,etc,usr/bin,modules}
environment=()

# put FILE: at the same path, and the libraries that it is linked with.
put()
{
    local file=$1 library

    [ ! -e "$root/$file" ] || return 0
    mkdir -p "$root/$(dirname "$file")"
    cp -L "$file" "$root/$file"
    ldd "$file" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$root/$library" ] || { mkdir -p "$root/$(dirname "$library")" &&
            cp -L "$library" "$root/$library"; }
    done
}

programs=()
while [ $# -gt 0 ]; do
    case $1 in
    -e) environment+=("export $2") && shift ;;
    -f) put "$(realpath -s "$2")" && shift ;;
    *) programs+=("$(realpath -s "$1")") ;;
    esac
    shift
done

cp "$busybox" "$root/bin/busybox"
for program in "${programs[@]}" "$(command -v redis-server)" "$(command -v openssl)"; do
    put "$program"
done
for program in "$build"/{lendisd,lendisctl,lendis-bench,lendisd-tls.so}; do
    [ ! -e "$program" ] || put "$(realpath -s "$program")"
done
ln -s "$(command -v redis-server)" "$(command -v openssl)" -t "$root/bin"
# Modules, each behind those that it needs.
number=10
for module in crypto/cryptd crypto/crypto_simd crypto/ghash-generic crypto/gcm crypto/ctr \
    arch/x86/crypto/aesni-intel arch/x86/crypto/ghash-clmulni-intel lib/crypto/libchacha \
    lib/crypto/libpoly1305 arch/x86/crypto/chacha-x86_64 arch/x86/crypto/poly1305-x86_64 \
    crypto/chacha20poly1305 net/tls/tls; do
    number=$((number + 1))
    [ ! -e "$modules/kernel/$module.ko" ] ||
        cp "$modules/kernel/$module.ko" "$root/modules/$number.ko"
done
# Tests name users and groups of a Debian system.
cp /etc/passwd /etc/group -t "$root/etc"
put /usr/lib/ssl/openssl.cnf
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"

{
    cat tests/ktls/init.sh
    printf 'cd %q\n' "$PWD"
    printf 'export LENDIS_BUILD=%q\n' "$(realpath -s "$build")"
    [ ${#environment[@]} -eq 0 ] || printf '%s\n' "${environment[@]}"
    for program in "${programs[@]}"; do printf 'run %q\n' "$program"; done
    echo finish
} >"$root/init"
chmod 755 "$root/init"
mkdir -p "$root$PWD"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initramfs"

# ---- its life ----

timeout --kill-after=5 "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max \
    -smp "${KTLS_PROCESSORS:-2}" -m "$memory" -nodefaults -no-reboot -display none -serial stdio \
    -kernel "$kernel" -initrd "$work/initramfs" \
    -append 'console=ttyS0 no_timer_check quiet loglevel=3 panic=-1 mitigations=off' \
    </dev/null 2>&1 |
    tr -d '\r' | tee "$work/log" | grep --line-buffered -v '^# machine:' || true
case $(grep '^# machine:' "$work/log" | tail -n 1) in
*': all passed') exit 0 ;;
*': failed') exit 1 ;;
*': no kernel TLS') skip "the kernel that was booted has no kernel TLS" ;;
*) echo "# the machine did not come to its end within $limit s" && exit 1 ;;
esac
