<?php
// SPDX-License-Identifier: MIT
// A page of figures.sh for php-fpm: three commands on a persistent connection or on one of its own.

$redis = new Redis();
$connect = $_GET['c'];
$redis->$connect('127.0.0.1', (int)$_SERVER['REDIS_PORT'], 10);
$redis->incr('visits');
$redis->set('last', 'visit');
echo strlen($redis->get('value')), "\n";
