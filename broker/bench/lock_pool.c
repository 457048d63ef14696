/* SPDX-License-Identifier: MIT */
/* A pool with a lock: see lock_pool.h. */
#include "broker/bench/lock_pool.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include "broker/testbed/testbed.h"

#define POOL_SIZE_MAX 64u

struct lock_pool {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    unsigned free_count;
    unsigned free[POOL_SIZE_MAX]; /* the last one given back is the next one taken */
};

struct lock_pool *lock_pool_new(unsigned size)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    struct lock_pool *pool =
        mmap(NULL, sizeof *pool, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (pool == MAP_FAILED || size > POOL_SIZE_MAX)
        give_up("no pool of %u: %s", size, strerror(errno));
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&pool->mutex, &mutex);
    pthread_condattr_init(&condition);
    pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&pool->given, &condition);
    for (unsigned i = 0; i < size; i++)
        pool->free[pool->free_count++] = i;
    return pool;
}

void lock_pool_free(struct lock_pool *pool)
{
    munmap(pool, sizeof *pool);
}

unsigned lock_pool_take(struct lock_pool *pool)
{
    unsigned number;

    pthread_mutex_lock(&pool->mutex);
    while (pool->free_count == 0)
        pthread_cond_wait(&pool->given, &pool->mutex);
    number = pool->free[--pool->free_count];
    pthread_mutex_unlock(&pool->mutex);
    return number;
}

void lock_pool_give(struct lock_pool *pool, unsigned number)
{
    pthread_mutex_lock(&pool->mutex);
    pool->free[pool->free_count++] = number;
    pthread_cond_signal(&pool->given);
    pthread_mutex_unlock(&pool->mutex);
}
