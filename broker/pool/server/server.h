/* SPDX-License-Identifier: MIT */
/*
 * What is known of a pool's server: which of its commands may not share a connection
 * (command_info.h), and what it refuses the pool's user (rights.h). The first is published in the
 * catalog; both are reported in the log, once.
 */
#ifndef LENDIS_BROKER_SERVER_H
#define LENDIS_BROKER_SERVER_H

#include "broker/base/log.h"
#include "broker/redis/command_info.h"
#include "broker/redis/rights.h"

struct broker_pool;

struct server {
    struct command_info commands;
    struct rights rights;
    struct log_limit commands_limit;
    struct log_limit refusal_limit;
};

/* The server may be another one from now on: what is known of it is asked anew. */
void server_renew(struct broker_pool *pool);

/* Reports to workers which commands may not share a connection, as far as they do not know it by
 * themselves. */
void server_publish_commands(struct broker_pool *pool);

/* A connection is about to be lent: something may have been learned by it. */
void server_dialled(struct broker_pool *pool);

/* A dial failed, perhaps at COMMAND. */
void server_dial_failed(struct broker_pool *pool);

/* The server refuses the user these (RIGHT_BIT()), which was reported already. */
void server_refuses(struct broker_pool *pool, uint32_t rights);

#endif
