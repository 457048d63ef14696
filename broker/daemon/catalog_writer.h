/* SPDX-License-Identifier: MIT */
/*
 * The catalog that this broker makes and keeps up to date, and the one that the previous broker
 * left in the descriptor store. Pools write their own entries; what is of the whole broker is
 * written here.
 */
#ifndef LENDIS_BROKER_CATALOG_WRITER_H
#define LENDIS_BROKER_CATALOG_WRITER_H

#include "broker/base/fd_store.h"
#include "broker/config/config.h"
#include "lendis/catalog.h"

struct catalog_writer {
    struct fd_store *store; /* set by the owner, and both descriptors to -1 */
    struct catalog catalog;
    int fd;
    uint64_t made_ms;
    struct catalog previous; /* header NULL: none, or none that can be read */
    int previous_fd;
    uint64_t previous_ms; /* when it was made */
};

/*
 * Finds what the previous broker left of itself. There can be more than one catalog, if a broker
 * died before it had adopted everything: the oldest is complete. One that cannot be read is as good
 * as none.
 */
void catalog_writer_find_previous(struct catalog_writer *writer);
void catalog_writer_forget_previous(struct catalog_writer *writer);

/* Makes the catalog and announces this thread's death in it. Results: 0; -errno. */
int catalog_writer_make(struct catalog_writer *writer, const struct config *config,
                        const char *socket_path);

/* Shows tools the configuration in force. Results: 0; -ENOMEM. */
int catalog_writer_publish(struct catalog_writer *writer, const struct config *config);

#endif
