/* SPDX-License-Identifier: MIT */
/* Starting threads: see thread.h. */
#include "broker/base/thread.h"

#include <pthread.h>
#include <signal.h>

int thread_start(void *(*run)(void *argument), void *argument, size_t stack_size, pthread_t *joined)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int result = pthread_attr_init(&attributes);

    if (result != 0)
        return -result;
    pthread_attr_setstacksize(&attributes, stack_size);
    if (!joined)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* SIGPIPE as well: that of a write goes to the thread that wrote. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = pthread_create(joined ? joined : &thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -result;
}
