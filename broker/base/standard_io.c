/* SPDX-License-Identifier: MIT */
/* Standard input, output and error: see standard_io.h. */
#include "broker/base/standard_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

void standard_io_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* The lowest number that is free is this one (open(2)); children are to have it, too. */
        if (open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) <
                0 &&                 // NOLINT: no O_CLOEXEC
            open("/", O_RDONLY) < 0) // NOLINT
            abort();
    }
}

static int first_error; /* why it could not be printed; 0: it could */

int standard_io_flush(void)
{
    errno = 0;
    if (fflush(stdout) != 0 && first_error == 0)
        first_error = errno ? errno : EIO;
    if (ferror(stdout) && first_error == 0)
        first_error = EIO;
    return -first_error;
}

int standard_io_close(const char *program, int status)
{
    standard_io_flush();
    errno = 0;
    /* A file system may say so only now. */
    if (fclose(stdout) != 0 && first_error == 0)
        first_error = errno ? errno : EIO;
    if (first_error == 0)
        return status;
    fprintf(stderr, "%s: cannot print: %s\n", program, strerror(first_error));
    /* The reason why it failed, if it has. */
    return status == EXIT_SUCCESS || status == EXIT_FAILURE ? EX_IOERR : status;
}
