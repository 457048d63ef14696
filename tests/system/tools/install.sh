#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Installs into a private directory and uses what is there the way a packager and a user would: by
# pkg-config, shared and static, and runs it against a private redis-server and the installed
# lendisd. Checks the exported functions against the headers, the SONAME, and that uninstall leaves
# nothing behind.
#
# Environment: LENDIS_BUILD, the folder of the programs (build); CC; PKG_CONFIG; MAKE.
set -eu

cd "$(dirname "$0")/../../.."
build=${LENDIS_BUILD:-build}
make=${MAKE:-make}
pkg_config=${PKG_CONFIG:-pkg-config}
read -ra compiler <<<"${CC:-cc}"
# shellcheck source=tests/support/fixture.sh
. tests/support/fixture.sh
fixture_begin install
root=$work/root

fail()
{
    echo "install.sh: $*" >&2
    exit 1
}

run_make()
{
    # The test's own make must not read the flags of the one that runs it, nor build for it.
    env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS "$make" --no-print-directory NO_DEPS=1 "$@" \
        DESTDIR="$root" PREFIX=/usr LIBDIR=/usr/lib/lendis-test >>"$work/make.log" 2>&1 ||
        fail "make $* failed"
}

# ---- what is installed ----

run_make install
for file in bin/lendisctl bin/lendis-report bin/lendis-bench bin/lendis-run sbin/lendisd \
    include/lendis.h include/lendis_hiredis.h lib/lendis-test/liblendis.a \
    lib/lendis-test/liblendis.so lib/lendis-test/liblendis-preload.so \
    lib/lendis-test/liblendis.so.0 lib/lendis-test/pkgconfig/lendis.pc \
    share/doc/lendis/lendis.conf share/man/man8/lendisd.8 share/man/man5/lendis.conf.5 \
    share/man/man1/lendisctl.1 share/man/man1/lendis-report.1 share/man/man1/lendis-bench.1 \
    share/man/man1/lendis-run.1 share/man/man3/liblendis.3 \
    lib/modules-load.d/lendis.conf share/man/man7/lendis-python.7; do
    [ -s "$root/usr/$file" ] || fail "$file was not installed"
done
[ ! -e "$root/usr/include/lendis" ] || fail "private headers were installed"
if grep -rIlF -e "$work" -e "$PWD" "$root/usr/lib/lendis-test/pkgconfig" "$root/usr/include"; then
    fail "these name the folder they were built or staged in"
fi

# ---- the shared library ----

library=$root/usr/lib/lendis-test/liblendis.so
headers_declare()
{
    # Without comments; hiredis' own declarations have other names.
    "${compiler[@]}" -E -P -I"$root/usr/include" "$root/usr/include/$1" |
        grep -oE '\blendis_[a-z_]+ *\(' |
        tr -d ' ('
}
{ headers_declare lendis.h; headers_declare lendis_hiredis.h; } | LC_ALL=C sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    LC_ALL=C sort -u >"$work/exported"
[ -s "$work/declared" ] || fail "no functions were found in the headers"
diff -u "$work/declared" "$work/exported" >&2 ||
    fail "the headers declare (-) other functions than the library exports (+)"
if nm -D --defined-only "$library" | awk '$2 != "A"' | grep -v '@@LENDIS_'; then
    fail "these functions have no version"
fi
dynamic=$(readelf -dW "$library")
grep -qF 'Library soname: [liblendis.so.0]' <<<"$dynamic" || fail "wrong SONAME"
[ "$(readlink "$library")" = liblendis.so.0 ] || fail "liblendis.so does not point to the SONAME"
! grep -q TEXTREL <<<"$dynamic" || fail "the library has text relocations"
! grep -qE 'RPATH|RUNPATH' <<<"$dynamic" || fail "the library has a run path"

# ---- build against it ----

export PKG_CONFIG_PATH=$root/usr/lib/lendis-test/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
version=$("$root/usr/bin/lendisctl" --version | cut -d' ' -f2)
[ "$("$pkg_config" --modversion lendis)" = "$version" ] ||
    fail "lendis.pc has another version than lendisctl"
read -ra shared <<<"$("$pkg_config" --cflags --libs lendis)"
read -ra static <<<"$("$pkg_config" --static --cflags --libs lendis)"
example=$root/usr/share/doc/lendis/worker.c
"${compiler[@]}" -Wall -Wextra -o "$work/worker" "$example" "${shared[@]}"
readelf -dW "$work/worker" | grep -qF 'Shared library: [liblendis.so.0]' ||
    fail "not linked with the library"
# Everything static where the C library can be; its warnings about getaddrinfo(3) in hiredis are no
# matter here.
"${compiler[@]}" -static -o "$work/worker-static" "$example" "${static[@]}" 2>"$work/static.log" ||
    fail "static linking failed"
# lendis.h alone, in C++ too if there is a compiler, without a word of hiredis.
printf '#include <lendis.h>\nint main(void) { return lendis_strerror(0) ? 0 : 1; }\n' \
    >"$work/plain.c"
"${compiler[@]}" -Wall -Wextra -Wpedantic -Werror -std=c99 -I"$root/usr/include" \
    -o "$work/plain" "$work/plain.c" \
    -Wl,--as-needed "${shared[@]}"
! readelf -dW "$work/plain" | grep -q 'NEEDED.*hiredis' || fail "lendis.h alone needs hiredis"
if command -v c++ >/dev/null; then
    c++ -Wall -Wextra -Werror -fsyntax-only -x c++ -I"$root/usr/include" "$work/plain.c"
fi

# ---- run it ----

export LD_LIBRARY_PATH=$root/usr/lib/lendis-test LENDIS_SOCKET=$work/lendis.sock
"$work/plain" || fail "a program that uses lendis.h alone does not run"
fixture_start_redis || fail "redis-server does not start"
fixture_configure 'size = 2'
"$root/usr/sbin/lendisd" --config "$work/lendis.conf" >"$work/lendisd.log" 2>&1 &
broker=$!
pids+=("$broker")
until_true 10 test -S "$LENDIS_SOCKET" || fail "lendisd does not start"
"$work/worker" >"$work/worker.out" || fail "the example fails"
"$work/worker-static" >>"$work/worker.out" || fail "the static example fails"
visits=$(redis get visits)
[ "$visits" = 8 ] || fail "8 workers made $visits visits"
"$root/usr/bin/lendisctl" --json show pools | grep -q '"pool": "main"' ||
    fail "lendisctl does not find the broker"
# The Python package, where Debian's interpreter looks, without the tree that it was built in.
if [ -x /usr/bin/python3 ]; then
    python="$root/usr/lib/python3/dist-packages"
    [ -e "$python/lendis/py.typed" ] || fail "the Python package was not installed"
    grep -q '^_INSTALLED = "/usr/lib/lendis-test/liblendis.so.0"' "$python/lendis/_library.py" ||
        fail "the Python package does not know where the library is"
    (cd "$work" && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$python /usr/bin/python3 -c \
        'import lendis; print(lendis.__version__, int(lendis.Pool().execute("INCR", "visits")))') \
        >"$work/python.out" || fail "the Python package does not run"
    [ "$(cat "$work/python.out")" = "$("$root/usr/bin/lendisctl" --version | cut -d' ' -f2) 9" ] ||
        fail "the Python package says $(cat "$work/python.out")"
fi
# It finds the lendisd that was installed with it.
env -u LENDIS_BUILD HOME="$work" XDG_STATE_HOME= \
    "$root/usr/bin/lendis-report" compare --workers 2 --busy --csv >"$work/report.out" 2>&1 ||
    fail "lendis-report does not run: $(cat "$work/report.out")"
grep -q '^2,4,4,busy,.*,total,' "$work/report.out" ||
    fail "lendis-report compares nothing: $(cat "$work/report.out")"
[ -s "$work/.local/state/lendis/costs" ] || fail "lendis-report keeps no costs"
"$root/usr/bin/lendis-bench" --workers 2 --seconds 0.1 --rounds 1 >"$work/bench.out" 2>&1 ||
    fail "lendis-bench does not run: $(cat "$work/bench.out")"
kill "$broker"
wait "$broker" || fail "lendisd ended with status $?"

# ---- and away with it ----

run_make uninstall
left=$(find "$root" ! -type d)
[ -z "$left" ] || fail "uninstall left $left"
echo "install.sh: all is well"
