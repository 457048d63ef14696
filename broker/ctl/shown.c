/* SPDX-License-Identifier: MIT */
/* What the `show` verbs have in common: see show.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/base/text.h"
#include "broker/ctl/show.h"

bool show_pool(const struct show *show, uint32_t index, struct catalog_pool *pool,
               const struct segment **segment)
{
    if (show->pool >= 0 && (uint32_t)show->pool != index)
        return false;
    if (catalog_read_pool(&show->broker->catalog, index, pool) == -ENOENT)
        return false;
    *segment = &show->broker->segments[index];
    if (!(*segment)->base) {
        char name[sizeof pool->name + 1];

        text_clean(name, sizeof name, pool->name, sizeof pool->name);
        fprintf(stderr,
                "lendisctl: pool %s: its shared memory was not found, or a worker wrote over "
                "it: what its "
                "connections do is unknown\n",
                name);
    }
    return true;
}

const char *show_backend_name(uint32_t backend)
{
    return backend == BACKEND_UP ? "up" : backend == BACKEND_DOWN ? "down" : "unknown";
}

struct pool_statistics *show_statistics(const struct show *show)
{
    struct pool_statistics *pools = calloc(CATALOG_MAX_POOLS, sizeof *pools);
    struct statistics_source source;

    if (!pools)
        return NULL;
    broker_source(show->broker, &source);
    statistics_read(&source, pools);
    return pools;
}

void show_command(const struct show *show, struct table *table, size_t column, uint32_t pid)
{
    char text[64];
    size_t size = broker_command(show->broker, pid, text, sizeof text);

    if (size > 0)
        table_text(table, column, text, size);
}
