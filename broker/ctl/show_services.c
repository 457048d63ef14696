/* SPDX-License-Identifier: MIT */
/* What `lendisctl show pools` says of services: see show.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "broker/ctl/show.h"
#include "broker/base/text.h"

/* A copy of the entry of the pool of this name. False: there is none. */
static bool find_entry(const struct show *show, const char *name, struct catalog_pool *pool)
{
    const struct catalog *catalog = &show->broker->catalog;
    int index = catalog_find_pool(catalog, name);

    return index >= 0 && catalog_read_pool(catalog, (uint32_t)index, pool) != -ENOENT;
}

/* Adds one member to the text of a service: its name, what it is, and how it is. */
static void describe_member(const struct show *show, const char *name, const char *role, char *text,
                            size_t size)
{
    size_t used = strlen(text);
    struct catalog_pool pool;
    bool known = find_entry(show, name, &pool);

    snprintf(text + used, size - used, "%s%s %s %s%s%s", used > 0 ? ", " : "", role, name,
             known ? show_backend_name(shm_load32(&pool.backend)) : "gone",
             known && shm_load32(&pool.unwell) && shm_load32(&pool.backend) == BACKEND_UP
                 ? " but unwell"
                 : "",
             !known || shm_load32(&pool.pause) == PAUSE_NONE ? "" : " (lends nothing)");
}

void show_members(const struct show *show, const struct catalog_pool *pool, char *text, size_t size)
{
    char names[sizeof pool->replicas + 1], primary[sizeof pool->primary + 1], *rest = NULL;

    text[0] = '\0';
    snprintf(primary, sizeof primary, "%.*s", (int)sizeof pool->primary, pool->primary);
    snprintf(names, sizeof names, "%.*s", (int)sizeof pool->replicas, pool->replicas);
    describe_member(show, primary, "primary", text, size);
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        describe_member(show, name, "replica", text, size);
}

/* For people: what services there are, below the table. */
void show_services(const struct show *show)
{
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        char name[CATALOG_NAME_SIZE * 2], raw[SHOW_MEMBERS_SIZE], members[SHOW_MEMBERS_SIZE];
        struct catalog_pool pool;

        if ((show->pool >= 0 && (uint32_t)show->pool != i) ||
            catalog_read_pool(&show->broker->catalog, i, &pool) == -ENOENT ||
            shm_load32(&pool.pause) != PAUSE_SERVICE)
            continue;
        show_members(show, &pool, raw, sizeof raw);
        text_clean(name, sizeof name, pool.name, sizeof pool.name);
        text_clean(members, sizeof members, raw, sizeof raw);
        printf("%s is a service: %s\n", name, members);
    }
}

uint32_t show_service_backend(const struct show *show, const struct catalog_pool *pool)
{
    char primary[sizeof pool->primary + 1];
    struct catalog_pool entry;

    snprintf(primary, sizeof primary, "%.*s", (int)sizeof pool->primary, pool->primary);
    return find_entry(show, primary, &entry) ? shm_load32(&entry.backend) : BACKEND_UNKNOWN;
}
