/* SPDX-License-Identifier: MIT */
/* The way to a broker's socket: see broker_socket.h. */
#include "libclient/shared/broker_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "libclient/shared/descriptor.h"

int broker_socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    fd = descriptor_socket(AF_UNIX, SOCK_SEQPACKET);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int result = -errno;

        close(fd);
        return result;
    }
    return fd;
}
