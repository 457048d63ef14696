/* SPDX-License-Identifier: MIT */
/* Figures: see figures.h. */
#include "broker/report/figures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct figure_info figure_info[FIGURE_COUNT] = {
#define X(name, key, title, kind) [FIGURE_##name] = {key, title, FIGURE_##kind},
    FIGURES(X)
#undef X
};

void figures_of(const struct readings *readings, struct figures *figures)
{
    const struct process_memory *workers = &readings->workers, *broker = &readings->broker;
    const struct process_memory *redis = &readings->redis;

    *figures = (struct figures){{
        /* Pages of the segments are counted as segments: all of them, and once. */
        [FIGURE_WORKERS] = workers->pss - workers->segments_pss,
        [FIGURE_BROKER] = broker->pss - broker->segments_pss,
        [FIGURE_SEGMENTS] = readings->segments,
        [FIGURE_REDIS] = redis->anonymous,
        [FIGURE_SOCKET_SLAB] = readings->kernel.socket_slab,
        [FIGURE_PAGE_TABLES] = workers->page_tables + broker->page_tables + redis->page_tables,
        [FIGURE_DESCRIPTOR_TABLES] =
            workers->descriptor_tables + broker->descriptor_tables + redis->descriptor_tables,
        [FIGURE_WORKERS_PSS] = workers->pss,
        [FIGURE_WORKERS_USS] = workers->uss,
        [FIGURE_WORKERS_RSS] = workers->rss,
        [FIGURE_WORKERS_VIRTUAL] = workers->virtual,
        [FIGURE_WORKERS_DESCRIPTORS] = workers->descriptors,
        [FIGURE_BROKER_PRIVATE] = broker->uss - broker->segments_uss,
        [FIGURE_BROKER_RSS] = broker->rss,
        [FIGURE_REDIS_RSS] = readings->said.rss,
        [FIGURE_REDIS_USED] = readings->said.used,
        [FIGURE_REDIS_CLIENTS] = readings->said.clients,
        [FIGURE_REDIS_CONNECTIONS] = readings->said.connections,
        [FIGURE_SOCKETS] = readings->kernel.sockets,
        [FIGURE_SOCKET_CHARGED] = readings->kernel.socket_charged,
        [FIGURE_SWAPPED] = workers->swapped + broker->swapped + redis->swapped,
        [FIGURE_MACHINE] = -readings->kernel.available,
    }};
    figures_total(figures);
}

void figures_total(struct figures *figures)
{
    double total = 0;

    for (int i = 0; i < FIGURE_COUNT; i++)
        if (figure_info[i].kind == FIGURE_COUNTED && !isnan(figures->values[i]))
            total += figures->values[i];
    figures->values[FIGURE_TOTAL] = total;
}

void figures_less(const struct figures *a, const struct figures *b, struct figures *difference)
{
    for (int i = 0; i < FIGURE_COUNT; i++)
        difference->values[i] = a->values[i] - b->values[i];
    /* What could be read in one of the two alone is in neither's total. */
    figures_total(difference);
}

const char *figures_missing(const struct figures *figures, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < FIGURE_COUNT && used < size; i++)
        if (figure_info[i].kind == FIGURE_COUNTED && isnan(figures->values[i]))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "; " : "",
                                     figure_info[i].title);
    return text;
}
