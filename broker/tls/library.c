/* SPDX-License-Identifier: MIT */
/* Loading lendisd-tls.so: see library.h. */
#include "broker/tls/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/secret.h"

#define FILE_NAME "lendisd-tls.so"

typedef const struct tls_functions *tls_entry(void);

static const struct tls_functions *functions;

/* Beside this program, or in the lib folder of where it is installed. False: in neither. */
static bool find_file(char path[PATH_MAX])
{
    static const char *const places[] = {"", "../lib/lendis/", "../lib64/lendis/",
                                         "../lib/" LENDIS_MULTIARCH "/lendis/"};
    char own[PATH_MAX], candidate[2 * PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);

    if (size <= 0)
        return false;
    own[size] = '\0';
    *strrchr(own, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(candidate, sizeof candidate, "%s/%s" FILE_NAME, own, places[i]);
        if (realpath(candidate, path))
            return true;
    }
    return false;
}

/* NULL: it is of another build. */
static const struct tls_functions *find_functions(void *library, char why[TLS_TEXT_SIZE])
{
    tls_entry *entry = (tls_entry *)dlsym(library, TLS_SYMBOL);
    const struct tls_functions *found = entry ? entry() : NULL;

    if (found && found->abi == TLS_ABI)
        return found;
    snprintf(why, TLS_TEXT_SIZE, FILE_NAME " is of another version than lendisd; install both");
    return NULL;
}

const struct tls_functions *tls_library_load(char why[TLS_TEXT_SIZE])
{
    char path[PATH_MAX];
    void *library;

    if (functions)
        return functions;
    if (!find_file(path)) {
        snprintf(why, TLS_TEXT_SIZE,
                 "TLS needs " FILE_NAME ", which is not where lendisd is installed");
        return NULL;
    }
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(why, TLS_TEXT_SIZE, "TLS needs OpenSSL (on Debian libssl3): %s", dlerror());
        return NULL;
    }
    functions = find_functions(library, why);
    if (functions)
        secret_protect();
    else
        dlclose(library);
    return functions;
}

const struct tls_functions *tls_library(void)
{
    return functions;
}
