/* SPDX-License-Identifier: MIT */
/* Loading lendisd-tls.so: see library.h. */
#include "broker/tls/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include "broker/base/installed.h"
#include "broker/base/secret.h"

#define FILE_NAME "lendisd-tls.so"

typedef const struct tls_functions *tls_entry(void);

static const struct tls_functions *functions;

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
    if (!installed_find("lendis/", FILE_NAME, path)) {
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
