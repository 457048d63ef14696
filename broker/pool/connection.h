/* SPDX-License-Identifier: MIT */
/*
 * One connection as the broker sees it: the private record beside the word in the pool's segment.
 *
 * What is true for the broker is here: the descriptor, the generation, and whether it is closed,
 * being dialled or open. The word is shared with workers, so it is a hint: read once, compared with
 * this record, and overwritten when the two do not fit (I5). Closing always goes through
 * connection_close(), which revokes by shutdown(2) and gives the word the next generation, so that
 * nothing of the old one can be taken for the new.
 */
#ifndef LENDIS_BROKER_CONNECTION_H
#define LENDIS_BROKER_CONNECTION_H

#include "broker/redis/dialler.h"
#include "broker/pool/lease_limits.h"
#include "broker/redis/redirection.h"
#include "broker/base/fd_store.h"
#include "lendis/catalog.h"
#include "lendis/queue.h"

/*
 * A combiner that is being watched, of each connection, stalled.c's: what was found when it was
 * last seen to go on.
 */
struct stalled_watch {
    uint64_t word; /* 0: it is not watched */
    uint64_t beat;
    uint64_t batch;
    uint64_t since_ms; /* when, by the broker's clock */
    uint64_t ran_ns;   /* its time on processors, once `inspected` */
    bool inspected;
};

enum connection_state { CONNECTION_CLOSED, CONNECTION_DIALLING, CONNECTION_OPEN };

/* How a connection stands with regard to its replacement: see maintenance.h. */
enum connection_replacement { REPLACEMENT_NONE, REPLACEMENT_DUE, REPLACEMENT_RETIRING };

struct broker_connection;
struct reset;

/* What the connections of a pool have in common, and to whom they report. */
struct connection_owner {
    struct segment segment;
    sd_event *event;
    struct dialler *dialler;
    struct catalog_pool *catalog;
    struct fd_store *store;
    char pool[CATALOG_NAME_SIZE];
    uint32_t open;     /* connections in this state */
    uint32_t dialling; /* likewise */

    void (*dialled)(struct broker_connection *connection); /* about to become idle */
    void (*opened)(struct broker_connection *connection);
    void (*failed)(struct broker_connection *connection, const char *error); /* it is closed */
    void (*lost)(struct broker_connection *connection);      /* still to be closed */
    void (*readable)(struct broker_connection *connection);  /* during a reset */
    void (*corrupted)(struct broker_connection *connection); /* its word was corrupted */
};

struct broker_connection {
    struct connection_owner *owner;
    sd_event_source *watch; /* for the peer's closing */
    struct dial *dial;      /* while it is being dialled */
    uint64_t generation;
    uint64_t opened_ms;
    uint64_t expires_ms; /* when it has lived for long enough; UINT64_MAX: never */
    /* Of the password that it logged in with: see credential.h. */
    uint64_t login_ms;      /* since when it counts; 0: the previous broker's */
    uint64_t login_ends_ms; /* when the login is to be over; UINT64_MAX: never */
    uint32_t login;         /* its serial; 0: likewise */
    uint64_t checked_ms;    /* when it was checked last, less a random part of check_interval */
    uint64_t busy_ms;       /* when maintenance.c last saw that somebody had it, */
    uint64_t uses;          /* and how often it had been leased then */
    uint64_t passed; /* its word when it was first seen in PASSED after a death; 0: nothing seen */
    uint64_t passed_ms; /* when that was */
    struct lease_seen seen;
    struct stalled_watch stall;
    struct socket_ends ends; /* as they were when it was dialled */
    struct socket_holders holders;
    uint64_t lost_seen;  /* of connection.lost in the segment, the last one that was seen */
    struct reset *reset; /* under way: the word is CHECKING until it is over */
    uint64_t reset_ms;   /* when it began */
    int fd;              /* -1 unless it is open */
    uint16_t index;
    uint8_t state;              /* enum connection_state */
    uint8_t address;            /* of the pool's addresses, the one that is being dialled */
    bool probe;                 /* dialled while the pool was failing */
    bool checking;              /* `reset` is a check */
    bool successor;             /* dialled in place of one that is due for replacement */
    uint8_t replacement;        /* enum connection_replacement */
    uint8_t replacement_reason; /* enum close_reason: why it is due for replacement */
};

enum connection_found {
    FOUND_FINE,      /* the word is one that the state allows */
    FOUND_CORRUPTED, /* it is not */
    FOUND_RETURNED,  /* given back for replacement */
    FOUND_UNCLEAN,   /* given back for a reset */
};

void connection_init(struct broker_connection *connection, struct connection_owner *owner,
                     uint32_t index);

static inline shm_u64 *connection_word(const struct broker_connection *connection)
{
    return &connection->owner->segment.connections[connection->index].word;
}

/*
 * The rule for everything that is secret, whatever carries the connection (a socket, a relay, TLS):
 * only while it is being dialled, when nobody else has its descriptor or can put bytes into it.
 * Once it has been lent, even if it is back and idle, its holder may have kept a copy of the
 * descriptor, and can connect(2) it to a server of its own at any moment. Where a login would be
 * needed again, the connection is closed and another one is dialled.
 */
static inline bool connection_may_carry_secret(const struct broker_connection *connection)
{
    return connection->state == CONNECTION_DIALLING;
}

/*
 * Dials; the connection must be closed. Results: 0, and the owner gets a report later how it ended;
 * -errno, `error` says why, and it is closed again.
 */
int connection_dial(struct broker_connection *connection, const struct dial_target *target,
                    char error[DIAL_ERROR_SIZE]);

/*
 * Takes over `fd`, which the previous broker opened in `generation` at opened_ms (clock_ms()); the
 * connection must be closed.
 * True: it is open, lent or idle as its word says. False: it does not fit, and fd was closed.
 */
bool connection_adopt(struct broker_connection *connection, int fd, uint64_t generation,
                      uint64_t opened_ms);

/*
 * In a segment of the previous broker, for a connection whose descriptor did not come along: gives
 * it a generation of its own, which takes it from whoever has it.
 */
void connection_renew(struct broker_connection *connection);

/* Revokes and closes, whatever state it is in. One that was open is counted by `reason`. */
void connection_close(struct broker_connection *connection, enum close_reason reason);

/*
 * Takes the connection from whoever has it by `word`, which was read before, and closes it; the
 * lease is counted by `reason`. False: the word has changed meanwhile, and nothing was done.
 * Waiters with commands on it get no report: see broker_pool_revoke().
 */
bool connection_revoke(struct broker_connection *connection, uint64_t word,
                       enum revoke_reason reason);

/* The peer of an open connection has closed it, noticed or not. */
bool connection_has_ended(const struct broker_connection *connection);

/* One of its holders has connected its socket elsewhere: no server of ours is at the other end. */
bool connection_is_redirected(const struct broker_connection *connection);

/* Compares the word, which goes to *word, with the record. Owners are compared with nothing here.
 */
enum connection_found connection_inspect(const struct broker_connection *connection,
                                         uint64_t *word);

/* From now on there is a report to the owner when there is something to read; and no longer. */
bool connection_reset_begun(struct broker_connection *connection);
void connection_reset_over(struct broker_connection *connection);

/* Puts the word of a connection that is not open back to what it must be. */
void connection_restore(struct broker_connection *connection);

#endif
