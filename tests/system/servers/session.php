<?php
// SPDX-License-Identifier: MIT
// A page for php-fpm whose session is in Redis (session.save_handler = redis): each number has a
// session of its own, that is written by one request and read by another one.

$number = $_GET['n'];
$answer = $number;
try {
    session_id("session$number");
    if (!@session_start()) {
        exit('failed');
    }
    $_SESSION['n'] = $number;
    $_SESSION['data'] = str_repeat($number, 100);
    if (!@session_write_close()) {
        exit('failed');
    }
    $_SESSION = [];
    if (!@session_start()) {
        exit('failed');
    }
    if (!isset($_SESSION['n'])) {
        $answer = 'lost';
    } elseif ($_SESSION['n'] !== $number || $_SESSION['data'] !== str_repeat($number, 100)) {
        $answer = "wrong {$_SESSION['n']}";
    }
    @session_write_close();
} catch (RedisException $error) {
    $answer = 'failed: ' . $error->getMessage();
}
echo $answer;
