/* SPDX-License-Identifier: MIT */
/*
 * How a command's connection came to its end, as far as its user can see: whether the command may
 * be sent again, and whether it cost the connection.
 *
 * A connection that ended while a command was being answered may have ended because of it: its
 * reply was larger than client-output-buffer-limit, its arguments larger than Redis reads, somebody
 * killed its client. Sent again it would cost the next connection. So it is not sent again, and who
 * it was is reported to the broker: for the log, and because this is no evidence against the
 * server.
 */
#ifndef LENDIS_LOSS_H
#define LENDIS_LOSS_H

#include <stdint.h>
#include "libclient/pool.h"

enum loss {
    LOSS_NONE,   /* time is up, that is all */
    LOSS_BEFORE, /* it had ended before the command came: it was not read */
    LOSS_MEANWHILE /* it ended; this command was one of those on it, perhaps read, not answered */,
    LOSS_ANSWERING /* it ended while this command was being answered */
};

/*
 * What the end of `lease`'s connection means to the first command on it that was not answered:
 * `error` is errno of the read that found it, 0 for an orderly end. `any`: a byte of its reply had
 * come.
 */
enum loss loss_judge(const struct lendis_lease *lease, int error, bool any);

/*
 * Reports that worker `worker` lost the connection of `lease` to command `number` of
 * `request`, from 0. Costs a system call.
 */
void loss_report(const struct lendis_lease *lease, uint32_t worker, const char *request,
                 size_t size, uint32_t number);

/* The same when it was one of several, and nobody can say which. */
void loss_report_several(const struct lendis_lease *lease);

#endif
