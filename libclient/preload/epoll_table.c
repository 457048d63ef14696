/* SPDX-License-Identifier: MIT */
/* Registrations in epoll sets: see epoll_table.h. */
#include "libclient/preload/epoll_table.h"

#include <errno.h>
#include <stdlib.h>
#include "libclient/preload/real.h"

struct registration {
    struct registration *next;
    int epoll;
    struct epoll_event event;
};

static struct registration **find(struct virtual *virtual, int epoll)
{
    struct registration **at = &virtual->registrations;

    while (*at && (*at)->epoll != epoll)
        at = &(*at)->next;
    return at;
}

static void remove_one(struct registration **at)
{
    struct registration *gone = *at;

    *at = gone->next;
    free(gone);
}

static int add(struct virtual *virtual, int fd, int epoll, const struct epoll_event *event)
{
    struct registration *made = malloc(sizeof *made);
    struct epoll_event copy = *event;

    if (!made) {
        errno = ENOMEM;
        return -1;
    }
    if (real()->epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &copy) < 0) {
        free(made);
        return -1;
    }
    *made = (struct registration){virtual->registrations, epoll, *event};
    virtual->registrations = made;
    return 0;
}

int registration_change(struct virtual *virtual, int fd, int epoll, int operation,
                        const struct epoll_event *event)
{
    struct registration **known = find(virtual, epoll);
    struct epoll_event copy = event ? *event : (struct epoll_event){0};
    int result;

    if (operation == EPOLL_CTL_ADD && !*known && event)
        return add(virtual, fd, epoll, event);
    result = real()->epoll_ctl(epoll, operation, fd, event ? &copy : NULL);
    if (*known && operation == EPOLL_CTL_MOD && result == 0 && event)
        (*known)->event = *event;
    else if (*known && operation == EPOLL_CTL_DEL)
        remove_one(known);
    else if (*known && operation == EPOLL_CTL_ADD && result == 0 && event)
        (*known)->event = *event; /* the set was closed, and another has its number */
    return result;
}

void registrations_lift(const struct virtual *virtual, int fd)
{
    struct epoll_event unused;

    for (const struct registration *each = virtual->registrations; each; each = each->next)
        real()->epoll_ctl(each->epoll, EPOLL_CTL_DEL, fd, &unused);
}

void registrations_lay(struct virtual *virtual, int fd)
{
    for (struct registration **at = &virtual->registrations; *at;) {
        struct epoll_event event = (*at)->event;

        if (real()->epoll_ctl((*at)->epoll, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EEXIST)
            remove_one(at); /* the set is closed */
        else
            at = &(*at)->next;
    }
}

void registrations_forget(struct virtual *virtual)
{
    while (virtual->registrations)
        remove_one(&virtual->registrations);
}
