/* SPDX-License-Identifier: MIT */
/* The handle of a pool: its options, its beginning and its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "lendis/wire.h"
#include "libclient/async.h"
#include "libclient/call.h"
#include "libclient/cancel.h"
#include "libclient/connection/dial.h"
#include "libclient/error.h"
#include "libclient/connection/fallback.h"
#include "libclient/membership/membership.h"
#include "libclient/connection/private_connection.h"
#include "libclient/service.h"

/* What a child finds zeroed: struct local, and a buffer right behind it, whose beginning shares its
 * page. Most replies end there. */
#define BUFFER_OFFSET ((sizeof(struct local) + 63) / 64 * 64)
#define LOCAL_SIZE    (BUFFER_OFFSET + CALL_RECEIVE_SIZE)

static int local_new(struct lendis_pool *pool)
{
    char *pages =
        mmap(NULL, LOCAL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return -ENOMEM;
    if (madvise(pages, LOCAL_SIZE, MADV_WIPEONFORK) < 0) {
        munmap(pages, LOCAL_SIZE);
        return -ENOMEM;
    }
    pool->local = (struct local *)(void *)pages;
    pool->buffer = pages + BUFFER_OFFSET;
    return 0;
}

static void pool_free(struct lendis_pool *pool)
{
    while (pool->foreign) {
        struct lendis_lease *next = pool->foreign->next_extra;

        free(pool->foreign);
        pool->foreign = next;
    }
    while (pool->attachments) {
        struct attachment *next = pool->attachments->next;

        free(pool->attachments);
        pool->attachments = next;
    }
    if (pool->local)
        munmap(pool->local, LOCAL_SIZE);
    if (pool->fallback_address)
        dial_address_free(pool->fallback_address);
    free(pool->fallback_address);
    free(pool->socket_path);
    free(pool->pool_name);
    free(pool);
}

static const char *default_socket_path(void)
{
    /* secure_getenv(3): a setuid program must not be led to another broker. */
    const char *path = secure_getenv("LENDIS_SOCKET");

    return path && *path ? path : LENDIS_DEFAULT_SOCKET;
}

static int set_fallback(struct lendis_pool *pool, const struct lendis_options *options)
{
    pool->fallback_connections = options->fallback_connections;
    if (!options->fallback_url) {
        if (!options->fallback_username && !options->fallback_password_file)
            return 0;
        error_note(-EINVAL, "fallback_username and fallback_password_file need fallback_url");
        return -EINVAL;
    }
    pool->fallback_address = calloc(1, sizeof *pool->fallback_address);
    if (!pool->fallback_address)
        return -ENOMEM;
    return dial_address_parse(options->fallback_url, options->fallback_username,
                              options->fallback_password_file, pool->fallback_address);
}

static int attach(const char *socket_path, const char *pool_name,
                  const struct lendis_options *options, struct lendis_pool **pool)
{
    struct lendis_options wanted = {0};
    struct lendis_pool *made;
    int result = 0;

    if (!pool_name || !pool || !*pool_name || strlen(pool_name) >= CATALOG_NAME_SIZE)
        return -EINVAL;
    if (options) {
        if (options->size < sizeof(size_t) + sizeof(unsigned))
            return -EINVAL;
        memcpy(&wanted, options, options->size < sizeof wanted ? options->size : sizeof wanted);
        if (wanted.flags & ~(LENDIS_LAZY | LENDIS_REPLICA))
            return -EINVAL;
    }
    made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->greeting.socket = -1;
    made->socket_path = strdup(socket_path ? socket_path : default_socket_path());
    made->pool_name = strdup(pool_name);
    made->flags = wanted.flags;
    made->attach_timeout_ms = wanted.attach_timeout_ms > 0 ? wanted.attach_timeout_ms : 1000;
    if (!made->socket_path || !made->pool_name)
        result = -ENOMEM;
    if (result == 0)
        result = local_new(made);
    if (result == 0)
        result = set_fallback(made, &wanted);
    if (result == 0 && !(wanted.flags & LENDIS_LAZY)) {
        result = membership_begin(made, true);
        if (fallback_applies(made, result))
            result = 0; /* calls go there until there is a broker */
    }
    if (result != 0) {
        pool_free(made);
        return result;
    }
    *pool = made;
    return 0;
}

LENDIS_PUBLIC int lendis_attach(const char *socket_path, const char *pool_name,
                                const struct lendis_options *options, struct lendis_pool **pool)
{
    int before CANCEL_RESTORED = cancel_off();

    error_begin();
    last_result = attach(socket_path, pool_name, options, pool);
    return last_result;
}

LENDIS_PUBLIC void lendis_detach(struct lendis_pool *pool)
{
    int before CANCEL_RESTORED = cancel_off();
    reply_reader_free *reader_free;

    if (!pool)
        return;
    async_cancel_all(pool);
    service_end(pool);
    LENDIS_STEP("hang up");
    membership_end(pool);
    private_connection_end(pool);
    reader_free = atomic_load(&pool->reader_free);
    if (reader_free)
        reader_free(atomic_load(&pool->local->reader));
    pool_free(pool);
}
