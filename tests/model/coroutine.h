/* SPDX-License-Identifier: MIT */
/*
 * A coroutine on a stack at a fixed address, so that its whole private state is bytes that the
 * explorer can copy, compare and put back. At rest the registers are on the stack as well.
 *
 * x86-64 and aarch64 have a switch of a few instructions. Elsewhere, or with -DMODEL_UCONTEXT, it
 * is swapcontext(3), which works the same and costs two system calls.
 */
#ifndef MODEL_COROUTINE_H
#define MODEL_COROUTINE_H

#include <stddef.h>

#define COROUTINE_STACK 32768u

struct coroutine {
    _Alignas(64) unsigned char stack[COROUTINE_STACK];
};

/* Makes `coroutine` ready to run `entry`, which must never return. */
void coroutine_start(struct coroutine *coroutine, void (*entry)(void), size_t *live);

/*
 * Runs `coroutine`, which is at rest with the last *live bytes of its stack, until it yields; *live
 * is its new rest. What lies beyond is cleared before, so that equal states have equal bytes.
 */
void coroutine_run(struct coroutine *coroutine, size_t *live);

/* Called on a coroutine: back to who ran it. */
void coroutine_yield(void);

#endif
