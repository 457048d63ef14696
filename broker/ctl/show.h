/* SPDX-License-Identifier: MIT */
/* What `lendisctl show` prints about a broker that was found. */
#ifndef LENDIS_CTL_SHOW_H
#define LENDIS_CTL_SHOW_H

#include <stdbool.h>
#include "broker/ctl/find.h"

struct show {
    const struct broker *broker;
    bool json;
    int pool; /* index of the only one to show; -1: all */
};

/* Each prints to standard output. Results: 0; -errno. */
int show_pools(const struct show *show);
int show_connections(const struct show *show);
int show_workers(const struct show *show);
int show_config(const struct show *show);

#endif
