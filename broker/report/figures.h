/* SPDX-License-Identifier: MIT */
/*
 * What is measured, declared once: for tables, JSON, CSV, pictures and sums. No page is in two of
 * the figures that are counted. NAN: could not be read.
 */
#ifndef LENDIS_REPORT_FIGURES_H
#define LENDIS_REPORT_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include "broker/report/kernel.h"
#include "broker/report/processes.h"
#include "broker/report/redis_memory.h"

enum figure_kind {
    FIGURE_COUNTED, /* bytes, a part of the total */
    FIGURE_BYTES,   /* bytes, seen from another side */
    FIGURE_NUMBER,
};

/* X(name, key, title, kind) */
#define FIGURES(X)                                                                                 \
    X(WORKERS, "workers", "workers and master, PSS", COUNTED)                                      \
    X(BROKER, "broker", "broker, PSS", COUNTED)                                                    \
    X(SEGMENTS, "segments", "shared segments", COUNTED)                                            \
    X(REDIS, "redis", "Redis, without its program", COUNTED)                                       \
    X(SOCKET_SLAB, "socket_slab", "kernel: sockets", COUNTED)                                      \
    X(PAGE_TABLES, "page_tables", "kernel: page tables", COUNTED)                                  \
    X(DESCRIPTOR_TABLES, "descriptor_tables", "kernel: descriptor tables", COUNTED)                \
    X(TOTAL, "total", "total", BYTES)                                                              \
    X(WORKERS_PSS, "workers_pss", "PSS: shared pages divided by those who share", BYTES)           \
    X(WORKERS_USS, "workers_uss", "USS: private pages alone", BYTES)                               \
    X(WORKERS_RSS, "workers_rss", "RSS: shared pages counted in each", BYTES)                      \
    X(WORKERS_VIRTUAL, "workers_virtual", "virtual size: addresses, not memory", BYTES)            \
    X(WORKERS_DESCRIPTORS, "workers_descriptors", "open descriptors", NUMBER)                      \
    X(BROKER_PRIVATE, "broker_private", "broker, private memory", BYTES)                           \
    X(BROKER_RSS, "broker_rss", "broker, RSS", BYTES)                                              \
    X(REDIS_RSS, "redis_rss", "Redis, RSS", BYTES)                                                 \
    X(REDIS_USED, "redis_used_memory", "Redis, used_memory", BYTES)                                \
    X(REDIS_CLIENTS, "redis_clients", "Redis, buffers of connections", BYTES)                      \
    X(REDIS_CONNECTIONS, "redis_connections", "Redis, connections", NUMBER)                        \
    X(SOCKETS, "sockets", "sockets in use", NUMBER)                                                \
    X(SOCKET_CHARGED, "socket_charged", "charged to TCP's buffers", BYTES)                         \
    X(SWAPPED, "swapped", "swapped out", BYTES)                                                    \
    X(MACHINE, "machine", "taken from MemAvailable", BYTES)

enum figure {
#define X(name, key, title, kind) FIGURE_##name,
    FIGURES(X)
#undef X
        FIGURE_COUNT
};

struct figure_info {
    const char *key;
    const char *title;
    enum figure_kind kind;
};
extern const struct figure_info figure_info[FIGURE_COUNT];

struct figures {
    double values[FIGURE_COUNT];
};

/* What was read of the parts, to be put together. */
struct readings {
    struct process_memory workers, broker, redis;
    struct redis_memory said; /* by Redis */
    struct kernel_memory kernel;
    double segments;
};

/* Figures of it; those of the kernel as they stand, of the whole machine. */
void figures_of(const struct readings *readings, struct figures *figures);

/* Sums the counted figures that could be read. */
void figures_total(struct figures *figures);

/* Each of `a` less that of `b`. */
void figures_less(const struct figures *a, const struct figures *b, struct figures *difference);

/* The titles of counted figures that could not be read, separated by commas: "" is none. */
const char *figures_missing(const struct figures *figures, char *text, size_t size);

#endif
