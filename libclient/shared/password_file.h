/* SPDX-License-Identifier: MIT */
/*
 * A password in a file, as broker and library read it: a regular file, whose text is the password.
 * What editors and shells put around it is left out: a byte order mark (UTF-8) at its start, and
 * one LF, CR LF or CR at its end.
 */
#ifndef LENDIS_PASSWORD_FILE_H
#define LENDIS_PASSWORD_FILE_H

#include <stdbool.h>
#include <stddef.h>

#define PASSWORD_MAX           4096u
#define PASSWORD_FILE_WHY_SIZE 384u

struct password {
    size_t size;         /* of the password, at least 1 */
    bool world_readable; /* the file can be read by every user */
    char bytes[PASSWORD_MAX + 8];
};

/*
 * Results: 0, and *password holds a secret until password_wipe(); -errno, the file cannot be read;
 * -EINVAL, it holds no password. `why`, a sentence with `name`, says so; it has nothing of the
 * file's contents.
 */
int password_file_read(const char *path, const char *name, struct password *password,
                       char why[PASSWORD_FILE_WHY_SIZE]);

void password_wipe(struct password *password);

#endif
