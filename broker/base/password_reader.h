/* SPDX-License-Identifier: MIT */
/*
 * Reading a password file, which may be on a file system that hangs, without waiting for it: in the
 * background, for the event loop; or within a limit, for whoever cannot go on without. What is read
 * is in memory for secrets from the first byte on (secret.h).
 *
 * A file that was changed a moment ago may be half written: it is read again until two readings, a
 * moment apart, find the same.
 */
#ifndef LENDIS_BROKER_PASSWORD_READER_H
#define LENDIS_BROKER_PASSWORD_READER_H

#include "broker/base/background.h"
#include "libclient/shared/password_file.h"

struct password_reading;

/* Gets `password`, borrowed for the time of the call, or NULL and why. */
typedef void password_reading_done(void *context, const struct password *password, const char *why);

/*
 * Reads the file at `path`, which is called `name`. Results: 0, `done` is called once, from the
 * loop, unless the reading is cancelled before; -errno.
 */
int password_reading_start(struct background *background, const char *path, const char *name,
                           password_reading_done *done, void *context,
                           struct password_reading **reading);

/* `done` will not be called. NULL is allowed. */
void password_reading_cancel(struct password_reading *reading);

/*
 * Reads it and calls `done` before it returns, which takes limit_ms at most. Results: 0; -errno,
 * `done` was not called.
 */
int password_read_within(uint32_t limit_ms, const char *path, const char *name,
                         password_reading_done *done, void *context);

#endif
