/* SPDX-License-Identifier: MIT */
/* Whether the broker can be reached again: see reach.h. */
#include "libclient/membership/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "libclient/membership/attachment.h"
#include "libclient/error.h"
#include "libclient/result.h"

/* Results: 0; -errno of stat(2). */
static int reach_read(const char *path, struct reach_file *file)
{
    struct stat stat_of;

    *file = (struct reach_file){0};
    if (stat(path, &stat_of) < 0)
        return -errno;
    file->device = stat_of.st_dev;
    file->inode = stat_of.st_ino;
    file->changed = stat_of.st_ctim;
    return 0;
}

static bool is_same(const struct reach_file *a, const struct reach_file *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static bool is_unchanged(const struct reach_file *a, const struct reach_file *b)
{
    return is_same(a, b) && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

/* The folder that the socket is in. */
static void reach_read_folder(const char *socket_path, struct reach_file *file)
{
    const char *slash = strrchr(socket_path, '/');
    char *path;

    *file = (struct reach_file){0};
    path = !slash ? strdup(".")
                  : strndup(socket_path, slash == socket_path ? 1 : (size_t)(slash - socket_path));
    if (path)
        reach_read(path, file);
    free(path);
}

void reach_note(struct lendis_pool *pool)
{
    struct reach *reach = &pool->reach;

    reach->was_refused = false;
    reach_read("/", &reach->root);
    reach_read("/proc/self/ns/mnt", &reach->mounts);
    reach_read_folder(pool->socket_path, &reach->folder);
    atomic_store_explicit(&pool->local->lost, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->local->deserted, false, memory_order_relaxed);
}

/* Whether paths may mean other files. Not noted before, nothing is known: a handle that never
 * attached. */
static bool has_moved(const struct reach *reach)
{
    struct reach_file root, mounts;

    if (reach->root.inode == 0)
        return false;
    reach_read("/", &root);
    reach_read("/proc/self/ns/mnt", &mounts);
    return !is_same(&root, &reach->root) || !is_same(&mounts, &reach->mounts);
}

static bool sees_another_tree(const struct lendis_pool *pool)
{
    struct reach_file folder;

    if (!has_moved(&pool->reach))
        return false;
    reach_read_folder(pool->socket_path, &folder);
    return folder.inode == 0 || !is_same(&folder, &pool->reach.folder);
}

static bool is_refused_again(struct lendis_pool *pool)
{
    struct reach *reach = &pool->reach;
    struct reach_file before = reach->refused;
    bool again = reach->was_refused;

    reach_read(pool->socket_path, &reach->refused); /* all zero: it is behind a closed folder */
    reach->was_refused = true;
    return again && is_unchanged(&before, &reach->refused);
}

void reach_failed(struct lendis_pool *pool, int result)
{
    bool lost = false;

    if (result == -EACCES)
        lost = is_refused_again(pool);
    else
        pool->reach.was_refused = false;
    if (result == -ENOENT || result == -ENOTDIR)
        lost = sees_another_tree(pool);
    if (result == LENDIS_E_DENIED)
        lost = true;
    atomic_store_explicit(&pool->local->lost, lost ? result : 0, memory_order_relaxed);
}

int reach_lost(const struct lendis_pool *pool)
{
    int result = atomic_load_explicit(&pool->local->lost, memory_order_relaxed);

    if (result != 0)
        error_note(
            result,
            "the broker's socket %s cannot be reached again: %s (since it attached, this process "
            "has changed its root, its mounts or its rights)",
            pool->socket_path, lendis_strerror(result));
    return result;
}

/* What others hold can be passed on by them; what is idle needs a descriptor here. */
static bool is_usable(const struct attachment *attachment, uint32_t index)
{
    uint64_t word = shm_load(&attachment->segment.connections[index].word);
    const struct cached_descriptor *cached = &attachment->cached[index];

    switch (word_state(word)) {
    case WORD_IDLE:
        return atomic_load_explicit(&cached->generation, memory_order_relaxed) ==
               1 + word_generation(word);
    case WORD_LEASED:
    case WORD_PASSED:
    case WORD_TRANSFERRED:
        return true;
    default:
        return false;
    }
}

static bool has_usable(const struct attachment *attachment)
{
    for (uint32_t i = 0; i < segment_places(&attachment->segment); i++)
        if (is_usable(attachment, i))
            return true;
    return false;
}

void reach_look_for_redis(const struct attachment *attachment, int result)
{
    bool gone = result == -ECONNREFUSED || result == -ENOENT;

    gone = gone && !has_usable(attachment) && !has_moved(&attachment->pool->reach) &&
           redis_peer_refuses(&attachment->peer);
    atomic_store_explicit(&attachment->pool->local->deserted, gone, memory_order_relaxed);
}

int reach_cut_off(const struct attachment *attachment)
{
    const struct lendis_pool *pool = attachment->pool;
    bool deserted = atomic_load_explicit(&pool->local->deserted, memory_order_relaxed);

    if ((!deserted && atomic_load_explicit(&pool->local->lost, memory_order_relaxed) == 0) ||
        !attachment_is_orphan(attachment) || has_usable(attachment))
        return 0;
    if (!deserted)
        return reach_lost(pool);
    error_note(LENDIS_E_DOWN, "neither the broker (%s) nor Redis is there: both refuse connections",
               pool->socket_path);
    return RESULT_FAILS_FAST;
}
