/* SPDX-License-Identifier: MIT */
/*
 * Files that are installed with our programs: a program finds them from where it is itself, whether
 * it was built here or installed anywhere.
 */
#ifndef LENDIS_BROKER_INSTALLED_H
#define LENDIS_BROKER_INSTALLED_H

#include <limits.h>
#include <stdbool.h>

/*
 * The file `name`: beside this program, else in `folder` ("" or with a slash at its end) of the lib
 * folder of where it is installed. False: in neither.
 */
bool installed_find(const char *folder, const char *name, char path[PATH_MAX]);

#endif
