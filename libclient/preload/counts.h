/* SPDX-License-Identifier: MIT */
/*
 * What became of a program's connections, counted for `lendis-run --explain`: printed to stderr
 * when the process ends by exit(3), one line for what happened and one for each reason.
 */
#ifndef LENDIS_PRELOAD_COUNTS_H
#define LENDIS_PRELOAD_COUNTS_H

/* clang-format off */
#define PRELOAD_COUNTS(COUNT) \
    COUNT(virtual,  "connections that were virtual") \
    COUNT(swaps,    "requests on a leased connection") \
    COUNT(handed,   "requests handed over or answered by copying") \
    COUNT(answered, "requests answered here") \
    COUNT(private,  "virtual connections that became real ones") \
    COUNT(open,     "connections that were real from the start: no broker, Redis down") \
    COUNT(lost,     "virtual connections that ended with a pooled one")
/* clang-format on */

enum preload_count {
#define PRELOAD_ENUM(name, text) PRELOAD_##name,
    PRELOAD_COUNTS(PRELOAD_ENUM)
#undef PRELOAD_ENUM
        PRELOAD_COUNT
};

void count_up(enum preload_count count);

/* One more for a reason: a command's name, or a few words. Kept as it is. */
void count_reason(const char *what, const char *reason);

/* A forked child counts anew. */
void counts_child(void);

/* By the library's constructor. */
void counts_begin(void);

#endif
