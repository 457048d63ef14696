#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: every descriptor of the library is born through libclient/shared/descriptor.c, which
# keeps it off 0, 1 and 2.
set -eu
cd "$(dirname "$0")/../.."
births='(^|[^_a-z.>])(socket|socketpair|open|openat|fopen|creat|accept4?|dup[23]?|eventfd|timerfd_create|signalfd|epoll_create1?|inotify_init1?|memfd_create|shm_open|pidfd_open|pipe2?)\('
if grep -rnE "$births|F_DUPFD" libclient include --include='*.[ch]' | grep -vE '^(libclient/shared|include/lendis)/descriptor\.[ch]:|descriptor_lift\(|^[^:]*:[0-9]*: *(/?\*|//)'; then
    echo "descriptors that may get a number below 3: use shared/descriptor.h" >&2
    exit 1
fi
