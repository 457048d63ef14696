<?php
// SPDX-License-Identifier: MIT
// A page for php-fpm and Apache, by phpredis: writes and reads the number that it is asked for, in
// all ways, and prints it. It prints "wrong" if a reply is not its own, "lost" if there is none.

function compare($got, $number)
{
    if ($got === false || $got === null) {
        exit('lost');
    }
    if ($got !== $number) {
        exit("wrong $got");
    }
}

try {
    parse_str($_SERVER['QUERY_STRING'], $query);
    $connect = $query['c'];
    $number = $query['n'];
    $key = "page:$number";
    $redis = new Redis();
    $redis->$connect('127.0.0.1', (int)$_SERVER['REDIS_PORT'], 5);
    $redis->set($key, $number, 100);
    $queued = $redis->multi()->get($key)->incr('count')->exec();
    compare($queued[0] ?? null, $number);
    compare($redis->get($key), $number);
    $piped = $redis->pipeline()->get($key)->echo("e$number")->exec();
    compare($piped[0] ?? null, $number);
    compare(substr($piped[1] ?? '', 1), $number);
    echo $number;
} catch (RedisException $error) {
    echo 'failed: ', $error->getMessage();
}
