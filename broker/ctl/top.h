/* SPDX-License-Identifier: MIT */
/* `lendisctl top`: a live view of a broker. */
#ifndef LENDIS_CTL_TOP_H
#define LENDIS_CTL_TOP_H

#include "broker/tools/find_broker.h"

/*
 * Shows `broker`, and the one that takes its place at the socket, or as process `pid`, when it is
 * gone, until a key or a signal ends it. Results: 0; -errno, which was reported.
 */
int top_run(struct broker *broker, const char *socket_path, pid_t pid);

#endif
