<?php
// SPDX-License-Identifier: MIT
// A program with phpredis that knows nothing of lendis: argument 1 is the port.

$port = (int)$argv[1];

function expect($got, $wanted)
{
    if ($got !== $wanted) {
        throw new Exception(var_export($got, true) . ' instead of ' . var_export($wanted, true));
    }
}

foreach (['connect', 'pconnect'] as $connect) {
    $redis = new Redis();
    $redis->$connect('127.0.0.1', $port, 5);
    for ($i = 0; $i < 100; $i++) {
        expect($redis->set('php', $i), true);
        expect($redis->get('php'), (string)$i);
    }
    expect($redis->multi()->set('m', 1)->incr('m')->exec(), [true, 2]);
    expect($redis->pipeline()->set('p', 1)->incr('p')->get('p')->exec(), [true, 2, '2']);
    expect($redis->select(1), true);
    expect($redis->set('php', 'one'), true);
    expect($redis->select(0), true);
    expect($redis->get('php'), '99');
    expect($redis->client('setname', 'app'), true);
    expect($redis->client('getname'), 'app');
    $large = str_repeat('z', 1000000);
    expect($redis->set('large', $large), true);
    expect($redis->get('large'), $large);
    expect($redis->blPop('empty', 1), []);
    expect($redis->rawCommand('NOSUCH'), false);
    expect($redis->ping(), true);
    expect($redis->eval('return {1, 2, ARGV[1]}', ['x']), [1, 2, 'x']);
    $redis->close();
}
for ($i = 0; $i < 50; $i++) {
    $redis = new Redis();
    $redis->connect('127.0.0.1', $port);
    expect($redis->get('php'), '99');
    $redis->close();
}
echo "well\n";
