#!/bin/sh
# SPDX-License-Identifier: MIT
# Kernel TLS on a kernel that has it: pools of a broker, leases, a short storm, which hands over,
# resets and takes over, all on connections that the kernel has. Other system tests have limits that
# a machine of software does not keep.
build=${LENDIS_BUILD:-build}
KTLS_SECONDS=${KTLS_SECONDS:-1500} exec "$(dirname "$0")/machine.sh" \
    -e REDIS_TLS=ktls -e STORM_COMMANDS="${STORM_COMMANDS:-20000}" -e STORM_WORKERS=8 \
    -e STORM_LIMIT=600 -e STORM_KILL_MS=200 -e LENDIS_POOL_P_CONNECT_TIMEOUT=15s \
    "$build/tests/ktls/test_ktls" "$build/tests/system/libclient/test_leases" \
    "$build/tests/crash/storm/storm"
