#!/bin/sh
# SPDX-License-Identifier: MIT
# Inside the machine of tests/ktls/machine.sh: one redis-server, one lendisd with a pool of each
# transport, and rounds of load on them in turn. A line for each: "figure WORKERS POOL OPS P50_US".
set -eu
build=$LENDIS_BUILD
work=$(mktemp -d)
cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=figures \
    -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem 2>/dev/null
redis-server --port 7001 --tls-port 7002 --tls-cert-file certificate.pem --tls-key-file key.pem \
    --tls-ca-cert-file certificate.pem --tls-auth-clients no --save '' \
    --unixsocket "$work/redis.sock" >redis.log 2>&1 &
pool()
{
    printf '[pool %s]\nredis = %s\nsize = 4\nmin_idle = 4\n' "$1" "$2"
    [ "$1" = plain ] || printf 'tls_ca_file = %s/certificate.pem\ntls_mode = %s\n' "$work" "$1"
}
{
    printf '[broker]\nsocket = %s/lendis.sock\n' "$work"
    pool plain redis://127.0.0.1:7001/0
    pool ktls rediss://127.0.0.1:7002/0
    pool relay rediss://127.0.0.1:7002/0
} >lendis.conf
tries=0
until [ -S redis.sock ] || [ "$tries" -ge 300 ]; do sleep 0.1; tries=$((tries + 1)); done
"$build/lendisd" --config "$work/lendis.conf" >lendisd.log 2>&1 &
tries=0
until [ -S lendis.sock ] || [ "$tries" -ge 300 ]; do sleep 0.1; tries=$((tries + 1)); done
for _ in 1 2 3; do
    for workers in 1 20; do
        for name in plain ktls relay; do
            "$build/lendis-bench" load --mode lendis --socket "$work/lendis.sock" --pool "$name" \
                --redis "unix://$work/redis.sock" --workers "$workers" --seconds 1.5 \
                >round 2>&1 || { cat round lendisd.log; exit 1; }
            awk -v workers="$workers" -v name="$name" '{ of[$1] = $2 } END {
                print "figure", workers, name, of["ops_per_s"], of["p50_us"] }' round
        done
    done
done
"$build/lendisctl" --socket "$work/lendis.sock" show connections | awk '{ print "# " $0 }'
