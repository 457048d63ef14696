#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: what is linked with OpenSSL. lendisd-tls.so, and nothing else: workers have no use
# for it, and the broker loads that library only when a pool has TLS. Nor does anything else include
# OpenSSL's headers, but for what the library consists of.
#
# Usage: tests/lint/openssl.sh BUILD: the folder of programs and libraries
set -eu
cd "$(dirname "$0")/../.."
status=0

needs_openssl()
{
    readelf -d "$1" | grep -Eq 'NEEDED.*lib(ssl|crypto)'
}

for file in "$1"/lendis* "$1"/liblendis*.so; do
    case $file in
    *.a | *.conf | */lendisd-tls.so) continue ;;
    esac
    if [ -f "$file" ] && needs_openssl "$file"; then
        echo "$file is linked with OpenSSL"
        status=1
    fi
done
if ! needs_openssl "$1/lendisd-tls.so"; then
    echo "lendisd-tls.so is not linked with OpenSSL: this script sees nothing"
    status=1
fi
if grep -l '^ *# *include <openssl/' -r include libclient broker | grep -v '^broker/tls/' |
    grep -v '^broker/testbed/tls_client.c$'; then
    echo "the files above include OpenSSL's headers"
    status=1
fi
exit $status
