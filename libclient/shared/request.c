/* SPDX-License-Identifier: MIT */
/* Writing commands: see request.h. */
#include "libclient/shared/request.h"

#include <stdio.h>
#include <string.h>

void request_add(char *request, size_t *used, size_t count, const char *const *words,
                 const size_t *sizes)
{
    char *at = request + *used;

    at += snprintf(at, REQUEST_FRAME(0), "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++) {
        size_t size = sizes ? sizes[i] : strlen(words[i]);

        at += snprintf(at, REQUEST_FRAME(0), "$%zu\r\n", size);
        memcpy(at, words[i], size);
        memcpy(at + size, "\r\n", 2);
        at += size + 2;
    }
    *used = (size_t)(at - request);
}
