/* SPDX-License-Identifier: MIT */
/* What `lendisctl show pools` says of passwords: see show.h. */
#include <errno.h>
#include <stdio.h>
#include "broker/base/clock.h"
#include "broker/base/text.h"
#include "broker/ctl/show.h"

const char *show_password_name(uint32_t state)
{
    static const char *const names[] = {[PASSWORD_NONE] = "none",
                                        [PASSWORD_AWAITED] = "awaited",
                                        [PASSWORD_GOOD] = "good",
                                        [PASSWORD_OLD] = "old",
                                        [PASSWORD_REFUSED] = "refused"};

    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

uint64_t show_password_age_ms(const struct catalog_pool *pool)
{
    uint64_t got_ms = shm_load_relaxed(&pool->password_got_ms), now_ms = clock_realtime_ms();

    return got_ms > 0 && now_ms > got_ms ? now_ms - got_ms : 0;
}

uint64_t show_password_next_ms(const struct catalog_pool *pool)
{
    uint64_t next_ms = shm_load_relaxed(&pool->password_next_ms), now_ms = clock_realtime_ms();

    return next_ms > now_ms ? next_ms - now_ms : 0;
}

/* As " 25s", " 4min". */
static void print_time(const char *before, uint64_t ms)
{
    if (ms < 120000)
        printf("%s %jus", before, (uintmax_t)ms / 1000);
    else if (ms < 7200000)
        printf("%s %jumin", before, (uintmax_t)ms / 60000);
    else
        printf("%s %juh", before, (uintmax_t)ms / 3600000);
}

static void print_password(const struct catalog_pool *pool)
{
    char name[CATALOG_NAME_SIZE + 1], error[CATALOG_PASSWORD_ERROR_SIZE + 1];
    uint32_t state = shm_load32(&pool->password);

    text_clean(name, sizeof name, pool->name, sizeof pool->name);
    text_clean(error, sizeof error, pool->password_error, sizeof pool->password_error);
    if (state == PASSWORD_AWAITED)
        printf("%s has no password yet", name);
    else
        printf("%s logs in with a password of", name);
    if (state != PASSWORD_AWAITED)
        print_time("", show_password_age_ms(pool));
    if (shm_load_relaxed(&pool->password_next_ms) > 0)
        print_time(", asks for the next in", show_password_next_ms(pool));
    printf("%s%s\n", error[0] ? ": " : "", error);
}

/* What is as it should be, and stays so, is not worth a line. */
static bool is_worth_it(const struct catalog_pool *pool)
{
    uint32_t state = shm_load32(&pool->password);

    return state != PASSWORD_NONE &&
           (state != PASSWORD_GOOD || shm_load_relaxed(&pool->password_next_ms) > 0);
}

void show_passwords(const struct show *show)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        struct catalog_pool pool;

        if ((show->pool < 0 || (uint32_t)show->pool == i) &&
            catalog_read_pool(&show->broker->catalog, i, &pool) != -ENOENT && is_worth_it(&pool))
            print_password(&pool);
    }
}
