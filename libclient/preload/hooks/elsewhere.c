/* SPDX-License-Identifier: MIT */
/*
 * The functions of the C library that read and write a descriptor where no hook follows: inside the
 * kernel (sendfile(2)), in a thread of the C library's (aio(7)), in a buffer of stdio's, in another
 * process. A virtual connection becomes a real one before (descriptor_is_shared()). And syscall(2),
 * for what else can be called by it. As in hooks.c there is nothing else here.
 */
#undef _FORTIFY_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "libclient/preload/descriptors.h"
#include "libclient/preload/real.h"
#include "libclient/preload/virtual.h"

#define HOOK __attribute__((visibility("default")))

HOOK int __dprintf_chk(int fd, int flag, const char *format, ...);
HOOK int __vdprintf_chk(int fd, int flag, const char *format, va_list arguments);
HOOK FILE *_IO_fdopen(int fd, const char *mode);

static void goes_elsewhere(int fd)
{
    if (__builtin_expect(virtual_find(fd) != NULL, 0))
        descriptor_is_shared(fd);
}

/* ---- in the kernel ---- */

HOOK ssize_t sendfile(int to, int from, off_t *at, size_t size)
{
    goes_elsewhere(to);
    return real()->sendfile(to, from, at, size);
}

HOOK ssize_t sendfile64(int to, int from, off64_t *at, size_t size)
{
    goes_elsewhere(to);
    return real()->sendfile64(to, from, at, size);
}

HOOK ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags)
{
    goes_elsewhere(from);
    goes_elsewhere(to);
    return real()->splice(from, from_at, to, to_at, size, flags);
}

/* ---- in threads of the C library's ---- */

HOOK int aio_read(struct aiocb *request)
{
    goes_elsewhere(request->aio_fildes);
    return real()->aio_read(request);
}

HOOK int aio_write(struct aiocb *request)
{
    goes_elsewhere(request->aio_fildes);
    return real()->aio_write(request);
}

HOOK int lio_listio(int mode, struct aiocb *const requests[], int count, struct sigevent *event)
{
    for (int i = 0; i < count; i++)
        if (requests[i])
            goes_elsewhere(requests[i]->aio_fildes);
    return real()->lio_listio(mode, requests, count, event);
}

#ifdef __LP64__ /* else another struct */
HOOK int aio_read64(struct aiocb64 *request)
{
    return aio_read((struct aiocb *)request);
}

HOOK int aio_write64(struct aiocb64 *request)
{
    return aio_write((struct aiocb *)request);
}

HOOK int lio_listio64(int mode, struct aiocb64 *const requests[], int count, struct sigevent *event)
{
    return lio_listio(mode, (struct aiocb *const *)requests, count, event);
}
#endif

/* ---- in stdio ---- */

HOOK FILE *fdopen(int fd, const char *mode)
{
    goes_elsewhere(fd);
    return real()->fdopen(fd, mode);
}

HOOK FILE *_IO_fdopen(int fd, const char *mode)
{
    return fdopen(fd, mode);
}

HOOK int vdprintf(int fd, const char *format, va_list arguments)
{
    goes_elsewhere(fd);
    return real()->vdprintf(fd, format, arguments);
}

HOOK int __vdprintf_chk(int fd, int flag, const char *format, va_list arguments)
{
    goes_elsewhere(fd);
    return real()->__vdprintf_chk(fd, flag, format, arguments);
}

HOOK int dprintf(int fd, const char *format, ...)
{
    va_list arguments;
    int result;

    va_start(arguments, format);
    result = vdprintf(fd, format, arguments);
    va_end(arguments);
    return result;
}

HOOK int __dprintf_chk(int fd, int flag, const char *format, ...)
{
    va_list arguments;
    int result;

    va_start(arguments, format);
    result = __vdprintf_chk(fd, flag, format, arguments);
    va_end(arguments);
    return result;
}

/* ---- in another process ---- */

HOOK int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int to)
{
    goes_elsewhere(fd);
    return real()->posix_spawn_file_actions_adddup2(actions, fd, to);
}

/* ---- by number ---- */

/* Both: what the hook of that call says. False: there is none. This one is for any descriptor. */
static bool call_hook(long number, const long at[6], long *result)
{
    int fd = (int)at[0];

    switch (number) {
    case SYS_close:
        *result = close(fd);
        return true;
    case SYS_close_range:
        *result = close_range((unsigned)at[0], (unsigned)at[1], (int)at[2]);
        return true;
    case SYS_dup3:
        *result = dup3(fd, (int)at[1], (int)at[2]);
        return true;
#ifdef SYS_dup2
    case SYS_dup2:
        *result = dup2(fd, (int)at[1]);
        return true;
#endif
    case SYS_connect:
        *result = connect(fd, (const struct sockaddr *)at[1], (socklen_t)at[2]);
        return true;
    default:
        return false;
    }
}

/* For a virtual connection. */
static bool call_virtual(long number, const long at[6], long *result)
{
    int fd = (int)at[0];

    switch (number) {
    case SYS_read:
        *result = read(fd, (void *)at[1], (size_t)at[2]);
        return true;
    case SYS_write:
        *result = write(fd, (const void *)at[1], (size_t)at[2]);
        return true;
    case SYS_readv:
        *result = readv(fd, (const struct iovec *)at[1], (int)at[2]);
        return true;
    case SYS_writev:
        *result = writev(fd, (const struct iovec *)at[1], (int)at[2]);
        return true;
    case SYS_sendto:
        *result = sendto(fd, (const void *)at[1], (size_t)at[2], (int)at[3],
                         (const struct sockaddr *)at[4], (socklen_t)at[5]);
        return true;
    case SYS_recvfrom:
        *result = recvfrom(fd, (void *)at[1], (size_t)at[2], (int)at[3], (struct sockaddr *)at[4],
                           (socklen_t *)at[5]);
        return true;
    case SYS_sendmsg:
        *result = sendmsg(fd, (const struct msghdr *)at[1], (int)at[2]);
        return true;
    case SYS_recvmsg:
        *result = recvmsg(fd, (struct msghdr *)at[1], (int)at[2]);
        return true;
    case SYS_shutdown:
        *result = shutdown(fd, (int)at[1]);
        return true;
    case SYS_dup:
        *result = dup(fd);
        return true;
    case SYS_fcntl:
        *result = fcntl(fd, (int)at[1], at[2]);
        return true;
    case SYS_ioctl:
        *result = ioctl(fd, (unsigned long)at[1], at[2]);
        return true;
    case SYS_sendfile:
        *result = sendfile(fd, (int)at[1], (off_t *)at[2], (size_t)at[3]);
        return true;
    default:
        return false;
    }
}

HOOK long syscall(long number, ...)
{
    va_list arguments;
    long at[6], result;

    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        at[i] = va_arg(arguments, long);
    va_end(arguments);
    if (call_hook(number, at, &result) ||
        (virtual_find((int)at[0]) && call_virtual(number, at, &result)))
        return result;
    return real()->syscall(number, at[0], at[1], at[2], at[3], at[4], at[5]);
}
