#!/bin/bash
# SPDX-License-Identifier: MIT
#
# How fast commands are on plain connections, with kernel TLS and through a relay, side by side on
# the machine of machine.sh. Its processors are made of software: only ratios mean anything.
set -eu
cd "$(dirname "$0")/../.."
tests/ktls/machine.sh tests/ktls/figures_inside.sh | tee /dev/stderr | awk '
    $1 == "figure" {
        ops[$2, $3, ++n[$2, $3]] = $4
        p50[$2, $3, n[$2, $3]] = $5
        seen[$2] = 1
    }
    # The middle one of three.
    function median(of, key,    a, b, c) {
        a = of[key, 1]; b = of[key, 2]; c = of[key, 3]
        if ((a <= b) == (b <= c)) return b
        if ((b <= a) == (a <= c)) return a
        return c
    }
    END {
        print "workers  of plain      throughput  p50"
        for (w in seen)
            for (i = split("ktls relay", names, " "); i > 0; i--)
                printf "%7d  %-12s %9.2fx  %4.2fx\n", w, names[i],
                    median(ops, w SUBSEP names[i]) / median(ops, w SUBSEP "plain"),
                    median(p50, w SUBSEP names[i]) / median(p50, w SUBSEP "plain")
    }'
