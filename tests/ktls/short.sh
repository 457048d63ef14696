#!/bin/sh
# SPDX-License-Identifier: MIT
# Kernel TLS on a kernel that has it, in less than a minute: sockets with a server of OpenSSL.
exec "$(dirname "$0")/machine.sh" "${LENDIS_BUILD:-build}/tests/ktls/test_kernel_socket"
