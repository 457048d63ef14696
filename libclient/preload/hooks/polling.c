/* SPDX-License-Identifier: MIT */
/* Polling what the bytes come from: see polling.h. */
#include "libclient/preload/hooks/polling.h"

#include <string.h>
#include "libclient/preload/descriptors.h"

struct pollfd *polling_begin(struct polling *polling, struct pollfd *fds, nfds_t count)
{
    bool differs = false;

    if (!polling_concerns(fds, count))
        return fds;
    for (nfds_t i = 0; i < count; i++) {
        bool is_virtual = virtual_find(fds[i].fd) != NULL;

        if (count > POLLING_ROOM) {
            if (is_virtual)
                descriptor_is_selected(fds[i].fd);
            continue;
        }
        polling->copies[i] = fds[i];
        if (is_virtual)
            polling->copies[i].fd = descriptor_to_poll(fds[i].fd);
        differs |= polling->copies[i].fd != fds[i].fd;
    }
    return differs ? polling->copies : fds;
}

int polling_end(const struct polling *polling, const struct pollfd *polled, struct pollfd *fds,
                nfds_t count, int result)
{
    if (polled == fds || result < 0)
        return result;
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = polling->copies[i].revents;
        /* Another thread has read the reply meanwhile, and the connection is gone: let it look. */
        if (polling->copies[i].fd != fds[i].fd && (fds[i].revents & POLLNVAL))
            fds[i].revents = fds[i].events & (POLLIN | POLLOUT);
    }
    return result;
}
