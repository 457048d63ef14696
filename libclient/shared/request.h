/* SPDX-License-Identifier: MIT */
/*
 * Writing commands as Redis reads them: arrays of bulk strings (RESP, redis.io). The only place
 * that does: for the broker's handshake and resets, and for the library's own connections.
 */
#ifndef LENDIS_SHARED_REQUEST_H
#define LENDIS_SHARED_REQUEST_H

#include <stddef.h>

/* What a command of `count` words takes beside the words themselves, at most. */
#define REQUEST_FRAME(count) (32u * (1u + (count)))

/*
 * Appends a command to `request`, which has *used bytes and room for this one. `sizes` may be NULL:
 * the words end with a zero byte.
 */
void request_add(char *request, size_t *used, size_t count, const char *const *words,
                 const size_t *sizes);

#endif
