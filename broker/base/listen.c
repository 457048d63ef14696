/* SPDX-License-Identifier: MIT */
/* Addresses to listen at: see listen.h. */
#include "broker/base/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/base/log.h"

static const char *parse_path(const char *path, union listen_address *address, socklen_t *size)
{
    if (path[0] != '/')
        return "it is not an absolute path; write unix:///PATH";
    if (strlen(path) >= sizeof address->local.sun_path)
        return "its path is too long for a socket's";
    address->local.sun_family = AF_UNIX;
    strcpy(address->local.sun_path, path);
    *size = sizeof address->local;
    return NULL;
}

static bool parse_port(const char *text, in_port_t *port)
{
    char *end;
    unsigned long value;

    if (*text < '0' || *text > '9')
        return false;
    value = strtoul(text, &end, 10);
    if (*end || value < 1 || value > 65535)
        return false;
    *port = htons((uint16_t)value);
    return true;
}

/* `host` without brackets. */
static const char *parse_host(const char *host, in_port_t port, union listen_address *address,
                              socklen_t *size)
{
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = port;
        *size = sizeof address->v4;
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
                   ? NULL
                   : "it is not a loopback address; 127.0.0.1, [::1] and localhost are";
    }
    if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = port;
        *size = sizeof address->v6;
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr)
                   ? NULL
                   : "it is not a loopback address; 127.0.0.1, [::1] and localhost are";
    }
    return "it is neither unix:///PATH nor HOST:PORT with a loopback address, as in 127.0.0.1:9121";
}

const char *listen_parse(const char *text, union listen_address *address, socklen_t *size)
{
    const char *colon = strrchr(text, ':');
    size_t length;
    in_port_t port;
    char host[INET6_ADDRSTRLEN];

    memset(address, 0, sizeof *address);
    if (strncmp(text, "unix://", 7) == 0)
        return parse_path(text + 7, address, size);
    if (!colon)
        return "it has no port; write unix:///PATH or HOST:PORT, as in 127.0.0.1:9121";
    if (!parse_port(colon + 1, &port))
        return "its port is not a number from 1 to 65535";
    length = (size_t)(colon - text);
    if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof host)
        return "it is neither unix:///PATH nor HOST:PORT with a loopback address";
    memcpy(host, text, length);
    host[length] = '\0';
    return parse_host(host, port, address, size);
}

int listen_clear_way(const struct sockaddr_un *address, int type)
{
    struct stat stat;
    int probe, result;

    if (lstat(address->sun_path, &stat) < 0) {
        if (errno == ENOENT)
            return 0; /* a missing directory shows at bind(2) */
        result = -errno;
        log_line(LOG_LEVEL_ERR, "socket %s: %s", address->sun_path, strerror(-result));
        return result;
    }
    if (!S_ISSOCK(stat.st_mode)) {
        log_line(LOG_LEVEL_ERR, "socket %s: something that is no socket has this name",
                 address->sun_path);
        return -EEXIST;
    }
    probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return -errno;
    result = connect(probe, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
    close(probe);
    /* EAGAIN: somebody listens whose backlog is full. EPROTOTYPE: on a socket of another kind. */
    if (result == 0 || result == -EAGAIN || result == -EPROTOTYPE) {
        log_line(LOG_LEVEL_ERR, "socket %s: another process listens there already",
                 address->sun_path);
        return -EADDRINUSE;
    }
    if (result != -ECONNREFUSED && result != -ENOENT) {
        log_line(LOG_LEVEL_ERR, "socket %s: %s", address->sun_path, strerror(-result));
        return result;
    }
    if (unlink(address->sun_path) < 0 && errno != ENOENT) {
        result = -errno;
        log_line(LOG_LEVEL_ERR, "cannot remove the stale socket %s: %s", address->sun_path,
                 strerror(-result));
        return result;
    }
    return 0;
}
