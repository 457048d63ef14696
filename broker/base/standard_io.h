/* SPDX-License-Identifier: MIT */
/* Standard input, output and error of our programs: they are there, and what was printed has
 * arrived. */
#ifndef LENDIS_STANDARD_IO_H
#define LENDIS_STANDARD_IO_H

/* First of all: a descriptor of these that is closed would be given to the next file or socket, and
 * what is printed would go there. Each becomes one on which nothing arrives: writing to a closed
 * standard output still fails (EBADF). */
void standard_io_open(void);

/* What was printed so far. Results: 0; -errno, which standard_io_close() reports. */
int standard_io_flush(void);

/* Last of all, with the exit status: the same, or EX_IOERR (74) if what was printed did not arrive,
 * which is reported. */
int standard_io_close(const char *program, int status);

#endif
