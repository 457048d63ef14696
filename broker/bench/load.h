/* SPDX-License-Identifier: MIT */
/* lendis-bench load: see load.c. */
#ifndef LENDIS_BENCH_LOAD_H
#define LENDIS_BENCH_LOAD_H

/* argv[0] is ignored. Returns the exit status. */
int load_main(int argc, char **argv);

#endif
