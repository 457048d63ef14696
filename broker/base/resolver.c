/* SPDX-License-Identifier: MIT */
/* Name lookups in the background: see resolver.h. */
#include "broker/base/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    struct background_task task; /* the first */
    resolver_done *done;
    void *context;
    bool cancelled; /* the loop's alone */
    int error;      /* of getaddrinfo(3) */
    int system_error;
    struct addresses addresses;
    char host[];
};

bool resolver_is_numeric(const char *host)
{
    size_t length = strcspn(host, "%"); /* a zone is behind it: redis_url.h */
    unsigned char unused[sizeof(struct in6_addr)];
    char address[INET6_ADDRSTRLEN];

    if (length >= sizeof address)
        return false;
    memcpy(address, host, length);
    address[length] = '\0';
    return inet_pton(AF_INET6, address, unused) == 1 ||
           (!host[length] && inet_pton(AF_INET, address, unused) == 1);
}

static void keep_addresses(struct addresses *addresses, const struct addrinfo *list)
{
    for (; list && addresses->count < RESOLVER_MAX_ADDRESSES; list = list->ai_next)
        if (getnameinfo(list->ai_addr, list->ai_addrlen, addresses->text[addresses->count],
                        sizeof addresses->text[0], NULL, 0, NI_NUMERICHOST) == 0)
            addresses->count++;
}

static void run(struct background_task *task)
{
    struct lookup *lookup = (struct lookup *)task;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;

    lookup->error = getaddrinfo(lookup->host, NULL, &hints, &list);
    lookup->system_error = errno;
    if (lookup->error != 0)
        return;
    keep_addresses(&lookup->addresses, list);
    freeaddrinfo(list);
}

static void conclude(struct lookup *lookup)
{
    char text[160];

    if (lookup->addresses.count > 0) {
        lookup->done(lookup->context, &lookup->addresses, NULL);
        return;
    }
    snprintf(text, sizeof text, "cannot look up \"%.60s\": %s", lookup->host,
             lookup->error == 0            ? "it has no address"
             : lookup->error == EAI_SYSTEM ? strerror(lookup->system_error)
                                           : gai_strerror(lookup->error));
    lookup->done(lookup->context, NULL, text);
}

static void end(struct background_task *task, bool wanted)
{
    struct lookup *lookup = (struct lookup *)task;

    if (wanted && !lookup->cancelled)
        conclude(lookup);
    free(lookup);
}

int resolver_lookup(struct background *background, const char *host, resolver_done *done,
                    void *context, struct lookup **lookup)
{
    struct lookup *made = calloc(1, sizeof *made + strlen(host) + 1);
    int result;

    if (!made)
        return -ENOMEM;
    made->task.run = run;
    made->task.end = end;
    made->done = done;
    made->context = context;
    strcpy(made->host, host);
    result = background_run(background, &made->task);
    if (result != 0) {
        free(made);
        return result;
    }
    *lookup = made;
    return 0;
}

void resolver_cancel(struct lookup *lookup)
{
    if (lookup)
        lookup->cancelled = true;
}
