/* SPDX-License-Identifier: MIT */
/* Loading libmicrohttpd: see microhttpd.h. */
#include "broker/metrics/microhttpd.h"

#include <dlfcn.h>
#include <stdbool.h>
#include "broker/base/log.h"

/* The name of the version that the header is of. */
#define FILE_NAME "libmicrohttpd.so.12"

static struct microhttpd functions;

static bool find_all(void *library)
{
#define FIND(name)                                                                                 \
    functions.name = (__typeof__(functions.name))dlsym(library, "MHD_" #name);                     \
    if (!functions.name)                                                                           \
        return false;
    MICROHTTPD_FUNCTIONS(FIND)
#undef FIND
    return true;
}

const struct microhttpd *microhttpd_load(void)
{
    static void *library;

    if (library)
        return &functions;
    library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
    if (library && find_all(library))
        return &functions;
    log_line(LOG_LEVEL_ERR,
             "metrics need libmicrohttpd: %s; install it (on Debian libmicrohttpd12) or leave the "
             "key metrics out",
             dlerror());
    if (library)
        dlclose(library);
    library = NULL;
    return NULL;
}
