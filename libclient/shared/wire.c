/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving the messages of lendis/wire.h. The rules for descriptors are here alone:
 * CLOEXEC at birth (MSG_CMSG_CLOEXEC), nothing leaks on MSG_CTRUNC, more than one is refused
 * (unix(7)).
 */
#include "lendis/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lendis/descriptor.h"

/* Room for the largest number of descriptors that one message can carry: SCM_MAX_FD, unix(7). */
#define SCM_MAX 253

int wire_send(int socket, const void *message, int fd)
{
    const struct wire_header *header = message;
    struct iovec part = {.iov_base = (void *)message, .iov_len = header->size};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (fd >= 0) {
        struct cmsghdr *rights;

        packet.msg_control = control.space;
        packet.msg_controllen = sizeof control.space;
        rights = CMSG_FIRSTHDR(&packet);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    do {
        LENDIS_STEP("send");
        sent = sendmsg(socket, &packet, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* Takes the descriptors out of `packet`: the only one goes to *fd, any others are closed. Returns
 * how many. */
static int take_descriptors(struct msghdr *packet, int *fd)
{
    int count = 0;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part; part = CMSG_NXTHDR(packet, part)) {
        size_t bytes;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        bytes = part->cmsg_len - CMSG_LEN(0);
        for (size_t i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
            int taken;

            memcpy(&taken, CMSG_DATA(part) + i, sizeof taken);
            if (fd && count == 0)
                *fd = taken;
            else
                close(taken);
            count++;
        }
    }
    return count;
}

int wire_receive(int socket, void *message, size_t size, int *fd, int timeout_ms)
{
    struct iovec part = {.iov_base = message, .iov_len = size};
    union {
        char space[CMSG_SPACE(SCM_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    struct pollfd readable = {.fd = socket, .events = POLLIN};
    struct descriptor_gap gap = {.count = 0};
    int taken = -1, count, error = 0;
    ssize_t got;

    if (fd)
        *fd = -1;
    if (timeout_ms != 0) {
        int ready;

        do
            ready = poll(&readable, 1, timeout_ms);
        while (ready < 0 && errno == EINTR);
        if (ready < 0)
            return -errno;
        if (ready == 0)
            return -ETIMEDOUT;
    }
    /* A connection that is fd 2 even for a moment is what others print to. */
    if (fd)
        descriptor_fill_gap(&gap);
    do {
        packet.msg_control = control.space;
        packet.msg_controllen = sizeof control.space;
        packet.msg_flags = 0;
        LENDIS_STEP("receive");
        got = recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        error = -errno;
        descriptor_free_gap(&gap);
        return error;
    }

    count = take_descriptors(&packet, fd ? &taken : NULL);
    descriptor_free_gap(&gap);
    if (packet.msg_flags & MSG_CTRUNC)
        error = -EMFILE;
    else if (packet.msg_flags & MSG_TRUNC)
        error = -EMSGSIZE;
    else if (fd && count > 1)
        error = -EBADMSG;
    if (error != 0) {
        if (taken >= 0)
            close(taken);
        return error;
    }
    if (taken >= 0 && (taken = descriptor_lift(taken)) < 0)
        return -errno;
    if (fd)
        *fd = taken;
    return (int)got;
}

void wire_header(struct wire_header *header, enum wire_type type, size_t size)
{
    *header = (struct wire_header){
        .magic = WIRE_MAGIC,
        .type = (uint16_t)type,
        .size = (uint16_t)size,
        .abi_major = LENDIS_ABI_MAJOR,
        .abi_minor = LENDIS_ABI_MINOR,
    };
}

bool wire_is(const void *message, size_t size, enum wire_type type, size_t expected)
{
    struct wire_header header;

    if (size < sizeof header)
        return false;
    memcpy(&header, message, sizeof header);
    return header.magic == WIRE_MAGIC && header.type == type && header.size == size &&
           size == expected && header.abi_major == LENDIS_ABI_MAJOR;
}
