/* SPDX-License-Identifier: MIT */
/* Errors of the server about itself: see notice.h. */
#include "libclient/notice.h"

#include "libclient/membership/attachment.h"
#include "libclient/shared/server_error.h"

/* What a read can get from another node concerns the node of a replica; else whether it is the
 * primary, and whether we are logged in. */
static bool is_for_broker(const struct lendis_lease *lease, uint32_t flags)
{
    uint32_t role = attachment_settings(lease->attachment)->role;

    if (flags & ERROR_OF_PRIMARY)
        return role == ROLE_PRIMARY;
    return (flags & ERROR_REPLACE) || ((flags & ERROR_ELSEWHERE) && role == ROLE_REPLICA);
}

void notice_error(const struct lendis_lease *lease, const char *text, size_t size)
{
    enum server_error error = server_error_classify(text, size);
    struct connection *shared;

    if (error == SERVER_ERROR_none || lease->private ||
        !is_for_broker(lease, server_error_flags(error)))
        return;
    shared = &lease->attachment->segment.connections[lease->index];
    /* Logged out, it is of no use to anybody: whoever has it returns it and does not pass it on. */
    if (error == SERVER_ERROR_noauth)
        shm_store(&shared->retire, 1 + word_generation(lease->word));
    if (shm_exchange(&shared->said, (1 + word_generation(lease->word)) << 8 | error) == 0)
        attachment_ring(lease->attachment);
}
