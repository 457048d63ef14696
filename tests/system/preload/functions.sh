#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every function of the C library that takes a descriptor is decided on (broker/run/functions.c):
# its headers are searched for parameters that are descriptors, its symbols for other names of what
# was found. And the preloaded library stands before those that the table says, and no others.
#
# Environment: LENDIS_BUILD, the folder of the programs (build); CC.
set -u

cd "$(dirname "$0")/../../.."
build=$(realpath "${LENDIS_BUILD:-build}")
cc=${CC:-cc}
work=$(mktemp -d "${TMPDIR:-/tmp}/lendis-functions.XXXXXX")
trap 'rm -rf "$work"' EXIT
cases=0
bad=0

# ok TEXT: the command before it succeeded.
ok()
{
    local status=$?

    cases=$((cases + 1))
    if [ "$status" -eq 0 ]; then
        echo "ok $cases - $1"
    else
        echo "not ok $cases - $1"
        bad=$((bad + 1))
    fi
}

# empty FILE: nothing is in it; else it is printed.
empty()
{
    sed 's/^/# /' "$1"
    [ ! -s "$1" ]
}

libc=$("$cc" -print-file-name=libc.so.6)
if ! command -v "${cc%% *}" >/dev/null || [ ! -e "$libc" ]; then
    echo "# no compiler, or no C library as a file"
    exit 77
fi

# Lines "ADDRESS NAME" of what the C library exports for others.
nm -D --defined-only "$libc" | awk '$2 ~ /^[TWi]$/ && $3 !~ /GLIBC_PRIVATE/ {
    sub(/@.*/, "", $3); print $1, $3 }' | sort -u >"$work/symbols"
awk '{ print $2 }' "$work/symbols" | sort -u >"$work/exported"
[ "$(wc -l <"$work/exported")" -gt 1000 ]
ok "the C library's symbols"

# Its headers, those that can be included together; and in them every function with a parameter that
# is called like a descriptor, or is of a type that has descriptors in it.
for header in aio dirent fcntl fmtmsg ftw grp ifaddrs mqueue netdb poll pty pwd resolv sched \
    semaphore sgtty shadow signal spawn stdio stdlib stropts termios time uchar ulimit unistd \
    utime utmp utmpx wchar arpa/inet net/if netinet/in netinet/tcp sys/acct sys/auxv sys/epoll \
    sys/eventfd sys/fanotify sys/file sys/fsuid sys/inotify sys/ioctl sys/ipc sys/mman sys/mount \
    sys/msg sys/pidfd sys/poll sys/prctl sys/ptrace sys/random sys/resource sys/select sys/sem \
    sys/sendfile sys/shm sys/signalfd sys/socket sys/stat sys/statfs sys/statvfs sys/swap \
    sys/syscall sys/time sys/timerfd sys/times sys/types sys/uio sys/un sys/utsname sys/vfs \
    sys/wait sys/xattr execinfo; do
    echo "#if __has_include(<$header.h>)"
    echo "#include <$header.h>"
    echo "#endif"
done >"$work/all.c"
"$cc" -D_GNU_SOURCE -E -P "$work/all.c" 2>"$work/errors" | tr -s ' \n\t' ' ' |
    sed 's/[;{}]/\n/g' >"$work/declarations"
ok "the C library's headers"
# shellcheck disable=SC2016
awk '
    {
        sub(/__attribute__.*/, "")
        at = index($0, "(")
        if (at == 0)
            next
        head = substr($0, 1, at - 1)
        sub(/ +$/, "", head)
        count = split(head, words, /[ *]+/)
        arguments = substr($0, at)
        if (arguments ~ /int (__)?[a-z0-9_]*(fd|fildes|sockfd)[a-z0-9_]* ?[,)]/ ||
            arguments ~ /int (__)?(s|fd1|fd2|infd|outfd|fdin|fdout) ?[,)]/ ||
            arguments ~ /struct (pollfd|aiocb|aiocb64) ?\*/ || arguments ~ /fd_set ?\*/)
            print words[count]
    }' "$work/declarations" | sort -u | comm -12 - "$work/exported" >"$work/found"
[ "$(wc -l <"$work/found")" -gt 130 ] && grep -qx recvfrom "$work/found" &&
    grep -qx poll "$work/found" && grep -qx lio_listio "$work/found"
ok "functions that take a descriptor are found"

"$build/lendis-run" --check >"$work/table"
ok "lendis-run --check prints the table"
awk '{ print $1 }' "$work/table" | sort >"$work/names"
uniq -d "$work/names" >"$work/twice"
empty "$work/twice"
ok "nothing is decided twice"
comm -23 "$work/found" "$work/names" >"$work/undecided"
empty "$work/undecided"
ok "every function is decided on"

# Other names of what is followed or made real: at the same address, or with what the compiler
# appends.
awk '$2 != "private" { print $1 }' "$work/table" | sort >"$work/hooked"
awk 'NR == FNR { hooked[$1] = 1; next }
     $2 in hooked { at[$1] = 1 }
     { line[$0] = 1 }
     END { for (each in line) { split(each, part, " "); if (part[1] in at) print part[2] } }' \
    "$work/hooked" "$work/symbols" | sort -u >"$work/others"
while read -r name; do
    printf '%s\n' "__$name" "__${name}_chk" "${name}64" "__${name}64" "__${name}64_chk" \
        "__${name}_2" "_IO_$name" "__libc_$name"
done <"$work/names" | sort -u | comm -12 - "$work/exported" >>"$work/others"
sort -u "$work/others" | comm -23 - "$work/names" >"$work/undecided"
empty "$work/undecided"
ok "and so is every other name of one"

# The preloaded library.
nm -D --defined-only "$build/liblendis-preload.so" |
    awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/stands"
comm -3 "$work/hooked" "$work/stands" >"$work/different"
empty "$work/different"
ok "the preloaded library stands before exactly these"

echo "1..$cases"
[ "$bad" -eq 0 ]
