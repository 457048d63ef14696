/* SPDX-License-Identifier: MIT */
/*
 * The catalog: what the broker shows to everyone. One per broker, written by the broker alone;
 * workers and tools get a descriptor that cannot be mapped writable (F_SEAL_FUTURE_WRITE,
 * memfd_create(2)).
 *
 *   struct catalog_header
 *   struct catalog_pool[pool_max]
 *   struct catalog_worker[worker_max]   index = worker index, the same in every pool segment
 *   config text                         what --print-config prints, secrets masked
 *
 * `broker` is how a worker sees that the broker died, without a system call: the broker's thread id
 * in a robust futex list (set_robust_list(2)), so the kernel sets FUTEX_OWNER_DIED in it at the
 * broker's death, however it comes. It is a notice, not a lock: nobody waits for it.
 *
 * Readers do not stall the broker: fields that change together are guarded by `version` (odd while
 * the broker writes; read again if it changed).
 */
#ifndef LENDIS_CATALOG_H
#define LENDIS_CATALOG_H

#include <stddef.h>
#include "lendis/counters.h"
#include "lendis/reasons.h"
#include "lendis/segment.h"

#define LENDIS_CATALOG_MAGIC        UINT64_C(0x31474c5441434c44) /* "DLCATLG1" */
#define CATALOG_MAX_POOLS           64u
#define CATALOG_CONFIG_SIZE         32768u
#define CATALOG_NAME_SIZE           64u
#define CATALOG_COMMANDS_SIZE       512u
#define CATALOG_PASSWORD_ERROR_SIZE 128u
/* The name under which the memfds show in /proc/PID/fd; tools find the broker's by it. */
#define CATALOG_MEMFD_NAME "lendis-catalog"
#define SEGMENT_MEMFD_NAME "lendis-pool"

/* Same as FUTEX_OWNER_DIED in <linux/futex.h>. */
#define CATALOG_OWNER_DIED 0x40000000u

struct catalog_header {
    uint64_t magic;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint64_t size;     /* bytes, whole catalog */
    uint64_t instance; /* random, of this broker process */
    uint32_t pool_max;
    uint32_t worker_max;
    shm_u32 broker;       /* the broker's thread id, | CATALOG_OWNER_DIED once it is dead */
    shm_u32 draining;     /* 1: the broker was told to stop; attach again */
    shm_u64 paused_pools; /* a bit for each pool that lends nothing now, see enum pause_state */
    uint64_t started_ms;  /* CLOCK_REALTIME */
    uint32_t broker_pid;
    uint32_t config_size; /* bytes of the config text */
    char socket_path[128];
    uint64_t reserved[7];
};
_Static_assert(sizeof(struct catalog_header) == 256, "layout");
/* Whether the broker lives and whether the pool lends: one cache line, read for every lease. */
_Static_assert(offsetof(struct catalog_header, broker) / 64 ==
                   offsetof(struct catalog_header, paused_pools) / 64,
               "layout");
_Static_assert(CATALOG_MAX_POOLS <= 64, "`paused_pools` has a bit for each pool");

enum backend_state { BACKEND_UNKNOWN = 0, BACKEND_UP = 1, BACKEND_DOWN = 2 };

/* What becomes of connections that are given back unclean: `reset`. */
enum reset_policy { RESET_TRACKED = 0, RESET_ALWAYS = 1, RESET_NEVER = 2 };

/* What an operator asked of a pool (lendisctl(1)). In all states but PAUSE_NONE nothing is lent or
 * handed over, and connections are closed as they come back. */
enum pause_state {
    PAUSE_NONE = 0,
    PAUSE_PAUSED = 1,  /* new callers wait */
    PAUSE_DRAINED = 2, /* new callers get LENDIS_E_DISABLED */
    PAUSE_SERVICE = 3, /* not a pool but a service: its members serve callers, for good */
};

/* What workers of a pool with `enabled = no` get as long as it is drained: `fallback`. */
enum fallback_policy { FALLBACK_ERROR = 0, FALLBACK_DIRECT = 1 };

/* Which idle connection is lent first. */
enum lending_order { ORDER_LAST_USED = 0, ORDER_ROUND_ROBIN = 1 };

/* What a pool's Redis is to others: `role`. */
enum pool_role { ROLE_PRIMARY = 0, ROLE_REPLICA = 1, ROLE_LOCAL = 2 };

/* How a pool is off for a password: `password`. */
enum password_state {
    PASSWORD_NONE = 0,    /* it does not log in */
    PASSWORD_AWAITED = 1, /* there is none yet */
    PASSWORD_GOOD = 2,
    PASSWORD_OLD = 3,     /* the last one, for another one could not be had */
    PASSWORD_REFUSED = 4, /* Redis refuses it; connections that are open may live on */
};

/* Of a service. */
#define SERVICE_REPLICAS_MAX  15u
#define SERVICE_REPLICAS_SIZE 256u

struct catalog_pool {
    _Alignas(64) shm_u32 version; /* odd: being written */
    shm_u32 backend;              /* enum backend_state */
    char name[CATALOG_NAME_SIZE]; /* empty: no pool here */
    char address[192];            /* as configured, without secrets */
    char username[64];
    char last_error[128]; /* of the last failed dial */
    uint32_t size;        /* connections at most; there are places for a few more */
    uint32_t min_idle;
    uint32_t db;
    uint32_t connect_timeout_ms;
    shm_u32 wait_timeout_ms;
    shm_u32 command_timeout_ms; /* 0: none */
    uint32_t segment_pool;      /* index of this entry, as in the segment header */
    shm_u32 commands_size;      /* of `commands`, without its end; 0: nothing differs */
    shm_u32 stall_timeout_ms;
    shm_u32 reset;             /* enum reset_policy */
    shm_u32 pause;             /* enum pause_state */
    shm_u32 places;            /* connections of the segment that are in use, the first ones */
    uint64_t segment_instance; /* as in the segment's header */
    /* Counted by the broker. */
    shm_u64 counters[BROKER_COUNTER_COUNT];
    shm_u64 closed[CLOSE_REASON_COUNT];     /* connections closed, by reason */
    shm_u64 revoked[REVOKE_REASON_COUNT];   /* leases taken from their holders, by reason */
    shm_u64 dial_errors[DIAL_REASON_COUNT]; /* dials that failed, by reason */
    shm_u64 departed[COUNTER_COUNT];        /* what departed workers had counted */
    /* How connections are kept, as far as workers have a part in it. These may change at any
     * time. */
    shm_u32 max_uses;         /* leases after which the broker gets a report; 0: never */
    shm_u32 per_uid_leases;   /* connections that one user's workers may hold; 0: no limit */
    shm_u32 fallback;         /* enum fallback_policy, of a pool with `enabled = no`; 0 of others */
    shm_u32 order;            /* enum lending_order */
    shm_u32 check_on_lease;   /* 1: a connection that has rested is checked */
    shm_u32 wait_queue;       /* how many may wait; 0: no limit */
    shm_u32 reserve_after_ms; /* how long until a waiter says that it waits; 0: no reserve */
    shm_u32 failing; /* 1: Redis has been down for so many dials that nobody is to wait for it */
    uint32_t role;   /* enum pool_role */
    shm_u32 unwell;  /* 1: services leave it while another member is well: notice.h, role_watch.h */
    /* When the certificate expires that the broker shows to the server, in seconds since 1970; 0:
     * it has none. */
    shm_u64 certificate_expiry;
    shm_u32 refused; /* what the server refuses to the broker: RIGHT_BIT() of rights.h */
    /* Of the password that the pool logs in with. */
    shm_u32 password;         /* enum password_state */
    shm_u64 password_got_ms;  /* CLOCK_REALTIME, since when it counts; 0: there is none */
    shm_u64 password_next_ms; /* likewise, the next time that one is asked for; 0: not known */
    char password_error[CATALOG_PASSWORD_ERROR_SIZE]; /* why it is not as it should be */
    /* Of a service: names of pools, separated by a blank; else empty. */
    char primary[CATALOG_NAME_SIZE];
    char replicas[SERVICE_REPLICAS_SIZE];
    /* Where unmodified programs find it, if that is not `address`: shared/served.h. */
    char serves[192];
    /* Which commands may not share a connection, where that is not as lendis' own table has it:
     * names with marks, see shared/command.h. Always ends with a zero byte. */
    char commands[CATALOG_COMMANDS_SIZE];
};
_Static_assert(sizeof(struct catalog_pool) % 64 == 0, "layout");

/* What the broker knows of a worker; index = worker index. */
struct catalog_worker {
    shm_u32 pool; /* 1 + pool index; 0: free */
    uint32_t pid; /* as the broker sees it; 0: not visible from its PID namespace */
    uint32_t uid;
    uint32_t gid;
    uint64_t since_ms; /* CLOCK_REALTIME */
    /* Of the process, as in /proc/PID/stat: by it a pid that was used again is noticed. 0: not
     * known. */
    uint64_t started;
    /* As in its slot; 0: it was expelled, and the place rests until the process ends. */
    shm_u32 tenant;
    uint32_t reserved;
};
_Static_assert(sizeof(struct catalog_worker) == 40, "layout");

/* All of what is counted by reason: closed, revoked, dial_errors. */
static inline uint64_t catalog_sum(const shm_u64 *counts, uint32_t count)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += shm_load_relaxed(&counts[i]);
    return sum;
}
#define CATALOG_SUM(counts) catalog_sum(counts, sizeof(counts) / sizeof *(counts))

/* A process' view of a mapped catalog. */
struct catalog {
    struct catalog_header *header;
    size_t size;
    uint32_t pool_max;
    uint32_t worker_max;
    uint64_t instance;
    struct catalog_pool *pools;
    struct catalog_worker *workers; /* NULL in a worker: see catalog_workers() */
    char *config;
    _Atomic(void *) whole; /* a worker's second mapping of it, made when it is needed */
};

/*
 * Makes and maps a catalog for worker_max workers. Results: 0, *fd (sealed, closed on exec) and
 * *catalog belong to the caller; -errno.
 */
int catalog_new(uint64_t instance, uint32_t worker_max, int *fd, struct catalog *catalog);

/* Maps what `fd` is, read-only. Results as segment_map(). */
int catalog_map(int fd, struct catalog *catalog);

/* The same for a worker of pool `index`: what comes before that pool's entry and the entry itself.
 * A worker has no use for more, and what is mapped shows as its size. */
int catalog_map_pool(int fd, uint32_t index, struct catalog *catalog);

/* The table of workers, which a worker maps when it asks for it first. NULL: it has no more
 * addresses. */
const struct catalog_worker *catalog_workers(const struct catalog *catalog);

void catalog_unmap(struct catalog *catalog);

/* What the pool entry of a previous broker had counted, and knew of its server's commands, goes on
 * in this one. */
void catalog_continue(struct catalog_pool *pool, const struct catalog_pool *previous);

/* Brackets of a change to a pool entry; the broker's. */
void catalog_write_begin(struct catalog_pool *pool);
void catalog_write_end(struct catalog_pool *pool);

/*
 * A consistent copy of pool entry `index`. Results: 0; -ENOENT, no pool there; -EAGAIN, the broker
 * was writing all the time (it died in the middle): *pool is what was read last.
 */
int catalog_read_pool(const struct catalog *catalog, uint32_t index, struct catalog_pool *pool);

/* Whether there is an entry `index` to be read: the results of catalog_read_pool(), without a copy
 * on the caller's stack, a page of which would be touched for it. */
int catalog_check_pool(const struct catalog *catalog, uint32_t index);

/* The index of the pool with this name, or -ENOENT. */
int catalog_find_pool(const struct catalog *catalog, const char *name);

static inline bool catalog_broker_gone(const struct catalog *catalog)
{
    return (atomic_load_explicit(&catalog->header->broker, memory_order_relaxed) &
            CATALOG_OWNER_DIED) ||
           atomic_load_explicit(&catalog->header->draining, memory_order_relaxed);
}

#endif
