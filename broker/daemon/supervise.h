/* SPDX-License-Identifier: MIT */
/*
 * lendisd --supervise: a parent that does for the broker what systemd does with a descriptor store
 * (fd_store.h), where there is no systemd: it keeps what the broker hands it, starts the broker
 * again when it crashes or hangs, and passes everything on. It opens nothing itself, speaks to no
 * worker and no Redis, and reads nothing but the broker's notifications.
 */
#ifndef LENDIS_BROKER_SUPERVISE_H
#define LENDIS_BROKER_SUPERVISE_H

/*
 * Runs the program itself as the broker, with the configuration at `config`, until it is told to
 * stop (SIGTERM, SIGINT) or the broker ends by itself. SIGHUP is passed on; SIGUSR2 has the broker
 * replaced by a new one. Results: the exit status.
 */
int supervise(const char *config);

#endif
