/* SPDX-License-Identifier: MIT */
/* How a command's connection came to its end: see loss.h. */
#include "libclient/loss.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include "libclient/membership/attachment.h"
#include "libclient/shared/command.h"

/*
 * The other side's kernel never acknowledged what was sent last: the connection was gone by then.
 * Only TCP says so (tcpi_bytes_acked since Linux 4.1, the rest since 4.19; the opening counts as
 * one byte). On a Unix socket the write itself fails.
 */
static bool was_deaf(int fd)
{
#ifdef LENDIS_MODEL
    (void)fd;
    return false;
#else
    struct tcp_info info;
    socklen_t size = sizeof info;

    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof info.tcpi_bytes_retrans)
        return false;
    return info.tcpi_bytes_sent - info.tcpi_bytes_retrans > info.tcpi_bytes_acked;
#endif
}

/* The broker closed it, not Redis. */
static bool was_taken(const struct lendis_lease *lease)
{
    const struct connection *shared = &lease->attachment->segment.connections[lease->index];

    return !lease->private && shm_load(&shared->ended) == 1 + word_generation(lease->word);
}

enum loss loss_judge(const struct lendis_lease *lease, int error, bool any)
{
    if (any)
        return LOSS_ANSWERING;
    /* A record that is no data, which is what kernel TLS says of the server's goodbye, and of a
     * change of keys (Documentation/networking/tls.rst): as orderly as an end can be there. TCP
     * itself never says it. */
    if (error == EIO)
        error = 0;
    if (error == 0 && was_deaf(lease->fd))
        return LOSS_BEFORE;
    /* A server that closes with something unread resets the connection (RFC 1122, 4.2.2.13; the
     * same on Unix sockets): it may have been this command. */
    return error != 0 || was_taken(lease) ? LOSS_MEANWHILE : LOSS_ANSWERING;
}

/* The name of command `number`; "" if there is none. */
static void find_name(const char *request, size_t size, uint32_t number, char *name)
{
    struct command command;
    size_t at = 0, from = 0;
    const char *word;

    memset(name, 0, LOST_COMMAND_SIZE);
    for (uint32_t i = 0; i <= number; i++) {
        from = at;
        if (command_next(request, size, NULL, &at, &command) != 0)
            return;
    }
    /* Its array's line, then that of the name. */
    word = memchr(request + from, '\n', at - from);
    word = word ? memchr(word + 1, '\n', at - (size_t)(word + 1 - request)) : NULL;
    for (size_t i = 0; word && ++word < request + at && *word != '\r' && i + 1 < LOST_COMMAND_SIZE;
         i++)
        name[i] = *word;
}

static void report(const struct lendis_lease *lease, uint32_t lost_by, const char *name)
{
#ifndef LENDIS_MODEL /* a message to the log is no part of what is explored */
    struct connection *shared = &lease->attachment->segment.connections[lease->index];

    memcpy(shared->lost_command, name, LOST_COMMAND_SIZE);
    shm_store32(&shared->lost_by, lost_by);
    shm_store(&shared->lost, 1 + word_generation(lease->word));
    attachment_ring(lease->attachment);
#else
    (void)lease;
    (void)lost_by;
    (void)name;
#endif
}

void loss_report(const struct lendis_lease *lease, uint32_t worker, const char *request,
                 size_t size, uint32_t number)
{
    char name[LOST_COMMAND_SIZE];

    if (lease->private)
        return;
    find_name(request, size, number, name);
    report(lease, 1 + worker, name);
}

void loss_report_several(const struct lendis_lease *lease)
{
    static const char nothing[LOST_COMMAND_SIZE];

    if (!lease->private)
        report(lease, 0, nothing);
}
