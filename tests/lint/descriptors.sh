#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Of make lint: every descriptor of the library is born through libclient/shared/descriptor.c, which
# keeps it off 0, 1 and 2.
set -eu
cd "$(dirname "$0")/../.."
births='socket|socketpair|open|openat|fopen|creat|accept4?|dup[23]?|eventfd|timerfd_create|signalfd'
births="$births|epoll_create1?|inotify_init1?|memfd_create|shm_open|pidfd_open|pipe2?"
# Where they may be: in descriptor.c, in the preloaded library's own calls of the program's, lifted
# at once, in a comment.
excused='^(libclient/shared|include/lendis)/descriptor\.[ch]:'
excused="$excused|^libclient/preload/(hooks/[a-z_]*|own)\\.c:"
excused="$excused|descriptor_lift\\(|^[^:]*:[0-9]*: *(/?\*|//)"
if grep -rnE "(^|[^_a-z.>])($births)\(|F_DUPFD" libclient include --include='*.[ch]' |
    grep -vE "$excused"; then
    echo "descriptors that may get a number below 3: use shared/descriptor.h" >&2
    exit 1
fi
