/* SPDX-License-Identifier: MIT */
/*
 * liblendis for users of hiredis: the same calls, replies and formats, on borrowed connections.
 */
#ifndef LENDIS_HIREDIS_H
#define LENDIS_HIREDIS_H

#include <hiredis/hiredis.h>
#include "lendis.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lendis_pipeline;

/*
 * redisCommand() on a connection of the pool. Results: the reply, freed with freeReplyObject();
 * NULL, it failed: see lendis_pool_error(). Waits as long as the pool's wait_timeout and
 * command_timeout allow. Thread-safe.
 */
redisReply *lendis_command(struct lendis_pool *pool, const char *format, ...);
redisReply *lendis_command_argv(struct lendis_pool *pool, int argc, const char **argv,
                                const size_t *argvlen);

/*
 * A pipeline: commands that are sent in one go and answered together, handed over as one. Append,
 * then exec, which returns an array reply with a reply for each command in its order
 * (freeReplyObject() frees all), and leaves the pipeline empty for the next. What lendis_exec()
 * says of pipelines holds: with MULTI and EXEC in it, it is a transaction. A pipeline belongs to
 * one thread at a time. hiredis 0.14 reads replies nested up to 6 deep in it.
 *
 * new: NULL, no memory. append: 0; -EINVAL, the format is wrong; -ENOMEM. exec: NULL, as
 * lendis_command(); -EINVAL for an empty pipeline. free: NULL is allowed.
 */
struct lendis_pipeline *lendis_pipeline_new(struct lendis_pool *pool);
int lendis_pipeline_append(struct lendis_pipeline *pipeline, const char *format, ...);
int lendis_pipeline_append_argv(struct lendis_pipeline *pipeline, int argc, const char **argv,
                                const size_t *argvlen);
redisReply *lendis_pipeline_exec(struct lendis_pipeline *pipeline);
void lendis_pipeline_free(struct lendis_pipeline *pipeline);

/* Why the calling thread's last call here returned NULL, or lendis_attach() failed: a result as of
 * lendis.h, and its sentence in *text (may be NULL; good until the thread's next call): for
 * LENDIS_E_DOWN, why Redis cannot be reached, if that is known; for -EINVAL of lendis_attach(),
 * what is wrong with which option. 0 after success. `pool` may be NULL. */
int lendis_pool_error(const struct lendis_pool *pool, const char **text);

/*
 * redisCommand() on a leased connection: for transactions and whatever needs one connection. lendis
 * sees what is sent, so a connection that the caller leaves clean needs no reset. Results as
 * lendis_command(); and LENDIS_E_REVOKED, the broker took the lease back: the command was not
 * executed, or only reads.
 */
redisReply *lendis_lease_command(struct lendis_lease *lease, const char *format, ...);

/*
 * A hiredis context on the leased connection. It is lendis' own: never redisFree() or
 * redisReconnect() it; it is gone with the lease. What goes through it lendis does not see, so the
 * connection's state is unknown when it is returned, and the broker resets it; read all replies
 * before that, or it is replaced. Results: the context, the same one each time; NULL, no memory or
 * descriptors, or not a lease of this process.
 */
redisContext *lendis_lease_context(struct lendis_lease *lease);

#ifdef __cplusplus
}
#endif

#endif
