/* SPDX-License-Identifier: MIT */
/*
 * Put in front of every file that the hand-over's model runs: the steps of ../steps.h, copies to
 * and from shared memory as steps of their own, and the model's sockets and pauses for the
 * kernel's.
 */
#ifndef HANDOVER_STEPS_H
#define HANDOVER_STEPS_H

#include "../steps.h"

#include <string.h>
#include "system.h"

#define memcpy(to, from, size)       model_copy(__func__, __LINE__, to, from, size)
#define send(fd, data, size, flags)  model_send(fd, data, size, flags)
#define sendmsg(fd, message, flags)  model_sendmsg(fd, message, flags)
#define recv(fd, data, size, flags)  model_receive(fd, data, size, flags)
#define poll(polled, count, timeout) model_poll(polled, count, timeout)
#define nanosleep(time, rest)        model_pause(time, rest)

#ifdef MODEL_BREAK
#include "broken.h"
#endif

#endif
