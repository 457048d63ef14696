/* SPDX-License-Identifier: MIT */
/* A worker's socket has a message, or has hung up; for sd_event_add_io(3). */
#ifndef LENDIS_BROKER_MESSAGE_H
#define LENDIS_BROKER_MESSAGE_H

#include <systemd/sd-event.h>

int worker_on_message(sd_event_source *source, int fd, uint32_t events, void *context);

#endif
