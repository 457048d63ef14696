/* SPDX-License-Identifier: MIT */
/*
 * The kernel's memory: see kernel.h. Each socket takes objects of some slab caches. The kernel
 * merges caches of one size under the name of the first (slabinfo(5)): then all that share it are
 * counted, which is right for what is wanted here, the difference between two readings. Each
 * socket also has a dentry (sock_alloc_file() in net/socket.c), whose cache follows whatever files
 * the machine reads: those of sockets are known by their number.
 */
#include "broker/report/kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/base/proc_text.h"

#define SLAB_FOLDER "/sys/kernel/slab"
#define NAMES_MAX   64
#define NAME_SIZE   64

/* What a connection takes, on both of its ends. */
static const char *const caches[] = {
    "TCP",
    "TCPv6",
    "UNIX",
    "UNIX-STREAM",
    "UNIX-DGRAM",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
    "skbuff_head_cache",
    "skbuff_fclone_cache",
    "skbuff_small_head",
    "lsm_file_cache",
};
#define CACHES (sizeof caches / sizeof *caches)

/* Names under which they are in slabinfo. */
static struct {
    char names[NAMES_MAX][NAME_SIZE];
    const char *list[NAMES_MAX];
    size_t count;
} counted;

static void count_name(const char *name)
{
    for (size_t i = 0; i < counted.count; i++)
        if (strcmp(counted.names[i], name) == 0)
            return;
    if (counted.count == NAMES_MAX)
        return;
    snprintf(counted.names[counted.count], NAME_SIZE, "%.*s", NAME_SIZE - 1, name);
    counted.list[counted.count] = counted.names[counted.count];
    counted.count++;
}

/* All names of the cache that `target` is, one of which it has in slabinfo. */
static void count_aliases(const char *target, const char *slabinfo)
{
    DIR *folder = opendir(SLAB_FOLDER);
    struct dirent *entry;

    while (folder && (entry = readdir(folder))) {
        char other[NAME_SIZE];
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, other, sizeof other - 1);

        if (length < 0)
            continue;
        other[length] = '\0';
        if (strcmp(other, target) == 0 && !isnan(slabinfo_object(slabinfo, entry->d_name)))
            count_name(entry->d_name);
    }
    if (folder)
        closedir(folder);
}

static void find_names(const char *slabinfo)
{
    for (size_t i = 0; i < CACHES; i++) {
        char path[128], target[NAME_SIZE];
        ssize_t length;

        if (!isnan(slabinfo_object(slabinfo, caches[i]))) {
            count_name(caches[i]);
            continue;
        }
        snprintf(path, sizeof path, SLAB_FOLDER "/%s", caches[i]);
        length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue; /* not in this kernel */
        target[length] = '\0';
        count_aliases(target, slabinfo);
    }
}

static double read_slab(double sockets)
{
    char *text = read_text("/proc/slabinfo");
    double bytes;

    if (!text)
        return NAN;
    if (counted.count == 0)
        find_names(text);
    bytes = slabinfo_bytes(text, counted.list, counted.count, (size_t)sysconf(_SC_PAGESIZE)) +
            sockets * slabinfo_object(text, "dentry");
    free(text);
    return bytes;
}

void kernel_read(struct kernel_memory *memory)
{
    char *sockstat = read_text("/proc/net/sockstat"), *meminfo = read_text("/proc/meminfo");
    double sockets = sockstat ? sockstat_value(sockstat, "sockets", "used") : NAN;

    *memory = (struct kernel_memory){
        .socket_slab = read_slab(sockets),
        .sockets = sockets,
        .socket_charged =
            sockstat ? sockstat_value(sockstat, "TCP", "mem") * (double)sysconf(_SC_PAGESIZE) : NAN,
        .available = meminfo ? kilobytes_field(meminfo, "MemAvailable") : NAN,
        .kernel_stacks = meminfo ? kilobytes_field(meminfo, "KernelStack") : NAN,
        .page_tables = meminfo ? kilobytes_field(meminfo, "PageTables") : NAN,
    };
    free(sockstat);
    free(meminfo);
}

void kernel_shrink(void)
{
    for (size_t i = 0; i < counted.count; i++) {
        char path[160];
        int fd;

        snprintf(path, sizeof path, SLAB_FOLDER "/%s/shrink", counted.names[i]);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (write(fd, "1\n", 2) != 2)
            break; /* then nothing is given back, and the difference is somewhat smaller */
        close(fd);
    }
}
