<?php
// SPDX-License-Identifier: MIT
// A page of memory.py for php-fpm: uses so many persistent connections, and prints its process id.

$connections = [];
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $redis = new Redis();
    $redis->pconnect('127.0.0.1', (int)$_SERVER['REDIS_PORT'], 30);
    $redis->get('value');
    $connections[] = $redis;
}
usleep(100000);
echo getmypid();
