/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end of a socket: the process, its user, and what it may use. All of it is the
 * kernel's word (unix(7)).
 */
#ifndef LENDIS_BROKER_PEER_H
#define LENDIS_BROKER_PEER_H

#include <stdbool.h>
#include <sys/socket.h>
#include "broker/config/config.h"

bool peer_is_allowed(int socket, const struct ucred *peer, const struct pool_config *config);

/*
 * The peer's pidfd. Results: 0 and *process, -1 if the peer cannot be had as a process (another PID
 * namespace on an old kernel) and its socket must do; -ESRCH, it is gone; -EMFILE and the like.
 */
int peer_open_process(int socket, const struct ucred *peer, int *process);

/* errno says that descriptors or memory are short. */
bool peer_is_shortage(int error);

#endif
