/* SPDX-License-Identifier: MIT */
/* Put in front of every file that the queue's model runs: see ../steps.h. */
#ifndef QUEUE_STEPS_H
#define QUEUE_STEPS_H

#include "../steps.h"

#ifdef MODEL_BREAK
#include "broken.h"
#endif

#endif
