/* SPDX-License-Identifier: MIT */
/* Switching between stacks: see coroutine.h. One thread only. */
#include "coroutine.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(MODEL_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define MODEL_UCONTEXT
#endif

/* The most that any run used so far, about: what a run used beyond its rest is small. */
static size_t deepest;
#define BEYOND_REST 512u

static unsigned char *top_of(struct coroutine *coroutine)
{
    return coroutine->stack + COROUTINE_STACK;
}

/* Clears what earlier runs left below the `live` bytes. */
static void clear_dead(struct coroutine *coroutine, size_t live)
{
    if (deepest > live)
        memset(top_of(coroutine) - deepest, 0, deepest - live);
}

static void note_depth(size_t live)
{
    if (live + BEYOND_REST > deepest)
        deepest = live + BEYOND_REST;
    if (deepest > COROUTINE_STACK) {
        fprintf(stderr, "model: a coroutine's stack is too small\n");
        abort();
    }
}

#ifdef MODEL_UCONTEXT
#include <ucontext.h>

/* A coroutine's registers are at the top of its stack, so that they are among its live bytes. */
#define CONTEXT_SIZE ((sizeof(ucontext_t) + 63) & ~(size_t)63)

/* Without the compiler's knowledge of stack pointers, a yield is at rest with some more than its
 * frame. */
#define MARGIN 512u

static ucontext_t scheduler;
static struct coroutine *current;
static size_t rest;

static ucontext_t *context_of(struct coroutine *coroutine)
{
    return (ucontext_t *)(void *)(top_of(coroutine) - CONTEXT_SIZE);
}

void coroutine_start(struct coroutine *coroutine, void (*entry)(void), size_t *live)
{
    ucontext_t *context = context_of(coroutine);

    memset(coroutine->stack, 0, sizeof coroutine->stack);
    getcontext(context);
    context->uc_link = NULL;
    context->uc_stack.ss_sp = coroutine->stack;
    context->uc_stack.ss_size = COROUTINE_STACK - CONTEXT_SIZE;
    makecontext(context, entry, 0);
    *live = CONTEXT_SIZE + MARGIN;
}

void coroutine_run(struct coroutine *coroutine, size_t *live)
{
    clear_dead(coroutine, *live);
    current = coroutine;
    swapcontext(&scheduler, context_of(coroutine));
    *live = rest;
    note_depth(*live);
}

__attribute__((noinline)) void coroutine_yield(void)
{
    unsigned char *frame = __builtin_frame_address(0);

    rest = (size_t)(top_of(current) - frame) + MARGIN;
    swapcontext(context_of(current), &scheduler);
}

#else

/* Saves the callee-saved registers and the stack pointer in *save, goes on where `load` was
 * saved. */
void coroutine_switch(void **save, void *load);

#ifdef __x86_64__
#define SAVED_WORDS 8 /* six registers, the return address, one for the alignment of the entry */
#define ENTRY_WORD  6
__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch,@function\n"
        "coroutine_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size coroutine_switch,.-coroutine_switch\n");
#else
#define SAVED_WORDS 20 /* x19 to x30, d8 to d15 */
#define ENTRY_WORD  11
__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch,%function\n"
        "coroutine_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size coroutine_switch,.-coroutine_switch\n");
#endif

static void *scheduler;
static void *rest;

void coroutine_start(struct coroutine *coroutine, void (*entry)(void), size_t *live)
{
    uint64_t *words = (uint64_t *)(void *)top_of(coroutine) - SAVED_WORDS;

    memset(coroutine->stack, 0, sizeof coroutine->stack);
    words[ENTRY_WORD] = (uint64_t)(uintptr_t)entry;
    *live = SAVED_WORDS * sizeof *words;
}

void coroutine_run(struct coroutine *coroutine, size_t *live)
{
    clear_dead(coroutine, *live);
    coroutine_switch(&scheduler, top_of(coroutine) - *live);
    *live = (size_t)(top_of(coroutine) - (unsigned char *)rest);
    note_depth(*live);
}

void coroutine_yield(void)
{
    coroutine_switch(&rest, scheduler);
}

#endif
