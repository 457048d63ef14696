/* SPDX-License-Identifier: MIT */
/* The page of a process alone: see mine.h. */
#include "libclient/preload/mine.h"

#include <sys/mman.h>
#include <unistd.h>

struct mine *mine;

bool mine_prepare(void)
{
    struct mine *made, *none = NULL;

    if (__atomic_load_n(&mine, __ATOMIC_ACQUIRE))
        return true;
    made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return false;
    if (madvise(made, sizeof *made, MADV_WIPEONFORK) == 0) {
        atomic_store(&made->pid, getpid());
        atomic_store(&made->state, 2);
        if (__atomic_compare_exchange_n(&mine, &none, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return true;
    }
    munmap(made, sizeof *made);
    return none != NULL;
}

bool mine_is_foreign(void)
{
    return mine && atomic_load(&mine->state) == 2 && atomic_load(&mine->pid) != getpid();
}
