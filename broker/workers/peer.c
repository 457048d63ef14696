/* SPDX-License-Identifier: MIT */
/* Who is at the other end: see peer.h. */
#include "broker/workers/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* <asm-generic/socket.h>, Linux 6.5 */
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* <asm-generic/socket.h>, Linux 4.13 */
#endif

/* Supplementary groups that are looked up without asking for memory. */
#define GROUPS_ON_STACK 128u

static bool groups_allowed(int socket, const struct ucred *peer, const struct id_list *allowed)
{
    gid_t on_stack[GROUPS_ON_STACK], *groups = on_stack, *more = NULL;
    socklen_t size = sizeof on_stack;
    bool found = false;

    if (id_list_contains(allowed, peer->gid))
        return true;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
        if (errno != ERANGE)
            return false;
        groups = more = malloc(size);
        if (!more || getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
            size = 0;
    }
    for (size_t i = 0; i < size / sizeof *groups; i++)
        found |= id_list_contains(allowed, groups[i]);
    free(more);
    return found;
}

bool peer_is_allowed(int socket, const struct ucred *peer, const struct pool_config *config)
{
    const struct id_list *gids = &config->allow_gids, *groups = &config->allow_groups.ids;

    if (config->allow_uids.count == 0 && config->allow_users.ids.count == 0 && gids->count == 0 &&
        groups->count == 0)
        return true;
    if (id_list_contains(&config->allow_uids, peer->uid) ||
        id_list_contains(&config->allow_users.ids, peer->uid))
        return true;
    return (gids->count > 0 && groups_allowed(socket, peer, gids)) ||
           (groups->count > 0 && groups_allowed(socket, peer, groups));
}

static bool hung_up(int socket)
{
    struct pollfd poll_fd = {.fd = socket, .events = 0};

    return poll(&poll_fd, 1, 0) == 1;
}

bool peer_is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

int peer_open_process(int socket, const struct ucred *peer, int *process)
{
    socklen_t size = sizeof *process;

    *process = -1;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, process, &size) == 0)
        return 0;
    *process = -1;
    if (peer_is_shortage(errno))
        return -errno;
    if (errno == ESRCH || errno == EINVAL || errno == ENODATA)
        return -ESRCH; /* Linux 6.5 and later: reaped already */
    if (peer->pid <= 0)
        return 0;
    *process = (int)syscall(SYS_pidfd_open, peer->pid, 0);
    if (*process < 0)
        return errno == ESRCH ? -ESRCH : peer_is_shortage(errno) ? -errno : 0;
    /* The number may have been another's by then; but whoever connected was alive if its socket
     * still is. */
    if (hung_up(socket)) {
        close(*process);
        *process = -1;
        return -ESRCH;
    }
    return 0;
}
