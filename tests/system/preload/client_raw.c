/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of a program that gets at its descriptors past the hooks: by system calls of its own,
 * through the kernel (splice(2), io_uring), in other processes. An idle virtual connection has
 * nothing there to be read or disturbed, however busy other processes are on the pool.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/system/preload/client.h"

#define OTHERS  6
#define LIMIT_S 30
#define GARBAGE "*3\r\n$3\r\nSET\r\n$6\r\nstolen\r\n$1\r\n1\r\n"

long (*raw)(long number, ...);

void find_raw(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

    CHECK(libc);
    raw = (long (*)(long, ...))dlsym(libc, "syscall");
    CHECK(raw);
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

/* ---- others, on the same pool ---- */

static atomic_int *stop;
static pid_t others[OTHERS];

static void begin_others(void)
{
    stop = mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(stop != MAP_FAILED);
    for (int i = 0; i < OTHERS; i++) {
        others[i] = fork();
        if (others[i] == 0) {
            int fd = dial();

            alarm(LIMIT_S);
            do
                talk(fd, 20);
            while (!atomic_load(stop));
            _exit(0);
        }
        CHECK(others[i] > 0);
    }
}

static void end_others(void)
{
    atomic_store(stop, 1);
    for (int i = 0; i < OTHERS; i++)
        CHECK(child_status(others[i]) == 0);
}

/* ---- what is done to a descriptor: bytes, or -1 and errno ---- */

static char taken[64];

static long by_read(int fd)
{
    return raw(SYS_read, fd, taken, sizeof taken);
}

static long by_recvfrom(int fd)
{
    return raw(SYS_recvfrom, fd, taken, sizeof taken, 0, NULL, NULL);
}

static long by_readv(int fd)
{
    struct iovec part = {taken, sizeof taken};

    return raw(SYS_readv, fd, &part, 1);
}

static long by_recvmmsg(int fd)
{
    struct iovec part = {taken, sizeof taken};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};

    return raw(SYS_recvmmsg, fd, &message, 1, 0, NULL) == 1 ? (long)message.msg_len : -1;
}

static long by_splice(int fd)
{
    long moved;
    int ends[2];

    CHECK(pipe(ends) == 0);
    moved = raw(SYS_splice, fd, NULL, ends[1], NULL, sizeof taken, 0);
    close(ends[0]);
    close(ends[1]);
    return moved;
}

static long by_write(int fd)
{
    return raw(SYS_write, fd, GARBAGE, sizeof GARBAGE - 1);
}

static long by_sendto(int fd)
{
    return raw(SYS_sendto, fd, GARBAGE, sizeof GARBAGE - 1, 0, NULL, 0);
}

static long by_sendmmsg(int fd)
{
    struct iovec part = {GARBAGE, sizeof GARBAGE - 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};

    return raw(SYS_sendmmsg, fd, &message, 1, 0) == 1 ? (long)message.msg_len : -1;
}

static long by_splice_out(int fd)
{
    long moved;
    int ends[2];

    CHECK(pipe(ends) == 0);
    CHECK(raw(SYS_write, ends[1], GARBAGE, sizeof GARBAGE - 1) == sizeof GARBAGE - 1);
    moved = raw(SYS_splice, ends[0], NULL, fd, NULL, sizeof GARBAGE - 1, 0);
    close(ends[0]);
    close(ends[1]);
    return moved;
}

static long by_sendfile(int fd)
{
    int file = memfd_create("garbage", MFD_CLOEXEC);
    long moved;
    off_t at = 0;

    CHECK(file >= 0 && raw(SYS_write, file, GARBAGE, sizeof GARBAGE - 1) == sizeof GARBAGE - 1);
    moved = raw(SYS_sendfile, fd, file, &at, sizeof GARBAGE - 1);
    close(file);
    return moved;
}

/* A copy that the hooks do not know of, and what other ways there are to one. */
static long by_copy(int fd)
{
    int copy = (int)raw(SYS_dup, fd);
    long moved = by_read(copy);

    if (moved <= 0)
        moved = by_write(copy);
    raw(SYS_close, copy);
    return moved;
}

static long by_pidfd(int fd)
{
    int process = (int)raw(SYS_pidfd_open, getpid(), 0), copy;
    long moved = -1;

    copy = process < 0 ? -1 : (int)raw(SYS_pidfd_getfd, process, fd, 0);
    if (copy >= 0) {
        moved = by_copy(copy);
        raw(SYS_close, copy);
    }
    if (process >= 0)
        raw(SYS_close, process);
    return moved;
}

static long by_path(int fd)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR);
}

/* A program that is executed, with the descriptor, by a child that uses no hook. */
static long by_shell(int fd)
{
    char text[128];
    int status;
    pid_t pid = (pid_t)raw(SYS_fork);

    snprintf(text, sizeof text, "printf 'FLUSHALL\\r\\n' >&%d; head -c 1 <&%d | grep -q .", fd, fd);
    if (pid == 0) {
        raw(SYS_fcntl, fd, F_SETFD, 0);
        unsetenv("LD_PRELOAD");
        execl("/bin/sh", "sh", "-c", text, NULL);
        raw(SYS_exit_group, 3);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status) == 0 ? 1 : -1;
}

/* ---- io_uring, without its library ---- */

struct ring {
    int fd;
    struct io_uring_params params;
    char *places;
    struct io_uring_sqe *entries;
};

static bool ring_open(struct ring *ring)
{
    size_t size;

    *ring = (struct ring){0};
    ring->fd = (int)raw(SYS_io_uring_setup, 4, &ring->params);
    if (ring->fd < 0 || !(ring->params.features & IORING_FEAT_SINGLE_MMAP))
        return false; /* the kernel does not allow it */
    size = ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe) +
           ring->params.sq_entries * sizeof(unsigned) + 4096;
    ring->places = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                        IORING_OFF_SQ_RING);
    ring->entries =
        mmap(NULL, ring->params.sq_entries * sizeof *ring->entries, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
    CHECK(ring->places != MAP_FAILED && ring->entries != MAP_FAILED);
    return true;
}

/* One operation, done at once or given up: its result. */
static long ring_do(unsigned char operation, int fd, void *data, size_t size)
{
    struct io_uring_cqe *done;
    unsigned *tail, *head;
    struct ring ring;
    long result;

    if (!ring_open(&ring))
        return -1;
    ring.entries[0] = (struct io_uring_sqe){.opcode = operation,
                                            .fd = fd,
                                            .addr = (unsigned long)data,
                                            .len = (unsigned)size,
                                            .rw_flags = RWF_NOWAIT};
    if (operation == IORING_OP_SEND || operation == IORING_OP_RECV)
        ring.entries[0].msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    ((unsigned *)(ring.places + ring.params.sq_off.array))[0] = 0;
    tail = (unsigned *)(ring.places + ring.params.sq_off.tail);
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    CHECK(raw(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
    head = (unsigned *)(ring.places + ring.params.cq_off.head);
    done = (struct io_uring_cqe *)(ring.places + ring.params.cq_off.cqes);
    result = done[*head & (ring.params.cq_entries - 1)].res;
    raw(SYS_close, ring.fd);
    return result;
}

static long by_ring_read(int fd)
{
    return ring_do(IORING_OP_READ, fd, taken, sizeof taken);
}

static long by_ring_receive(int fd)
{
    return ring_do(IORING_OP_RECV, fd, taken, sizeof taken);
}

static long by_ring_write(int fd)
{
    return ring_do(IORING_OP_WRITE, fd, GARBAGE, sizeof GARBAGE - 1);
}

static long by_ring_send(int fd)
{
    return ring_do(IORING_OP_SEND, fd, GARBAGE, sizeof GARBAGE - 1);
}

static const struct {
    const char *name;
    long (*run)(int fd);
} ways[] = {
    {"read", by_read},
    {"recvfrom", by_recvfrom},
    {"readv", by_readv},
    {"recvmmsg", by_recvmmsg},
    {"splice from", by_splice},
    {"write", by_write},
    {"sendto", by_sendto},
    {"sendmmsg", by_sendmmsg},
    {"splice to", by_splice_out},
    {"sendfile", by_sendfile},
    {"dup", by_copy},
    {"pidfd_getfd", by_pidfd},
    {"/proc/self/fd", by_path},
    {"execve", by_shell},
    {"io_uring read", by_ring_read},
    {"io_uring recv", by_ring_receive},
    {"io_uring write", by_ring_write},
    {"io_uring send", by_ring_send},
};
#define WAYS (sizeof ways / sizeof *ways)

static void expect_nothing(int fd, const char *when)
{
    for (size_t i = 0; i < WAYS; i++) {
        long moved = ways[i].run(fd);

        if (moved > 0) {
            fprintf(stderr, "%s, %s: %ld\n", when, ways[i].name, moved);
            exit(1);
        }
    }
}

/* ---- scenarios ---- */

static int raw_calls(void)
{
    int fd = dial(), other = dial();

    find_raw();
    begin_others();
    EXPECT(ask(other, "SET", "here", "yes", NULL), "+OK\r\n");
    for (int round = 0; round < 20; round++) {
        struct pollfd waited = {.fd = fd, .events = POLLIN};
        struct timespec now = {0};

        talk(fd, 1); /* it has had a connection */
        CHECK(raw(SYS_ppoll, &waited, 1, &now, NULL, 0) == 0);
        if (round % 5 == 0)
            expect_nothing(fd, "idle");
        for (size_t i = 0; i < WAYS; i++) {
            talk(fd, 1);
            CHECK(ways[i].run(fd) <= 0);
        }
    }
    /* Wherever they come from, nobody else's keys are there, and nobody's are gone. */
    EXPECT(ask(other, "EXISTS", "stolen", NULL), ":0\r\n");
    EXPECT(ask(other, "GET", "here", NULL), "$3\r\nyes\r\n");
    end_others();
    return 0;
}

static ino_t behind(int fd)
{
    char path[64], link[64] = "";
    ino_t number = 0;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(readlink(path, link, sizeof link - 1) > 0);
    CHECK(sscanf(link, "socket:[%lu]", &number) == 1);
    return number;
}

/* Between a request and its reply, too, there is nothing that a raw call could take or disturb; and
 * what select(2) has to see is there for as long as the reply is owed. */
static int raw_calls_between(void)
{
    char text[64];
    size_t size = request(text, sizeof text, "PING", NULL);
    int fd = dial(), idle = dial();

    find_raw();
    CHECK(behind(fd) == behind(idle));
    for (int round = 0; round < 20; round++) {
        fd_set reads, writes;

        tell(fd, text, size);
        expect_nothing(fd, "owed a reply");
        EXPECT(hear(fd), "+PONG\r\n");
        FD_ZERO(&reads);
        FD_ZERO(&writes);
        tell(fd, text, size);
        FD_SET(fd, &reads);
        CHECK(select(fd + 1, &reads, NULL, NULL, NULL) == 1 && FD_ISSET(fd, &reads));
        CHECK(behind(fd) != behind(idle));
        EXPECT(hear(fd), "+PONG\r\n");
        CHECK(behind(fd) == behind(idle));
        FD_SET(fd, &writes);
        CHECK(select(fd + 1, NULL, &writes, NULL, NULL) == 1 && FD_ISSET(fd, &writes));
        CHECK(behind(fd) == behind(idle));
    }
    talk(fd, 3);
    return 0;
}

const struct scenario raw_scenarios[] = {
    {"raw_calls", raw_calls},
    {"raw_calls_between", raw_calls_between},
    {NULL, NULL},
};
