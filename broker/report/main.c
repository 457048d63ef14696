/* SPDX-License-Identifier: MIT */
/*
 * lendis-report: how much memory Redis connections take, with lendis and without, over the whole
 * system. compare is an experiment with servers and workers of its own, watch inspects what runs
 * here.
 */
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include "broker/report/compare.h"
#include "broker/report/options.h"
#include "broker/report/watch.h"
#include "broker/report/worker.h"
#include "broker/base/standard_io.h"

static int run(int argc, char **argv)
{
    struct options options;
    int result;

    if (argc == 3 && strcmp(argv[1], WORKER_ARGUMENT) == 0)
        return workers_run(argv[2]);
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers have a point, whatever people here write */
    result = options_parse(argc, argv, &options);
    if (result != 0)
        return result < 0 ? EXIT_SUCCESS : result;
    return options.watch ? watch_run(&options) : compare_run(&options);
}

int main(int argc, char **argv)
{
    standard_io_open();
    return standard_io_close("lendis-report", run(argc, argv));
}
