/* SPDX-License-Identifier: MIT */
/* Files beside our programs: see installed.h. */
#include "broker/base/installed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool installed_find(const char *folder, const char *name, char path[PATH_MAX])
{
    static const char *const libs[] = {"../lib/", "../lib64/", "../lib/" LENDIS_MULTIARCH "/"};
    char own[PATH_MAX], candidate[2 * PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);

    if (size <= 0)
        return false;
    own[size] = '\0';
    *strrchr(own, '/') = '\0';
    snprintf(candidate, sizeof candidate, "%s/%s", own, name);
    if (realpath(candidate, path))
        return true;
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++) {
        snprintf(candidate, sizeof candidate, "%s/%s%s%s", own, libs[i], folder, name);
        if (realpath(candidate, path))
            return true;
    }
    return false;
}
