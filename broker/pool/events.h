/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a pool's connections, as each reports it (struct connection_owner), and what the
 * pool does about it.
 */
#ifndef LENDIS_BROKER_EVENTS_H
#define LENDIS_BROKER_EVENTS_H

struct connection_owner;

/* From now on `owner`'s connections report here. */
void events_listen(struct connection_owner *owner);

#endif
