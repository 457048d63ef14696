/* SPDX-License-Identifier: MIT */
/*
 * Included before all else into the files of liblendis that the preloaded library is built of: what
 * they call is the C library's own, not a hook. The headers come first, so that the names below are
 * of calls alone.
 */
#ifndef LENDIS_PRELOAD_REAL_CALLS_H
#define LENDIS_PRELOAD_REAL_CALLS_H

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include "libclient/preload/own.h"
#include "libclient/preload/real.h"

#define connect(...)    real()->connect(__VA_ARGS__)
#define send(...)       real()->send(__VA_ARGS__)
#define sendto(...)     real()->sendto(__VA_ARGS__)
#define sendmsg(...)    real()->sendmsg(__VA_ARGS__)
#define write(...)      real()->write(__VA_ARGS__)
#define writev(...)     real()->writev(__VA_ARGS__)
#define recv(...)       real()->recv(__VA_ARGS__)
#define recvfrom(...)   real()->recvfrom(__VA_ARGS__)
#define recvmsg(...)    real()->recvmsg(__VA_ARGS__)
#define read(...)       real()->read(__VA_ARGS__)
#define readv(...)      real()->readv(__VA_ARGS__)
#define close(...)      own_close(__VA_ARGS__)
#define shutdown(...)   real()->shutdown(__VA_ARGS__)
#define fcntl(...)      own_fcntl(__VA_ARGS__)
#define ioctl(...)      real()->ioctl(__VA_ARGS__)
#define getsockopt(...) real()->getsockopt(__VA_ARGS__)
#define setsockopt(...) real()->setsockopt(__VA_ARGS__)
#define poll(...)       real()->poll(__VA_ARGS__)
#define epoll_ctl(...)  real()->epoll_ctl(__VA_ARGS__)
#define syscall(...)    real()->syscall(__VA_ARGS__)

#endif
