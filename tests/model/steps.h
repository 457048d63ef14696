/* SPDX-License-Identifier: MIT */
/*
 * Put in front of every file that a model runs (-include queue/steps.h or handover/steps.h): tells
 * the explorer which word a step is about to touch and where in the source, for its traces and its
 * count of kill points. The accesses themselves stay those of lendis/shm.h; a macro does not expand
 * within itself.
 */
#ifndef MODEL_STEPS_H
#define MODEL_STEPS_H

#include "lendis/shm.h"

void model_site(const char *function, int line, const volatile void *at);

#define MODEL_AT(at) (model_site(__func__, __LINE__, (at)), (at))

#define shm_load(at)                     shm_load(MODEL_AT(at))
#define shm_store(at, value)             shm_store(MODEL_AT(at), value)
#define shm_cas(at, expected, desired)   shm_cas(MODEL_AT(at), expected, desired)
#define shm_load32(at)                   shm_load32(MODEL_AT(at))
#define shm_store32(at, value)           shm_store32(MODEL_AT(at), value)
#define shm_cas32(at, expected, desired) shm_cas32(MODEL_AT(at), expected, desired)
#define shm_exchange32(at, value)        shm_exchange32(MODEL_AT(at), value)
#define shm_add32(at, amount)            shm_add32(MODEL_AT(at), amount)

#endif
