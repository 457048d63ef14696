<?php
// SPDX-License-Identifier: MIT
// A page for php-fpm: writes and reads what it is asked for. REDIS_PORT is its server's.

parse_str($_SERVER['QUERY_STRING'], $query);
$redis = new Redis();
$connect = $query['c'];
$redis->$connect('127.0.0.1', (int)$_SERVER['REDIS_PORT']);
$key = "page:{$query['n']}";
$redis->set($key, $query['n']);
$queued = $redis->multi()->get($key)->incr('count')->exec();
$value = $redis->get($key);
if ($value !== $query['n'] || $queued[0] !== $query['n']) {
    http_response_code(500);
}
echo $value;
