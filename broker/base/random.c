/* SPDX-License-Identifier: MIT */
/* Random numbers: see random.h. */
#include "broker/base/random.h"

#include <sys/random.h>
#include "broker/base/clock.h"

uint32_t random_up_to(uint32_t most)
{
    uint32_t random = 0;

    /* Before the kernel's generator is ready (early boot) anything will do. */
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = (uint32_t)clock_ms() * 2654435761u;
    return most == UINT32_MAX ? random : random % (most + 1);
}
