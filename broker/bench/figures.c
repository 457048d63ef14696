/* SPDX-License-Identifier: MIT */
/* Figures: see figures.h. A run has some thousands, so everything is a walk along the list. */
#include "broker/bench/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/testbed/testbed.h"

#define ROUNDS_MAX 1000u

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

double median_of(double *list, size_t count)
{
    if (count == 0)
        return 0;
    qsort(list, count, sizeof *list, compare_doubles);
    return count % 2 ? list[count / 2] : (list[count / 2 - 1] + list[count / 2]) / 2;
}

double quantile_of(double *list, size_t count, double quantile)
{
    if (count == 0)
        return 0;
    qsort(list, count, sizeof *list, compare_doubles);
    return list[(size_t)(quantile * (double)(count - 1))];
}

void figures_add(struct figures *figures, struct series series, unsigned round, const char *name,
                 double value)
{
    struct figure *figure;

    if (figures->count == figures->room) {
        figures->room = figures->room ? figures->room * 2 : 1024;
        figures->list = reallocarray(figures->list, figures->room, sizeof *figures->list);
        if (!figures->list)
            give_up("no memory for figures");
    }
    figure = &figures->list[figures->count++];
    *figure = (struct figure){.round = round, .value = value};
    snprintf(figure->row, sizeof figure->row, "%s", series.row);
    snprintf(figure->transport, sizeof figure->transport, "%s", series.transport);
    snprintf(figure->variant, sizeof figure->variant, "%s", series.variant);
    snprintf(figure->name, sizeof figure->name, "%s", name);
}

bool figures_parse(struct figures *figures, struct series series, unsigned round, const char *text)
{
    const char *names = text, *values = strchr(text, '\n');

    if (!values)
        return false;
    for (values++; *names && *names != '\n'; names++) {
        size_t length = strcspn(names, "\t\n");
        char name[32], *end;
        double value = strtod(values, &end);

        if (*values == '\0' || *values == '\n')
            return false;
        snprintf(name, sizeof name, "%.*s", (int)length, names);
        if (end != values && (*end == '\t' || *end == '\n'))
            figures_add(figures, series, round, name, value);
        values += strcspn(values, "\t\n");
        values += *values == '\t';
        names += length;
        if (*names != '\t')
            break;
    }
    return true;
}

static bool is_of(const struct figure *figure, struct series series)
{
    return strcmp(figure->row, series.row) == 0 &&
           strcmp(figure->transport, series.transport) == 0 &&
           strcmp(figure->variant, series.variant) == 0;
}

double figures_get(const struct figures *figures, struct series series, unsigned round,
                   const char *name)
{
    for (size_t i = 0; i < figures->count; i++)
        if (figures->list[i].round == round && strcmp(figures->list[i].name, name) == 0 &&
            is_of(&figures->list[i], series))
            return figures->list[i].value;
    return NAN;
}

unsigned figures_rounds(const struct figures *figures, struct series series)
{
    unsigned rounds = 0;

    for (size_t i = 0; i < figures->count; i++)
        if (figures->list[i].round > rounds && is_of(&figures->list[i], series))
            rounds = figures->list[i].round;
    return rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX;
}

/* All rounds of a figure, sorted; returns how many. */
static size_t collect(const struct figures *figures, struct series series, const char *name,
                      double list[ROUNDS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < figures->count && count < ROUNDS_MAX; i++)
        if (strcmp(figures->list[i].name, name) == 0 && is_of(&figures->list[i], series))
            list[count++] = figures->list[i].value;
    qsort(list, count, sizeof *list, compare_doubles);
    return count;
}

double figures_median(const struct figures *figures, struct series series, const char *name)
{
    double list[ROUNDS_MAX];
    size_t count = collect(figures, series, name, list);

    return count ? median_of(list, count) : NAN;
}

double figures_least(const struct figures *figures, struct series series, const char *name)
{
    double list[ROUNDS_MAX];

    return collect(figures, series, name, list) ? list[0] : NAN;
}

double figures_most(const struct figures *figures, struct series series, const char *name)
{
    double list[ROUNDS_MAX];
    size_t count = collect(figures, series, name, list);

    return count ? list[count - 1] : NAN;
}

double figures_sum(const struct figures *figures, struct series series, const char *name)
{
    double list[ROUNDS_MAX], sum = 0;
    size_t count = collect(figures, series, name, list);

    for (size_t i = 0; i < count; i++)
        sum += list[i];
    return count ? sum : NAN;
}

double figures_spread(const struct figures *figures, struct series series, const char *name)
{
    double median = figures_median(figures, series, name);

    return (figures_most(figures, series, name) - figures_least(figures, series, name)) / median;
}

struct ratio figures_ratio(const struct figures *figures, struct series series, const char *name,
                           struct series base, const char *base_name)
{
    unsigned rounds = figures_rounds(figures, series);
    double list[ROUNDS_MAX];
    size_t count = 0;

    for (unsigned round = 1; round <= rounds; round++) {
        double above = figures_get(figures, series, round, name);
        double below = figures_get(figures, base, round, base_name);

        if (!isnan(above) && below > 0)
            list[count++] = above / below;
    }
    if (count == 0)
        return (struct ratio){NAN, NAN, NAN};
    return (struct ratio){
        .median = median_of(list, count), .least = list[0], .most = list[count - 1]};
}
