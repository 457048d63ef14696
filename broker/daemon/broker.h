/* SPDX-License-Identifier: MIT */
/*
 * The broker as a whole: its socket, the catalog with the notice of its death, its pools and
 * workers, the signals that end it. One thread, one event loop.
 */
#ifndef LENDIS_BROKER_BROKER_H
#define LENDIS_BROKER_BROKER_H

#include "broker/config/config.h"

/* Runs until it is told to stop. Results: 0, it drained; -errno, it could not start (which was
 * logged). `config` becomes the broker's, and is empty afterwards. */
int broker_run(struct config *config);

#endif
