/* SPDX-License-Identifier: MIT */
/*
 * Name lookups in threads of their own: see resolver.h. A lookup belongs to its thread until it is
 * put on the list of those done, then to the loop. The resolver itself lives as long as the
 * process, so a thread that is still in getaddrinfo(3) at the end finds its lock.
 */
#include "broker/base/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* glibc's resolver and its modules keep buffers of a few 10 KiB on the stack; only touched pages
 * cost. */
#define STACK_SIZE (256u * 1024u)

struct lookup {
    struct lookup *next;
    struct resolver *resolver;
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

static void *run(void *argument)
{
    struct lookup *lookup = argument;
    struct resolver *resolver = lookup->resolver;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    uint64_t one = 1;
    ssize_t written;

    lookup->error = getaddrinfo(lookup->host, NULL, &hints, &list);
    lookup->system_error = errno;
    if (lookup->error == 0) {
        keep_addresses(&lookup->addresses, list);
        freeaddrinfo(list);
    }
    pthread_mutex_lock(&resolver->lock);
    lookup->next = resolver->done;
    resolver->done = lookup;
    /* Under the lock, so that the descriptor is still ours; it fails only if one is pending anyway.
     */
    do
        written = resolver->wake >= 0 ? write(resolver->wake, &one, sizeof one) : 0;
    while (written < 0 && errno == EINTR);
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

static void conclude(struct lookup *lookup)
{
    char text[160];

    if (lookup->cancelled)
        return;
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

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct resolver *resolver = context;
    struct lookup *list;
    uint64_t count;

    (void)source;
    (void)events;
    if (read(fd, &count, sizeof count) < 0)
        return 0;
    pthread_mutex_lock(&resolver->lock);
    list = resolver->done;
    resolver->done = NULL;
    pthread_mutex_unlock(&resolver->lock);
    while (list) {
        struct lookup *lookup = list;

        list = lookup->next;
        conclude(lookup);
        free(lookup);
    }
    return 0;
}

int resolver_start(struct resolver *resolver, sd_event *event)
{
    int result;

    *resolver = (struct resolver){.wake = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
    resolver->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (resolver->wake < 0)
        return -errno;
    result = sd_event_add_io(event, &resolver->source, resolver->wake, EPOLLIN, on_wake, resolver);
    if (result < 0) {
        close(resolver->wake);
        resolver->wake = -1;
        return result;
    }
    return 0;
}

void resolver_stop(struct resolver *resolver)
{
    if (!resolver->source)
        return;
    resolver->source = sd_event_source_disable_unref(resolver->source);
    pthread_mutex_lock(&resolver->lock);
    close(resolver->wake);
    resolver->wake = -1;
    while (resolver->done) {
        struct lookup *lookup = resolver->done;

        resolver->done = lookup->next;
        free(lookup);
    }
    pthread_mutex_unlock(&resolver->lock);
}

/* Results: 0; -errno. */
static int start_thread(struct lookup *lookup)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int result;

    result = pthread_attr_init(&attributes);
    if (result != 0)
        return -result;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = pthread_create(&thread, &attributes, run, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -result;
}

int resolver_lookup(struct resolver *resolver, const char *host, resolver_done *done, void *context,
                    struct lookup **lookup)
{
    struct lookup *made = calloc(1, sizeof *made + strlen(host) + 1);
    int result;

    if (!made)
        return -ENOMEM;
    made->resolver = resolver;
    made->done = done;
    made->context = context;
    strcpy(made->host, host);
    result = start_thread(made);
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
