/* SPDX-License-Identifier: MIT */
/*
 * Failing fast: when so many dials in a row have failed that nobody should wait for Redis any more
 * (fail_fast_after), workers are told by a mark in the catalog, and those that wait already are woken
 * to see it. Dialling goes on as before, one probe at a time; the first success takes the mark away.
 */
#ifndef LENDIS_BROKER_OUTAGE_H
#define LENDIS_BROKER_OUTAGE_H

struct broker_pool;

/* Something has become of a dial or of a connection. */
void outage_look(struct broker_pool *pool);

#endif
