/* SPDX-License-Identifier: MIT */
/* Reporting what a pool's server refuses (rights.h): a line in the log, once, and the catalog. */
#ifndef LENDIS_BROKER_REFUSAL_H
#define LENDIS_BROKER_REFUSAL_H

struct broker_pool;

/* Something may have been learned. */
void refusal_report(struct broker_pool *pool);

#endif
