/* SPDX-License-Identifier: MIT */
/*
 * Writing metrics: see metrics.h. A table of families, each with a function that writes its samples
 * for one pool.
 *
 * In both formats a family's lines stand together. They differ in the name that TYPE and HELP have
 * for a counter (OpenMetrics: without _total), and OpenMetrics has UNIT, and EOF at the end.
 */
#include "broker/metrics/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/clock.h"

/* Borders of a time's buckets: powers of two, which are borders of our own, from 1 us to 69 s. */
#define TIME_BITS_FIRST 10u
#define TIME_BITS_LAST  36u

enum family_type { TYPE_GAUGE, TYPE_COUNTER, TYPE_HISTOGRAM };

struct writer {
    FILE *out;
    const struct statistics_source *source;
    const struct pool_statistics *pools;
    enum metrics_format format;
};

/* One pool's turn. */
struct turn {
    const struct writer *writer;
    const struct pool_statistics *pool;
    const struct segment *segment; /* NULL: not known */
    char label[2 * CATALOG_NAME_SIZE + 1];
};

struct family {
    const char *name; /* without lendis_ and _total */
    enum family_type type;
    const char *unit;  /* of the X-macro; NULL: none, or it is in the name */
    const char *label; /* besides pool; NULL: none */
    const char *help;
    void (*write)(const struct turn *turn, const struct family *family);
    uint32_t index; /* of the counter or histogram */
};

/* ---- names and numbers ---- */

static bool in_nanoseconds(const struct family *family)
{
    return family->unit && strcmp(family->unit, "nanoseconds") == 0;
}

/* As it stands before { in a sample, but for a histogram's endings. */
static void full_name(const struct family *family, char *name, size_t size)
{
    size_t length = strlen(family->name);

    /* What is counted in nanoseconds is shown in seconds: wait_ns, acquire_wait_seconds. */
    if (in_nanoseconds(family) && length > 3 && strcmp(family->name + length - 3, "_ns") == 0)
        snprintf(name, size, "lendis_%.*s_seconds", (int)length - 3, family->name);
    else
        snprintf(name, size, "lendis_%s", family->name);
}

/* The fewest digits that are read back as the same number, and never an integer's: OpenMetrics
 * wants the borders of buckets so. */
static void format_real(double value, char *text, size_t size)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".en"))
        strcat(text, ".0");
}

static void sample(const struct turn *turn, const struct family *family, const char *ending,
                   const char *label, const char *label_value)
{
    char name[96];

    full_name(family, name, sizeof name);
    fprintf(turn->writer->out, "%s%s{pool=\"%s\"", name, ending, turn->label);
    if (label)
        fprintf(turn->writer->out, ",%s=\"%s\"", label, label_value);
    fputs("} ", turn->writer->out);
}

static void write_integer(const struct turn *turn, const struct family *family, const char *ending,
                          const char *label, const char *label_value, uint64_t value)
{
    sample(turn, family, ending, label, label_value);
    fprintf(turn->writer->out, "%" PRIu64 "\n", value);
}

static void write_seconds(const struct turn *turn, const struct family *family, const char *ending,
                          uint64_t ns)
{
    char text[40];

    sample(turn, family, ending, NULL, NULL);
    format_real((double)ns / 1e9, text, sizeof text);
    fprintf(turn->writer->out, "%s\n", text);
}

/* ---- what a pool has ---- */

static void write_connections(const struct turn *turn, const struct family *family)
{
    static const char *const names[] = {
#define STATE_NAME(name, text) #name,
        CONNECTION_STATES(STATE_NAME)
#undef STATE_NAME
    };

    for (uint32_t i = 0; turn->segment && i < CONNECTION_USES; i++)
        write_integer(turn, family, "", "state", names[i], turn->pool->connections[i]);
}

static void write_limit(const struct turn *turn, const struct family *family)
{
    write_integer(turn, family, "", NULL, NULL, turn->pool->entry.size);
}

static void write_waiting(const struct turn *turn, const struct family *family)
{
    if (turn->segment)
        write_integer(turn, family, "", NULL, NULL, turn->pool->waiting);
}

static void write_workers(const struct turn *turn, const struct family *family)
{
    write_integer(turn, family, "", NULL, NULL, turn->pool->workers);
}

static void write_password_age(const struct turn *turn, const struct family *family)
{
    uint64_t got_ms = shm_load_relaxed(&turn->pool->entry.password_got_ms);
    uint64_t now_ms = clock_realtime_ms();

    if (got_ms != 0)
        write_seconds(turn, family, "", now_ms > got_ms ? (now_ms - got_ms) * 1000000 : 0);
}

static void write_password_failing(const struct turn *turn, const struct family *family)
{
    uint32_t state = shm_load32_relaxed(&turn->pool->entry.password);

    if (state != PASSWORD_NONE)
        write_integer(turn, family, "", NULL, NULL, state != PASSWORD_GOOD);
}

static void write_up(const struct turn *turn, const struct family *family)
{
    write_integer(turn, family, "", NULL, NULL,
                  shm_load32(&turn->pool->entry.backend) == BACKEND_UP);
}

static void write_lending(const struct turn *turn, const struct family *family)
{
    write_integer(turn, family, "", NULL, NULL, shm_load32(&turn->pool->entry.pause) == PAUSE_NONE);
}

static void write_oldest(const struct turn *turn, const struct family *family)
{
    if (turn->segment)
        write_seconds(turn, family, "", turn->pool->oldest_lease_ms * 1000000);
}

static void write_certificate(const struct turn *turn, const struct family *family)
{
    uint64_t expiry = shm_load_relaxed(&turn->pool->entry.certificate_expiry);

    if (expiry != 0)
        write_seconds(turn, family, "", expiry * 1000000000);
}

static void write_counter(const struct turn *turn, const struct family *family)
{
    uint64_t value = turn->pool->counters[family->index];

    if (in_nanoseconds(family))
        write_seconds(turn, family, "_total", value);
    else
        write_integer(turn, family, "_total", NULL, NULL, value);
}

static void write_broker_counter(const struct turn *turn, const struct family *family)
{
    write_integer(turn, family, "_total", NULL, NULL,
                  shm_load_relaxed(&turn->pool->entry.counters[family->index]));
}

static void write_reasons(const struct turn *turn, const struct family *family,
                          const char *const *names, const shm_u64 *counts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        write_integer(turn, family, "_total", "reason", names[i], shm_load_relaxed(&counts[i]));
}

#define REASON_NAME(name, text) #name,

static void write_closed(const struct turn *turn, const struct family *family)
{
    static const char *const names[] = {CLOSE_REASONS(REASON_NAME)};

    write_reasons(turn, family, names, turn->pool->entry.closed, CLOSE_REASON_COUNT);
}

static void write_revoked(const struct turn *turn, const struct family *family)
{
    static const char *const names[] = {REVOKE_REASONS(REASON_NAME)};

    write_reasons(turn, family, names, turn->pool->entry.revoked, REVOKE_REASON_COUNT);
}

static void write_dial_errors(const struct turn *turn, const struct family *family)
{
    static const char *const names[] = {DIAL_REASONS(REASON_NAME)};

    write_reasons(turn, family, names, turn->pool->entry.dial_errors, DIAL_REASON_COUNT);
}

#undef REASON_NAME

/* ---- histograms ---- */

static void write_bucket(const struct turn *turn, const struct family *family, double border,
                         uint64_t count)
{
    char text[40];

    format_real(border, text, sizeof text);
    write_integer(turn, family, "_bucket", "le", text, count);
}

/* A border is the least value that is beyond it, less a nanosecond: nobody will notice. */
static void write_time_buckets(const struct turn *turn, const struct family *family,
                               const struct histogram_sum *sum)
{
    for (uint32_t bits = TIME_BITS_FIRST; bits <= TIME_BITS_LAST; bits++)
        write_bucket(turn, family, (double)(UINT64_C(1) << bits) / 1e9,
                     histogram_sum_below(sum, UINT64_C(1) << bits));
}

/* Here the values are whole numbers, and the borders belong to their buckets. */
static void write_count_buckets(const struct turn *turn, const struct family *family,
                                const struct histogram_sum *sum)
{
    static const uint32_t borders[] = {1, 2, 4, 8, 15, 31, 63, 127};

    for (size_t i = 0; i < sizeof borders / sizeof *borders; i++)
        write_bucket(turn, family, borders[i], histogram_sum_below(sum, borders[i] + 1));
}

static void write_histogram(const struct turn *turn, const struct family *family)
{
    struct histogram_sum sum;

    if (!turn->segment)
        return;
    histogram_sum_read(turn->segment, (enum histogram_name)family->index, &sum);
    (in_nanoseconds(family) ? write_time_buckets : write_count_buckets)(turn, family, &sum);
    write_integer(turn, family, "_bucket", "le", "+Inf", sum.count);
    write_integer(turn, family, "_count", NULL, NULL, sum.count);
    if (in_nanoseconds(family))
        write_seconds(turn, family, "_sum", sum.sum);
    else
        write_integer(turn, family, "_sum", NULL, NULL, sum.sum);
}

/* The longest since the pool began: a histogram has no room for it. */
static void write_max(const struct turn *turn, const struct family *family)
{
    struct histogram_sum sum;

    if (!turn->segment)
        return;
    histogram_sum_read(turn->segment, (enum histogram_name)family->index, &sum);
    write_seconds(turn, family, "", sum.max);
}

/* ---- all of them ---- */

#define STATE_HELP(name, text) " " #name ": " text

static const struct family families[] = {
    {"connections", TYPE_GAUGE, NULL, "state",
     "Connections, by what they are in." CONNECTION_STATES(STATE_HELP), write_connections, 0},
    {"connections_limit", TYPE_GAUGE, NULL, NULL, "Connections that there may be at most: size.",
     write_limit, 0},
    {"waiters", TYPE_GAUGE, NULL, NULL, "Calls that wait in the queue.", write_waiting, 0},
    {"workers", TYPE_GAUGE, NULL, NULL, "Processes that are attached.", write_workers, 0},
    {"backend_up", TYPE_GAUGE, NULL, NULL, "1: Redis can be reached.", write_up, 0},
    {"pool_lending", TYPE_GAUGE, NULL, NULL, "1: the pool lends; 0: it is paused or drained.",
     write_lending, 0},
    {"password_age_seconds", TYPE_GAUGE, NULL, NULL,
     "Age of the password that the pool logs in with; of pools that have one.", write_password_age,
     0},
    {"password_failing", TYPE_GAUGE, NULL, NULL,
     "1: a password cannot be had, or Redis refuses it. Connections that are open live on.",
     write_password_failing, 0},
    {"oldest_lease_seconds", TYPE_GAUGE, NULL, NULL,
     "Age of the lease that is held longest. Growing without end: a leak.", write_oldest, 0},
    {"tls_certificate_expiry_seconds", TYPE_GAUGE, NULL, NULL,
     "When the certificate of tls_cert_file expires, in seconds since 1970.", write_certificate, 0},
#define COUNTER_FAMILY(name, unit, text)                                                           \
    {#name, TYPE_COUNTER, unit, NULL, text, write_counter, COUNTER_##name},
    COUNTERS(COUNTER_FAMILY)
#undef COUNTER_FAMILY
#define BROKER_FAMILY(name, unit, text)                                                            \
    {unit "_" #name, TYPE_COUNTER, NULL, NULL, text, write_broker_counter, BROKER_COUNTER_##name},
        BROKER_COUNTERS(BROKER_FAMILY)
#undef BROKER_FAMILY
            {"connections_closed", TYPE_COUNTER, NULL, "reason", "Connections closed.",
             write_closed, 0},
    {"leases_revoked", TYPE_COUNTER, NULL, "reason",
     "Leases that the broker took from their holders.", write_revoked, 0},
    {"dial_errors", TYPE_COUNTER, NULL, "reason", "Attempts to open a connection that failed.",
     write_dial_errors, 0},
#define HISTOGRAM_FAMILY(name, metric, unit, text)                                                 \
    {metric, TYPE_HISTOGRAM, unit, NULL, text, write_histogram, HISTOGRAM_##name},
    HISTOGRAMS(HISTOGRAM_FAMILY)
#undef HISTOGRAM_FAMILY
        {"acquire_wait_max_seconds", TYPE_GAUGE, NULL, NULL,
         "The longest wait for a connection since the broker started.", write_max, HISTOGRAM_wait},
    {"command_wait_max_seconds", TYPE_GAUGE, NULL, NULL,
     "The longest that a handed-over command took since the broker started.", write_max,
     HISTOGRAM_command},
    {"lease_max_seconds", TYPE_GAUGE, NULL, NULL, "The longest lease since the broker started.",
     write_max, HISTOGRAM_lease},
};
#define FAMILY_COUNT (sizeof families / sizeof *families)

static const char *const type_names[] = {"gauge", "counter", "histogram"};

/* "seconds", if the name says so. */
static const char *unit_of(const char *name)
{
    size_t length = strlen(name);

    return length > 8 && strcmp(name + length - 8, "_seconds") == 0 ? "seconds" : NULL;
}

static void header(const struct writer *writer, const char *name, enum family_type type,
                   const char *help)
{
    bool open = writer->format == METRICS_OPENMETRICS;
    const char *ending = type == TYPE_COUNTER && !open ? "_total" : "";

    fprintf(writer->out, "# HELP %s%s %s\n", name, ending, help);
    fprintf(writer->out, "# TYPE %s%s %s\n", name, ending, type_names[type]);
    if (open && unit_of(name))
        fprintf(writer->out, "# UNIT %s %s\n", name, unit_of(name));
}

/* Of the broker as a whole: gauges, without a pool. */
#define HOST_METRICS(METRIC)                                                                       \
    METRIC("lendis_build_info", "The version of lendis that this is from.")                        \
    METRIC("lendis_start_time_seconds", "When the broker started, in seconds since 1970.")         \
    METRIC("lendis_worker_places", "Processes that can be attached at most: max_workers.")         \
    METRIC("lendis_stopping", "1: the broker was told to stop and waits for leases to come back.")

static void write_host(const struct writer *writer)
{
    static const char *const help[] = {
#define METRIC_HELP(name, text) text,
        HOST_METRICS(METRIC_HELP)
#undef METRIC_HELP
    };
    const struct catalog_header *catalog = writer->source->catalog->header;
    char text[40];

    header(writer, "lendis_build_info", TYPE_GAUGE, help[0]);
    fprintf(writer->out, "lendis_build_info{version=\"%s\"} 1\n", LENDIS_BUILD_VERSION);
    header(writer, "lendis_start_time_seconds", TYPE_GAUGE, help[1]);
    format_real((double)catalog->started_ms / 1000, text, sizeof text);
    fprintf(writer->out, "lendis_start_time_seconds %s\n", text);
    header(writer, "lendis_worker_places", TYPE_GAUGE, help[2]);
    fprintf(writer->out, "lendis_worker_places %" PRIu32 "\n", writer->source->catalog->worker_max);
    header(writer, "lendis_stopping", TYPE_GAUGE, help[3]);
    fprintf(writer->out, "lendis_stopping %d\n", shm_load32(&catalog->draining) != 0);
}

/* A pool's name as a label's value. */
static void escape(const char *name, char *label)
{
    for (size_t i = 0; i < CATALOG_NAME_SIZE && name[i]; i++) {
        unsigned char c = (unsigned char)name[i];

        if (c == '"' || c == '\\')
            *label++ = '\\';
        *label++ = c < 0x20 || c >= 0x7f ? '?' : (char)c;
    }
    *label = '\0';
}

static void write_family(const struct writer *writer, const struct family *family)
{
    char name[96];

    full_name(family, name, sizeof name);
    header(writer, name, family->type, family->help);
    for (uint32_t i = 0; i < CATALOG_MAX_POOLS; i++) {
        struct turn turn = {.writer = writer, .pool = &writer->pools[i]};

        if (!turn.pool->present)
            continue;
        turn.segment = turn.pool->known ? writer->source->segments[i] : NULL;
        escape(turn.pool->entry.name, turn.label);
        family->write(&turn, family);
    }
}

int metrics_write(const struct statistics_source *source, enum metrics_format format, FILE *out)
{
    struct pool_statistics *pools = calloc(CATALOG_MAX_POOLS, sizeof *pools);
    struct writer writer = {.out = out, .source = source, .pools = pools, .format = format};

    if (!pools)
        return -ENOMEM;
    statistics_read(source, pools);
    write_host(&writer);
    for (size_t i = 0; i < FAMILY_COUNT; i++)
        write_family(&writer, &families[i]);
    if (format == METRICS_OPENMETRICS)
        fputs("# EOF\n", out);
    free(pools);
    return ferror(out) ? -EIO : 0;
}

void metrics_list(FILE *out)
{
#define METRIC_LINE(name, text)                                                                    \
    fprintf(out, "%s\tgauge\t%s\t%s\n", name, strstr(name, "build") ? "version" : "-", text);
    HOST_METRICS(METRIC_LINE)
#undef METRIC_LINE
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        const struct family *family = &families[i];
        char name[96];

        full_name(family, name, sizeof name);
        fprintf(out, "%s%s\t%s\tpool%s%s\t%s\n", name, family->type == TYPE_COUNTER ? "_total" : "",
                type_names[family->type], family->label ? "," : "",
                family->label ? family->label : "", family->help);
    }
}
