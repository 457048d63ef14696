/* SPDX-License-Identifier: MIT */
/* Replies as they came, in one piece of memory: what callers without hiredis get. */
#ifndef LENDIS_REPLY_BYTES_H
#define LENDIS_REPLY_BYTES_H

#include "libclient/call.h"

struct reply_bytes {
    char *data; /* to be freed with lendis_free(); NULL: nothing came yet */
    size_t size;
    size_t room;
};

/* A sink that appends to `bytes`. */
struct reply_sink reply_bytes_sink(struct reply_bytes *bytes);

#endif
