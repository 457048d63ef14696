/* SPDX-License-Identifier: MIT */
/* Scenarios of rare calls: other names, calls by number, and what reads and writes a descriptor
 * elsewhere: the kernel, stdio, the C library's threads, a child. */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "tests/system/preload/client.h"

extern char **environ;

#define PONG "+PONG\r\n"

static char ping[64];
static size_t ping_size;

/* ---- by number ---- */

static int by_number(void)
{
    char reply[64];
    struct iovec out = {ping, ping_size}, in = {reply, sizeof reply};
    int fd = dial(), copy, on;

    for (int round = 0; round < 3; round++) {
        CHECK(syscall(SYS_sendto, fd, ping, ping_size, 0, NULL, 0) == (long)ping_size);
        CHECK(syscall(SYS_recvfrom, fd, reply, sizeof reply, 0, NULL, NULL) == 7);
        CHECK(memcmp(reply, PONG, 7) == 0);
        CHECK(syscall(SYS_write, fd, ping, ping_size) == (long)ping_size);
        CHECK(syscall(SYS_ioctl, fd, 0x5421 /* FIONBIO */, (on = 0, &on)) == 0);
        CHECK(syscall(SYS_read, fd, reply, sizeof reply) == 7);
        CHECK(syscall(SYS_writev, fd, &out, 1) == (long)ping_size);
        CHECK(syscall(SYS_readv, fd, &in, 1) == 7);
    }
    CHECK(syscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(syscall(SYS_read, fd, reply, sizeof reply) == -1 && errno == EAGAIN);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    copy = (int)syscall(SYS_dup, fd);
    CHECK(copy > fd);
    talk(copy, 2);
    CHECK(syscall(SYS_close, fd) == 0);
    CHECK(send(fd, "x", 1, 0) == -1 && errno == EBADF);
    talk(copy, 2);
    fd = dial();
    CHECK(syscall(SYS_shutdown, fd, SHUT_RDWR) == 0);
    CHECK(recv(fd, reply, 1, 0) == 0);
    fd = dial();
    talk(fd, 1);
    CHECK(syscall(SYS_close_range, fd, fd, 0) == 0);
    CHECK(write(fd, "x", 1) == -1 && errno == EBADF);
    CHECK(syscall(SYS_getpid) == getpid());
    return 0;
}

/* ---- other names ---- */

extern ssize_t __write(int fd, const void *data, size_t size);
extern ssize_t __read(int fd, void *data, size_t size);
extern ssize_t __send(int fd, const void *data, size_t size, int flags);
extern ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
extern ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
extern int __poll(struct pollfd *fds, nfds_t count, int ms);
extern int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room);
extern int __select(int end, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *limit);
extern int __fcntl(int fd, int command, ...);
extern int __close(int fd);

static int other_names(void)
{
    char reply[64], second[64];
    struct iovec out[2] = {{ping, 4}, {ping + 4, ping_size - 4}}, in = {reply, sizeof reply};
    struct iovec whole = {ping, ping_size}, other = {second, sizeof second};
    struct mmsghdr sent[2] = {{.msg_hdr = {.msg_iov = &whole, .msg_iovlen = 1}},
                              {.msg_hdr = {.msg_iov = out, .msg_iovlen = 2}}};
    struct mmsghdr got[2] = {{.msg_hdr = {.msg_iov = &in, .msg_iovlen = 1}},
                             {.msg_hdr = {.msg_iov = &other, .msg_iovlen = 1}}};
    int fd = dial();
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    fd_set reads;

    CHECK(__write(fd, ping, ping_size) == (ssize_t)ping_size);
    CHECK(__poll(&waited, 1, 5000) == 1 && waited.revents == POLLIN);
    CHECK(__read(fd, reply, sizeof reply) == 7);
    CHECK(__send(fd, ping, ping_size, 0) == (ssize_t)ping_size);
    CHECK(__poll_chk(&waited, 1, 5000, sizeof waited) == 1);
    CHECK(__read_chk(fd, reply, 7, sizeof reply) == 7);
    CHECK(pwritev2(fd, out, 2, -1, 0) == (ssize_t)ping_size);
    FD_ZERO(&reads);
    FD_SET(fd, &reads);
    CHECK(__select(fd + 1, &reads, NULL, NULL, NULL) == 1);
    CHECK(preadv2(fd, &in, 1, -1, 0) == 7);
    CHECK(preadv2(fd, &in, 1, 0, 0) == -1 && errno == ESPIPE);
    CHECK(lseek(fd, 0, SEEK_CUR) == -1 && errno == ESPIPE);
    CHECK(pwritev2(fd, &whole, 1, -1, 0) == (ssize_t)ping_size);
    CHECK(__recv_chk(fd, reply, 7, sizeof reply, MSG_WAITALL) == 7);
    CHECK(sendmmsg(fd, sent, 2, 0) == 2 && sent[1].msg_len == ping_size);
    for (unsigned have = 0; have < 14; have += got[0].msg_len)
        CHECK(recvmmsg(fd, got, 2, MSG_WAITFORONE, NULL) >= 1 && got[0].msg_len > 0);
    CHECK(__fcntl(fd, F_GETFL) == O_RDWR);
    talk(fd, 2);
    CHECK(__close(fd) == 0);
    return 0;
}

/* ---- elsewhere ---- */

static void print(int fd, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    CHECK(vdprintf(fd, format, arguments) > 0);
    va_end(arguments);
}

static void by_stdio(void)
{
    int fd = dial();
    char line[64];
    FILE *file;

    talk(fd, 1);
    CHECK(dprintf(fd, "*1\r\n$4\r\nPING\r\n") == (int)ping_size);
    EXPECT(hear(fd), PONG);
    fd = dial();
    print(fd, "*1\r\n$4\r\n%s\r\n", "PING");
    EXPECT(hear(fd), PONG);
    fd = dial();
    talk(fd, 1);
    file = fdopen(fd, "r+");
    CHECK(file && fputs(ping, file) >= 0 && fflush(file) == 0);
    CHECK(fgets(line, sizeof line, file) && strcmp(line, PONG) == 0);
    talk(fd, 1);
    CHECK(fclose(file) == 0);
    /* A request that is under way. */
    fd = dial();
    tell(fd, ping, ping_size);
    file = fdopen(fd, "r+");
    CHECK(fgets(line, sizeof line, file) && strcmp(line, PONG) == 0);
    fputs(ping, file);
    fflush(file);
    CHECK(fgets(line, sizeof line, file) && strcmp(line, PONG) == 0);
    fclose(file);
}

static void by_kernel(void)
{
    static char value[100000];
    int fd = dial(), file = memfd_create("value", MFD_CLOEXEC), ends[2];
    char text[64];
    off_t at = 0;

    memset(value, 'v', sizeof value);
    CHECK(write(file, value, sizeof value) == sizeof value);
    talk(fd, 1);
    for (int round = 0; round < 2; round++, at = 0) {
        snprintf(text, sizeof text, "*3\r\n$3\r\nSET\r\n$4\r\nfile\r\n$%zu\r\n", sizeof value);
        tell(fd, text, strlen(text));
        while (at < (off_t)sizeof value)
            CHECK(sendfile(fd, file, &at, sizeof value - (size_t)at) > 0);
        tell(fd, "\r\n", 2);
        EXPECT(hear(fd), "+OK\r\n");
        EXPECT(ask(fd, "STRLEN", "file", NULL), ":100000\r\n");
        fd = dial(); /* now without a request before */
    }
    CHECK(pipe(ends) == 0 && write(ends[1], ping, ping_size) == (ssize_t)ping_size);
    CHECK(splice(ends[0], NULL, fd, NULL, ping_size, 0) == (ssize_t)ping_size);
    CHECK(splice(fd, NULL, ends[1], NULL, 7, 0) == 7);
    CHECK(read(ends[0], text, sizeof text) == 7 && memcmp(text, PONG, 7) == 0);
    talk(fd, 2);
}

static void finish(struct aiocb *request, ssize_t size)
{
    const struct aiocb *all[] = {request};
    struct timespec limit = {.tv_sec = 10};

    while (aio_error(request) == EINPROGRESS)
        CHECK(aio_suspend(all, 1, &limit) == 0);
    CHECK(aio_return(request) == size);
}

static void by_threads_of_libc(void)
{
    int fd = dial();
    char reply[64];
    struct aiocb out = {.aio_fildes = fd, .aio_buf = ping, .aio_nbytes = ping_size};
    struct aiocb in = {.aio_fildes = fd, .aio_buf = reply, .aio_nbytes = sizeof reply};
    struct aiocb *both[] = {&out, NULL};

    talk(fd, 1);
    CHECK(aio_write(&out) == 0);
    finish(&out, (ssize_t)ping_size);
    CHECK(aio_read(&in) == 0);
    finish(&in, 7);
    in.aio_fildes = out.aio_fildes = dial();
    out.aio_lio_opcode = LIO_WRITE;
    CHECK(lio_listio(LIO_WAIT, both, 2, NULL) == 0);
    CHECK(aio_return(&out) == (ssize_t)ping_size);
    CHECK(aio_read(&in) == 0);
    finish(&in, 7);
}

static void by_child(void)
{
    char *arguments[] = {"sh", "-c", "printf '*1\\r\\n$4\\r\\nPING\\r\\n' >&0", NULL};
    posix_spawn_file_actions_t actions;
    int fd = dial();
    pid_t pid;

    talk(fd, 1);
    posix_spawn_file_actions_init(&actions);
    CHECK(posix_spawn_file_actions_adddup2(&actions, fd, 0) == 0);
    CHECK(posix_spawn(&pid, "/bin/sh", &actions, NULL, arguments, environ) == 0);
    CHECK(child_status(pid) == 0);
    posix_spawn_file_actions_destroy(&actions);
    EXPECT(hear(fd), PONG);
    talk(fd, 1);
}

static int elsewhere(void)
{
    by_stdio();
    by_kernel();
    by_threads_of_libc();
    by_child();
    return 0;
}

static int with_ping(int (*run)(void))
{
    ping_size = request(ping, sizeof ping, "PING", NULL);
    return run();
}

static int run_by_number(void)
{
    return with_ping(by_number);
}

static int run_other_names(void)
{
    return with_ping(other_names);
}

static int run_elsewhere(void)
{
    return with_ping(elsewhere);
}

const struct scenario rare_scenarios[] = {
    {"by_number", run_by_number},
    {"other_names", run_other_names},
    {"elsewhere", run_elsewhere},
    {NULL, NULL},
};
