/* SPDX-License-Identifier: MIT */
/*
 * This broker's catalog, and the previous one's: see catalog_writer.h.
 *
 * The broker's death is announced by the kernel: the word `broker` in the catalog is on this
 * thread's robust futex list (set_robust_list(2)), so it gets FUTEX_OWNER_DIED however the process
 * ends. It is no lock; nobody waits for it.
 */
#include "broker/daemon/catalog_writer.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/log.h"

_Static_assert(CATALOG_OWNER_DIED == FUTEX_OWNER_DIED, "the kernel's bit");

static void announce_death(const struct catalog *catalog)
{
    static struct robust_list node;
    static struct robust_list_head head;

    /* The kernel takes node + futex_offset for the futex; the two need not be near each other. */
    head.list.next = &node;
    head.futex_offset = (long)((uintptr_t)&catalog->header->broker - (uintptr_t)&node);
    head.list_op_pending = NULL;
    node.next = &head.list;
    shm_store32(&catalog->header->broker, (uint32_t)syscall(SYS_gettid));
    if (syscall(SYS_set_robust_list, &head, sizeof head) < 0)
        log_line(LOG_LEVEL_WARNING,
                 "set_robust_list: %s; workers will notice a crash of the broker later",
                 strerror(errno));
}

int catalog_writer_publish(struct catalog_writer *writer, const struct config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return -ENOMEM;
    config_print(config, memory);
    if (fclose(memory) != 0) {
        free(text);
        return -ENOMEM;
    }
    if (size > CATALOG_CONFIG_SIZE)
        size = CATALOG_CONFIG_SIZE;
    /* A reader of the moment may see half of each; the next one is right. */
    memcpy(writer->catalog.config, text, size);
    writer->catalog.header->config_size = (uint32_t)size;
    free(text);
    return 0;
}

void catalog_writer_forget_previous(struct catalog_writer *writer)
{
    catalog_unmap(&writer->previous);
    if (writer->previous_fd < 0)
        return;
    fd_store_remove(writer->store, STORED_CATALOG, (uintmax_t)writer->previous_ms);
    close(writer->previous_fd);
    writer->previous_fd = -1;
}

void catalog_writer_find_previous(struct catalog_writer *writer)
{
    const char *rest;
    int fd;

    while (fd_store_take_next(writer->store, "catalog.", &fd, &rest)) {
        uint64_t made_ms = strtoull(rest, NULL, 10);

        if (writer->previous_fd >= 0 && made_ms > writer->previous_ms) {
            fd_store_remove(writer->store, STORED_CATALOG, (uintmax_t)made_ms);
            close(fd);
            continue;
        }
        catalog_writer_forget_previous(writer);
        writer->previous_fd = fd;
        writer->previous_ms = made_ms;
    }
    if (writer->previous_fd >= 0 && catalog_map(writer->previous_fd, &writer->previous) != 0)
        log_line(LOG_LEVEL_NOTICE,
                 "the previous broker was of another version: what it lent stays with its holders "
                 "until they give it back");
}

int catalog_writer_make(struct catalog_writer *writer, const struct config *config,
                        const char *socket_path)
{
    struct catalog_header *header;
    uint64_t instance;
    int result;

    if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance)
        return -errno;
    result = catalog_new(instance | 1, config->broker.max_workers, &writer->fd, &writer->catalog);
    if (result != 0)
        return result;
    header = writer->catalog.header;
    writer->made_ms = clock_ms();
    fd_store_put(writer->store, writer->fd, STORED_CATALOG, (uintmax_t)writer->made_ms);
    header->started_ms = clock_realtime_ms();
    snprintf(header->socket_path, sizeof header->socket_path, "%s", socket_path);
    announce_death(&writer->catalog);
    return catalog_writer_publish(writer, config);
}
