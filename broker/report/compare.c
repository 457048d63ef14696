/* SPDX-License-Identifier: MIT */
/* `lendis-report compare`: see compare.h. */
#include "broker/report/compare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/testbed/plot.h"
#include "broker/report/costs.h"
#include "broker/report/picture.h"
#include "broker/report/show.h"

static void compare_one(const struct options *options, unsigned workers,
                        struct comparison *comparison)
{
    /* Few sockets before many: what empty slabs remain of one variant does not hide what the next
     * one takes. */
    static const enum variant order[] = {VARIANT_NONE, VARIANT_LENDIS, VARIANT_DIRECT};

    *comparison = (struct comparison){.workers = workers,
                                      .pool_size = experiment_pool_size(options, workers)};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        experiment_run(options, order[i], workers, &comparison->outcomes[order[i]]);
    for (int v = VARIANT_DIRECT; v < VARIANTS; v++)
        figures_less(&comparison->outcomes[v].figures, &comparison->outcomes[VARIANT_NONE].figures,
                     &comparison->due[v]);
    figures_less(&comparison->due[VARIANT_DIRECT], &comparison->due[VARIANT_LENDIS],
                 &comparison->saved);
}

/* Of the last one, with the most workers. */
static void keep_costs(const struct options *options, const struct comparison *comparison)
{
    struct costs costs;
    int result;

    costs_of(options, comparison, &costs);
    result = costs_save(options, &costs);
    if (result != 0)
        fprintf(stderr, "lendis-report: what a connection costs could not be kept for watch: %s\n",
                strerror(-result));
}

static int show_all(const struct options *options, const struct comparison *comparisons,
                    size_t count)
{
    unsigned missed = 0;
    int result = 0;

    if (options->format != TABLE_PEOPLE)
        return show_rows(options, comparisons, count) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    for (size_t i = 0; i < count && result == 0; i++) {
        if (i > 0)
            puts("\n");
        result = show_comparison(options, &comparisons[i]);
        missed += show_targets(options, &comparisons[i]);
    }
    if (result != 0)
        fprintf(stderr, "lendis-report: cannot print: %s\n", strerror(-result));
    return result != 0 ? EXIT_FAILURE : missed && options->strict ? EXIT_MISSED : EXIT_SUCCESS;
}

int compare_run(const struct options *options)
{
    static struct comparison comparisons[SWEEP_MAX];
    size_t count = options->sweep_count ? options->sweep_count : 1;
    char problem[512];
    int status;

    testbed_is_tool();
    if (options->plot_path && plot_check(options->plot_path, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendis-report: %s\n", problem);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < count; i++)
        compare_one(options, options->sweep_count ? options->sweep[i] : options->workers,
                    &comparisons[i]);
    keep_costs(options, &comparisons[count - 1]);
    status = show_all(options, comparisons, count);
    if (options->plot_path &&
        picture_write(options, comparisons, count, problem, sizeof problem) != 0) {
        fprintf(stderr, "lendis-report: %s\n", problem);
        return EXIT_FAILURE;
    }
    return status;
}
