/* SPDX-License-Identifier: MIT */
/*
 * What the example server's pages say, so that its load generator can check every byte of them. A
 * page is
 *
 *   page NUMBER
 *   visits COUNT
 *   FRAGMENT
 *
 * where COUNT comes from a counter in Redis and FRAGMENT from a cache in Redis.
 */
#ifndef LENDIS_EXAMPLES_PAGE_H
#define LENDIS_EXAMPLES_PAGE_H

#include <stdio.h>

#define PAGE_MAX          1024 /* pages have numbers below this */
#define PAGE_LINES        24
#define FRAGMENT_SIZE_MAX 2048

/* Renders the fragment of a page, about 1 KiB; each line names the page it belongs to. Returns its
 * size. */
static inline size_t page_render(unsigned page, char fragment[FRAGMENT_SIZE_MAX])
{
    size_t used = 0;

    for (unsigned line = 0; line < PAGE_LINES; line++)
        used += (size_t)snprintf(fragment + used, FRAGMENT_SIZE_MAX - used,
                                 "<p>line %u of page %u: %08x</p>\n", line, page,
                                 (page * PAGE_LINES + line) * 2654435761u);
    return used;
}

#endif
