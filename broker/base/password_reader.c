/* SPDX-License-Identifier: MIT */
/* Reading password files in the background: see password_reader.h. */
#include "broker/base/password_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "broker/base/secret.h"

/* A file that is older than this is whole: who writes one by hand or with a shell takes less. */
#define SETTLED_MS 100u
/* Then it is taken as it is. */
#define READINGS_MAX 4u

struct password_reading {
    struct background_task task; /* the first */
    password_reading_done *done;
    void *context;
    bool hasty;     /* it is read once, settled or not */
    bool cancelled; /* the loop's alone */
    int result;
    struct password *password; /* in memory for secrets */
    char why[PASSWORD_FILE_WHY_SIZE];
    const char *path, *name; /* in `text` */
    char text[];
};

/* ---- in the thread ---- */

static bool is_settled(const char *path)
{
    struct timespec now;
    struct stat stat_now;
    int64_t age_ms;

    if (stat(path, &stat_now) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
        return true;
    age_ms = (now.tv_sec - stat_now.st_mtim.tv_sec) * INT64_C(1000) +
             (now.tv_nsec - stat_now.st_mtim.tv_nsec) / 1000000;
    return age_ms < 0 || age_ms >= (int64_t)SETTLED_MS; /* below 0: by another clock */
}

static void read_once(struct password_reading *reading)
{
    reading->result =
        password_file_read(reading->path, reading->name, reading->password, reading->why);
}

/* Reads until two readings find the same; the first one is there. */
static void read_until_settled(struct password_reading *reading)
{
    static const struct timespec moment = {.tv_nsec = SETTLED_MS * 1000000};
    struct password *before = secret_room(sizeof *before);

    for (uint32_t i = 1; before && i < READINGS_MAX && !is_settled(reading->path); i++) {
        int result = reading->result;

        *before = *reading->password;
        nanosleep(&moment, NULL);
        read_once(reading);
        if (result == 0 && reading->result == 0 && before->size == reading->password->size &&
            memcmp(before->bytes, reading->password->bytes, before->size) == 0)
            break;
    }
    secret_free(before, sizeof *before);
}

static void run(struct background_task *task)
{
    struct password_reading *reading = (struct password_reading *)task;

    read_once(reading);
    if (!reading->hasty)
        read_until_settled(reading);
}

/* ---- in the loop ---- */

static void end(struct background_task *task, bool wanted)
{
    struct password_reading *reading = (struct password_reading *)task;

    if (wanted && !reading->cancelled)
        reading->done(reading->context, reading->result == 0 ? reading->password : NULL,
                      reading->result == 0 ? NULL : reading->why);
    secret_free(reading->password, sizeof *reading->password);
    free(reading);
}

/* NULL: there is no memory. */
static struct password_reading *make(const char *path, const char *name,
                                     password_reading_done *done, void *context)
{
    size_t size = strlen(path) + 1;
    struct password_reading *made = calloc(1, sizeof *made + size + strlen(name) + 1);

    if (!made)
        return NULL;
    made->task.run = run;
    made->task.end = end;
    made->done = done;
    made->context = context;
    made->path = strcpy(made->text, path);
    made->name = strcpy(made->text + size, name);
    made->password = secret_room(sizeof *made->password);
    if (made->password)
        return made;
    free(made);
    return NULL;
}

int password_reading_start(struct background *background, const char *path, const char *name,
                           password_reading_done *done, void *context,
                           struct password_reading **reading)
{
    struct password_reading *made = make(path, name, done, context);
    int result;

    if (!made)
        return -ENOMEM;
    result = background_run(background, &made->task);
    if (result == 0)
        *reading = made;
    else
        end(&made->task, false);
    return result;
}

void password_reading_cancel(struct password_reading *reading)
{
    if (reading)
        reading->cancelled = true;
}

int password_read_within(uint32_t limit_ms, const char *path, const char *name,
                         password_reading_done *done, void *context)
{
    struct password_reading *made = make(path, name, done, context);
    int result;

    if (!made)
        return -ENOMEM;
    made->hasty = true;
    result = background_run_within(limit_ms, &made->task);
    if (result != 0 && result != -ETIMEDOUT)
        end(&made->task, false);
    return result;
}
