/* SPDX-License-Identifier: MIT */
/* The three variants beside each other, for one number of workers. */
#ifndef LENDIS_REPORT_COMPARE_H
#define LENDIS_REPORT_COMPARE_H

#include "broker/report/experiment.h"
#include "broker/report/options.h"

struct comparison {
    unsigned workers;
    unsigned pool_size;
    struct outcome outcomes[VARIANTS];
    /* Of own connections and of lendis: what is more than without Redis, so what is due to
     * connections. */
    struct figures due[VARIANTS];
    struct figures saved; /* due to own connections less due to lendis */
};

/* Runs `lendis-report compare`; its exit status. */
int compare_run(const struct options *options);

/* Exit status: a target was missed. */
#define EXIT_MISSED 2

#endif
