/* SPDX-License-Identifier: MIT */
/* Exchanging what is behind a number: see swap.h. */
#include "libclient/preload/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "libclient/membership/socket_cookie.h"
#include "libclient/pool.h"
#include "libclient/preload/epoll_table.h"
#include "libclient/preload/own.h"
#include "libclient/preload/real.h"
#include "libclient/preload/tally.h"
#include "libclient/shared/descriptor.h"

/* fcntl(2): whether two descriptors are one file, at the price of the call alone. Linux 6.10 has it
 * as F_DUPFD_QUERY, and it copies nothing. */
#define SAME_FILE (1024 + 3)

/* dup3(2) says EBUSY while another thread is opening the number: only where it was closed. */
#define BUSY_TURNS 100

/* Those that all virtual connections of a process share. */
struct common {
    int parked, peer; /* the peer is open for as long as the process */
    int ended;
    uint64_t parked_cookie, ended_cookie;
    bool asks; /* the kernel has SAME_FILE */
};

static struct common *common;

/* ---- sockets of ours ---- */

/*
 * Two ends, both ours. The first comes behind a number. Who reads there past the hooks does not
 * wait for what cannot come. What is written there would be read by nobody, and fill it up for all
 * who share it: it is a broken pipe.
 */
static bool make_pair(int ends[2])
{
    if (descriptor_pair(ends) < 0)
        return false;
    own_mark(ends[0]);
    own_mark(ends[1]);
    real()->shutdown(ends[0], SHUT_WR);
    return true;
}

static bool make_common(struct common *made)
{
    int parked[2], ended[2];

    if (!make_pair(parked))
        return false;
    if (!make_pair(ended)) {
        own_close(parked[0]);
        own_close(parked[1]);
        return false;
    }
    own_close(ended[1]);
    *made = (struct common){.parked = parked[0],
                            .peer = parked[1],
                            .ended = ended[0],
                            .parked_cookie = socket_cookie(parked[0]),
                            .ended_cookie = socket_cookie(ended[0]),
                            .asks = real()->fcntl(parked[0], SAME_FILE, parked[0]) == 1};
    return true;
}

bool swap_prepare(void)
{
    struct common *made, *none = NULL;

    if (__atomic_load_n(&common, __ATOMIC_ACQUIRE))
        return true;
    made = malloc(sizeof *made);
    if (!made || !make_common(made)) {
        free(made);
        return false;
    }
    if (__atomic_compare_exchange_n(&common, &none, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return true;
    own_close(made->parked);
    own_close(made->peer);
    own_close(made->ended);
    free(made);
    return true;
}

/* ---- the number ---- */

bool swap_is_here(const struct virtual *virtual)
{
    int before = errno;
    bool here = common->asks && virtual->cookie == common->parked_cookie
                    ? real()->fcntl(virtual->number, SAME_FILE, common->parked) == 1
                    : socket_cookie(virtual->number) == virtual->cookie;

    errno = before;
    return here;
}

bool swap_check(struct virtual *virtual)
{
    bool here = virtual->checked || swap_is_here(virtual);

    virtual->checked = here && !virtual->checked;
    return here;
}

/* Behind the number is `fd` from now on. It is never inherited by a program that is executed: there
 * nobody would know what it is. False: what is there was not put there by us. */
static bool exchange(struct virtual *virtual, int fd, uint64_t cookie)
{
    int turns = 0, result;

    if (virtual->cookie != 0 && !swap_is_here(virtual))
        return false;
    do
        result = real()->dup3(fd, virtual->number, O_CLOEXEC);
    while (result < 0 && (errno == EINTR || (errno == EBUSY && ++turns < BUSY_TURNS)));
    if (result >= 0)
        virtual->cookie = cookie;
    return result >= 0;
}

/* Goes on to a state, with `fd` behind the number: change(), where there is something to do. */
static bool change_slowly(struct virtual *virtual, enum virtual_state state, int fd,
                          uint64_t cookie)
{
    int before = errno;
    bool changed = true;

    registrations_lift(virtual, swap_carrier(virtual));
    if (virtual->cookie != cookie)
        changed = exchange(virtual, fd, cookie);
    virtual->state = state;
    virtual->shown = virtual->checked = false;
    registrations_lay(virtual, swap_carrier(virtual));
    errno = before;
    return changed;
}

static inline bool change(struct virtual *virtual, enum virtual_state state, int fd,
                          uint64_t cookie)
{
    if (virtual->cookie != cookie || virtual->registrations)
        return change_slowly(virtual, state, fd, cookie);
    virtual->state = state;
    virtual->shown = virtual->checked = false;
    return true;
}

bool swap_put(struct virtual *virtual, int fd)
{
    return change(virtual, virtual->state, fd, socket_cookie(fd));
}

static void close_pair(struct virtual *virtual)
{
    int before = errno;

    if (virtual->pair < 0)
        return;
    own_close(virtual->pair);
    virtual->pair = -1;
    free(virtual->backlog);
    virtual->backlog = NULL;
    virtual->backlog_size = virtual->backlog_at = virtual->unread = 0;
    errno = before;
}

bool swap_park(struct virtual *virtual)
{
    bool parked = change(virtual, VIRTUAL_PARKED, common->parked, common->parked_cookie);

    close_pair(virtual);
    return parked;
}

/* As it was when the descriptor came: nobody closes ours. */
static uint64_t cookie_of(const struct lendis_lease *lease)
{
    const struct cached_descriptor *cached = &lease->attachment->cached[lease->index];

    return !lease->private && cached->fd == lease->fd ? cached->cookie : socket_cookie(lease->fd);
}

bool swap_lease(struct virtual *virtual)
{
    bool leased = change(virtual, VIRTUAL_LEASED, common->parked, common->parked_cookie);

    close_pair(virtual);
    virtual->lease->used = true;
    if (!leased)
        virtual->state = VIRTUAL_PARKED;
    return leased;
}

bool swap_show(struct virtual *virtual)
{
    const struct lendis_lease *lease = virtual->lease;
    uint64_t cookie = cookie_of(lease);

    if (virtual->shown)
        return true;
    if (cookie == 0 || !change(virtual, VIRTUAL_LEASED, lease->fd, cookie))
        return false;
    virtual->shown = true;
    return true;
}

bool swap_end(struct virtual *virtual, bool untold)
{
    bool ended = change(virtual, VIRTUAL_ENDED, common->ended, common->ended_cookie);

    close_pair(virtual);
    virtual->loss_untold = untold;
    return ended;
}

/* ---- answers ---- */

/* An end of a pair comes behind the number. */
static int come_to_pair(struct virtual *virtual)
{
    int ends[2];

    if (virtual->pair >= 0) {
        virtual->state = VIRTUAL_ANSWERED;
        return 0;
    }
    if (!make_pair(ends))
        return -EMFILE;
    if (!change(virtual, VIRTUAL_ANSWERED, ends[0], socket_cookie(ends[0]))) {
        virtual->state = VIRTUAL_PARKED;
        own_close(ends[0]);
        own_close(ends[1]);
        return -EBADF;
    }
    own_close(ends[0]);
    virtual->pair = ends[1];
    return 0;
}

/* Moves what there is room for. Results: bytes. */
static size_t pour(const struct virtual *virtual, const char *data, size_t size)
{
    size_t poured = 0;

    while (poured < size) {
        ssize_t wrote =
            real()->send(virtual->pair, data + poured, size - poured, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (wrote <= 0)
            break;
        poured += (size_t)wrote;
    }
    return poured;
}

static void pour_backlog(struct virtual *virtual)
{
    virtual->backlog_at += pour(virtual, virtual->backlog + virtual->backlog_at,
                                virtual->backlog_size - virtual->backlog_at);
    if (virtual->backlog_at < virtual->backlog_size)
        return;
    free(virtual->backlog);
    virtual->backlog = NULL;
    virtual->backlog_at = virtual->backlog_size = 0;
}

static bool keep_backlog(struct virtual *virtual, const char *data, size_t size)
{
    char *grown = realloc(virtual->backlog, virtual->backlog_size + size);

    if (!grown)
        return false;
    memcpy(grown + virtual->backlog_size, data, size);
    virtual->backlog = grown;
    virtual->backlog_size += size;
    return true;
}

int swap_answer(struct virtual *virtual, const char *data, size_t size)
{
    int before = errno, result = come_to_pair(virtual);
    size_t poured = 0;

    if (result == 0 && !virtual->backlog)
        poured = pour(virtual, data, size);
    if (result == 0 && poured < size && !keep_backlog(virtual, data + poured, size - poured))
        result = -ENOMEM;
    if (result == 0)
        virtual->unread += size;
    errno = before;
    return result;
}

void swap_answer_read(struct virtual *virtual, size_t size)
{
    int before = errno;

    virtual->unread -= size < virtual->unread ? size : virtual->unread;
    if (virtual->backlog)
        pour_backlog(virtual);
    if (virtual->unread == 0 && virtual->ends)
        swap_end(virtual, false);
    else if (virtual->unread == 0)
        virtual->state = VIRTUAL_PARKED; /* on its pair, which the next swap closes */
    errno = before;
}

/* ---- the lease ---- */

void swap_release(struct virtual *virtual, bool broken)
{
    struct lendis_lease *lease = virtual->lease;
    struct stream *stream = &virtual->stream;
    int before = errno;

    virtual->lease = NULL;
    if (!lease)
        return;
    if (stream->db_changed)
        virtual->db = stream->db;
    if (stream->name_changed)
        memcpy(virtual->name, stream->name, sizeof virtual->name);
    if (stream->reset) {
        virtual->name[0] = '\0';
        virtual->logged_in = false;
    }
    lease->session.left |= stream->session.left;
    if (broken || !stream_is_between(stream))
        lendis_discard(lease);
    else
        lendis_release(lease);
    errno = before;
}

void swap_disown(struct virtual *virtual)
{
    registrations_forget(virtual);
    virtual->lease = NULL;
    if (virtual->state == VIRTUAL_LEASED)
        virtual->state = VIRTUAL_PARKED;
}

static void give_up(struct virtual *virtual)
{
    registrations_forget(virtual);
    close_pair(virtual);
    tally_closed(virtual);
    swap_release(virtual, virtual->receivers > 0);
    stream_forget(&virtual->stream);
    free(virtual->gathered);
    virtual->gathered = NULL;
}

/* A registration ends with the last copy of its file, and of ours there are others. */
void swap_drop(struct virtual *virtual)
{
    int before = errno;

    registrations_lift(virtual, swap_carrier(virtual));
    give_up(virtual);
    errno = before;
}

void swap_forget(struct virtual *virtual)
{
    int before = errno;

    if (virtual->state == VIRTUAL_LEASED)
        registrations_lift(virtual, virtual->lease->fd);
    give_up(virtual);
    errno = before;
}
