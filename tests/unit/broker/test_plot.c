/* SPDX-License-Identifier: MIT */
/* Pictures: what is asked for is in them, and what is missing is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/testbed/plot.h"
#include "tests/support/support.h"

static const char *const series[] = {"direct's", "lendis \"4\""};
static const char *const groups[] = {"8 workers", "200_workers"};
static const double x[] = {1, 50, 500};
static const double bars[] = {10, 20, 5, 15}, curves[] = {1, 20, 300, 2, NAN, 100};
static char path[TESTBED_PATH_SIZE], problem[256];

static struct plot bar_plot(enum plot_kind kind)
{
    return (struct plot){.kind = kind,
                         .title = "Bars & co",
                         .log_x = true, /* means nothing to bars */
                         .y_label = "kB",
                         .series = series,
                         .series_count = 2,
                         .groups = groups,
                         .count = 2,
                         .values = bars};
}

static const char *contents(void)
{
    static char text[200000];
    FILE *file = fopen(path, "re");
    size_t got;

    assert_non_null(file);
    got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    return text;
}

static void assert_drawn(const struct plot *plots, size_t count)
{
    if (plot_write(plots, count, path, problem, sizeof problem) != 0)
        fail_msg("%s", problem);
}

static void bars_and_curves_are_below_each_other(void **state)
{
    struct plot plots[] = {bar_plot(PLOT_BARS),
                           bar_plot(PLOT_STACKED),
                           {.kind = PLOT_CURVES,
                            .title = "Over workers",
                            .x_label = "workers",
                            .log_x = true,
                            .log_y = true,
                            .series = series,
                            .series_count = 2,
                            .x = x,
                            .count = 3,
                            .values = curves}};
    const char *text;

    (void)state;
    scratch_path(path, "all.svg");
    assert_drawn(plots, 3);
    text = contents();
    assert_non_null(strstr(text, "<svg"));
    assert_non_null(strstr(text, "</svg>"));
    assert_non_null(strstr(text, "Bars &amp; co"));
    assert_non_null(strstr(text, "Over workers"));
    assert_non_null(strstr(text, "direct's"));
    assert_non_null(strstr(text, "200_workers"));
    assert_non_null(strstr(text, ">500<"));
}

static void a_png_is_one(void **state)
{
    struct plot plot = bar_plot(PLOT_STACKED);

    (void)state;
    scratch_path(path, "one.png");
    assert_drawn(&plot, 1);
    assert_memory_equal(contents(), "\x89PNG", 4);
}

/* A second picture into the same file leaves nothing of a larger first one. */
static void a_file_is_written_anew(void **state)
{
    struct plot plots[] = {bar_plot(PLOT_BARS), bar_plot(PLOT_BARS)};
    struct stat two, one;

    (void)state;
    scratch_path(path, "again.svg");
    assert_drawn(plots, 2);
    assert_int_equal(stat(path, &two), 0);
    assert_drawn(plots, 1);
    assert_int_equal(stat(path, &one), 0);
    assert_true(one.st_size < two.st_size);
}

static void what_is_missing_is_named(void **state)
{
    char *before = strdup(getenv("PATH"));

    (void)state;
    assert_int_equal(plot_check("picture.pdf", problem, sizeof problem), -1);
    assert_non_null(strstr(problem, ".svg or .png"));
    scratch_path(path, "nowhere/picture.svg");
    assert_int_equal(plot_check(path, problem, sizeof problem), -1);
    assert_non_null(strstr(problem, "No such file or directory"));
    scratch_path(path, "picture.svg");
    setenv("PATH", "/nonexistent", 1); /* and it is no daemon */
    assert_int_equal(plot_check(path, problem, sizeof problem), -1);
    assert_non_null(strstr(problem, "gnuplot is not installed"));
    setenv("PATH", before, 1);
    free(before);
    assert_int_equal(plot_check(path, problem, sizeof problem), 0);
    assert_int_equal(access(path, F_OK), -1); /* looking leaves nothing behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bars_and_curves_are_below_each_other),
        cmocka_unit_test(a_png_is_one),
        cmocka_unit_test(a_file_is_written_anew),
        cmocka_unit_test(what_is_missing_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
