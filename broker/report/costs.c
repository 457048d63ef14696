/* SPDX-License-Identifier: MIT */
/*
 * The costs of a connection: see costs.h. The file has lines "idle.redis_connection 12345". It is
 * written anew beside the old one and renamed, so that a reader finds the one or the other.
 */
#include "broker/report/costs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/base/proc.h"
#include "broker/base/proc_text.h"

#define PATH_SIZE 4096

static const struct {
    const char *name;
    size_t offset;
    bool optional; /* may be unknown, then there is no line of it */
} fields[] = {
    {"connections_per_worker", offsetof(struct costs, connections_per_worker), false},
    {"worker_connection", offsetof(struct costs, worker_connection), false},
    {"redis_connection", offsetof(struct costs, redis_connection), false},
    {"kernel_connection", offsetof(struct costs, kernel_connection), true},
    {"lendis_worker", offsetof(struct costs, lendis_worker), false},
    {"lendis_kernel", offsetof(struct costs, lendis_kernel), true},
};
#define FIELDS (sizeof fields / sizeof *fields)

static double *field_of(struct costs *costs, size_t field)
{
    return (double *)(void *)((char *)costs + fields[field].offset);
}

void costs_of(const struct options *options, const struct comparison *comparison,
              struct costs *costs)
{
    const double *direct = comparison->due[VARIANT_DIRECT].values;
    const double *lendis = comparison->due[VARIANT_LENDIS].values;
    double workers = comparison->workers;
    double connections = workers * experiment_connections(options);

    *costs = (struct costs){
        .connections_per_worker = experiment_connections(options),
        .worker_connection = (direct[FIGURE_WORKERS] + direct[FIGURE_PAGE_TABLES] +
                              direct[FIGURE_DESCRIPTOR_TABLES]) /
                             connections,
        .redis_connection = direct[FIGURE_REDIS] / connections,
        .kernel_connection = direct[FIGURE_SOCKET_SLAB] / connections,
        .lendis_worker = (lendis[FIGURE_WORKERS] + lendis[FIGURE_PAGE_TABLES] +
                          lendis[FIGURE_DESCRIPTOR_TABLES]) /
                         workers,
    };
    costs->lendis_kernel =
        (lendis[FIGURE_SOCKET_SLAB] - lendis[FIGURE_REDIS_CONNECTIONS] * costs->kernel_connection) /
        workers;
}

/* The file: that of the options, or the usual one. Results: 0; -ENAMETOOLONG; -ENOENT, there is
 * no home. */
static int costs_path(const struct options *options, char *path, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length;

    if (options->costs_path)
        length = snprintf(path, size, "%s", options->costs_path);
    else if (state && *state == '/') /* a relative one is to be ignored: XDG Base Directories */
        length = snprintf(path, size, "%s/lendis/costs", state);
    else if (home && *home)
        length = snprintf(path, size, "%s/.local/state/lendis/costs", home);
    else
        return -ENOENT;
    return length < (int)size ? 0 : -ENAMETOOLONG;
}

/* Makes the folders above `path`. */
static void make_folders(const char *path)
{
    char folder[PATH_SIZE];

    snprintf(folder, sizeof folder, "%s", path);
    for (char *at = folder + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(folder, 0700);
        *at = '/';
    }
}

/* Lines of the other state, as they are. */
static void copy_others(FILE *file, const char *path, const char *state)
{
    char *text = read_text(path);

    for (char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");

        if (length > 0 && strncmp(line, state, strlen(state)) != 0)
            fprintf(file, "%.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    free(text);
}

int costs_save(const struct options *options, const struct costs *costs)
{
    const char *state = options->busy ? "busy." : "idle.";
    char path[PATH_SIZE], made[PATH_SIZE + 16];
    struct costs copy = *costs;
    int result = costs_path(options, path, sizeof path);
    FILE *file;

    if (result != 0)
        return result;
    make_folders(path);
    snprintf(made, sizeof made, "%s.%d", path, (int)getpid());
    file = fopen(made, "we");
    if (!file)
        return -errno;
    copy_others(file, path, state);
    for (size_t i = 0; i < FIELDS; i++)
        if (isfinite(*field_of(&copy, i)))
            fprintf(file, "%s%s %.1f\n", state, fields[i].name, *field_of(&copy, i));
    if (fclose(file) != 0 || rename(made, path) < 0) {
        result = -errno;
        unlink(made);
    }
    return result;
}

int costs_load(const struct options *options, struct costs *costs)
{
    const char *state = options->busy ? "busy." : "idle.";
    char path[PATH_SIZE], name[64], *text;
    int result = costs_path(options, path, sizeof path);
    size_t found = 0;

    if (result != 0)
        return result;
    text = read_text(path);
    if (!text)
        return -errno;
    for (size_t i = 0; i < FIELDS && result == 0; i++) {
        double *value = field_of(costs, i);

        snprintf(name, sizeof name, "%s%s", state, fields[i].name);
        *value = stat_field(text, name);
        found += !isnan(*value);
        if (isnan(*value) && !fields[i].optional)
            result = -EINVAL;
    }
    if (found == 0)
        result = -ENOENT;
    free(text);
    return result;
}
