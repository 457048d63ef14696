/* SPDX-License-Identifier: MIT */
/* Passwords of a configuration: see passwords.h. */
#include "broker/config/passwords.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/base/password_reader.h"
#include "broker/base/secret.h"
#include "broker/base/tool.h"
#include "broker/config/environment.h"
#include "broker/config/words.h"

/* Far longer than a file takes that is there, and shorter than the patience of a watchdog. */
#define READ_LIMIT_MS 1000u

/* ---- the keys ---- */

static void check_command(struct loader *loader, const struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, password_command);
    const char *why;
    char **words;
    int count = words_split(pool->password_command, TOOL_WORDS_MAX, &words, &why);

    if (count == -ENOMEM) {
        loader->no_memory = true;
        return;
    }
    if (count == 0) {
        config_complain(&place, "%s", why);
        return;
    }
    if (words[0][0] != '/')
        config_complain(&place, "\"%s\" is not an absolute path; write that of the program",
                        words[0]);
    free(words);
}

void config_check_login(struct loader *loader, struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, username);
    bool has_password = pool->password_file || pool->password_command;

    if (pool->username && !has_password)
        config_complain(&place, "needs password_file or password_command");
    place = PLACE_OF(loader, pool, password_command);
    if (pool->password_file && pool->password_command)
        config_complain(&place, "there is a password_file, too; leave out one of them");
    if (pool->password_command)
        check_command(loader, pool);
    place = PLACE_OF(loader, pool, password_lifetime_ms);
    if (pool->password_lifetime_ms > 0 && !has_password)
        config_complain(&place, "needs password_file or password_command");
    if (pool->password_lifetime_ms > 0 && pool->password_lifetime_ms < PASSWORD_LIFETIME_LEAST_MS)
        config_complain(&place, "%ums is too short; 0 and 1s to 720h are allowed",
                        pool->password_lifetime_ms);
}

/* ---- the file ---- */

/* A name without a leading slash is a credential of the service: systemd.exec(5), LoadCredential=.
 */
static char *password_path(struct loader *loader, const char *name)
{
    const char *folder = environment_look_up(loader->environment, "CREDENTIALS_DIRECTORY");
    char *path;

    if (name[0] == '/')
        return config_keep(loader, name);
    if (!folder)
        return NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        loader->no_memory = true;
        return NULL;
    }
    return path;
}

struct taker {
    struct place place;
    struct pool_config *pool;
};

static void take_password(void *context, const struct password *password, const char *why)
{
    struct taker *taker = context;
    struct pool_config *pool = taker->pool;

    if (!password) {
        config_complain(&taker->place, "%s", why);
        return;
    }
    if (password->world_readable)
        config_warn(&taker->place, "%s can be read by every user; take that right away (chmod o-r)",
                    pool->password_file);
    pool->password = secret_new(password->bytes, password->size);
    if (!pool->password)
        taker->place.loader->no_memory = true;
    else
        pool->password_size = password->size;
}

static void read_file(struct loader *loader, struct pool_config *pool)
{
    struct taker taker = {.place = PLACE_OF(loader, pool, password_file), .pool = pool};
    int result;

    free(pool->password_path);
    pool->password_path = password_path(loader, pool->password_file);
    if (!pool->password_path) {
        if (!loader->no_memory)
            config_complain(
                &taker.place,
                "\"%s\" is not an absolute path, and there is no systemd credential of that name",
                pool->password_file);
        return;
    }
    result = password_read_within(READ_LIMIT_MS, pool->password_path, pool->password_file,
                                  take_password, &taker);
    if (result == -ETIMEDOUT)
        config_complain(&taker.place, "%s is not read within a second: its file system hangs",
                        pool->password_file);
    else if (result != 0)
        config_complain(&taker.place, "%s is not read: %s", pool->password_file, strerror(-result));
}

/* ---- the program ---- */

struct inspection {
    struct background_task task; /* the first */
    const struct place *place;
    int error; /* errno; 0: it can be executed */
    struct stat found;
    char path[];
};

static void inspect(struct background_task *task)
{
    struct inspection *inspection = (struct inspection *)task;

    if (stat(inspection->path, &inspection->found) < 0 || access(inspection->path, X_OK) < 0)
        inspection->error = errno;
    else if (!S_ISREG(inspection->found.st_mode))
        inspection->error = EACCES;
}

static void end_inspection(struct background_task *task, bool wanted)
{
    struct inspection *inspection = (struct inspection *)task;

    if (wanted && inspection->error)
        config_warn(inspection->place, "%s cannot be executed: %s", inspection->path,
                    strerror(inspection->error));
    else if (wanted && (inspection->found.st_mode & S_IWOTH))
        config_warn(inspection->place,
                    "%s can be changed by every user; take that right away (chmod o-w)",
                    inspection->path);
    free(inspection);
}

/* It may come later, and is looked for each time. */
static void inspect_program(struct loader *loader, const struct pool_config *pool)
{
    struct place place = PLACE_OF(loader, pool, password_command);
    struct inspection *made;
    const char *why;
    char **words;
    int result;

    if (words_split(pool->password_command, TOOL_WORDS_MAX, &words, &why) < 1)
        return;
    made = words[0][0] == '/' ? calloc(1, sizeof *made + strlen(words[0]) + 1) : NULL;
    if (made) {
        made->task = (struct background_task){.run = inspect, .end = end_inspection};
        made->place = &place;
        strcpy(made->path, words[0]);
        result = background_run_within(READ_LIMIT_MS, &made->task);
        if (result == -ETIMEDOUT)
            config_warn(&place, "%s is not found within a second: its file system hangs", words[0]);
        else if (result != 0)
            free(made);
    }
    free(words);
}

void config_read_password(struct loader *loader, struct pool_config *pool)
{
    if (pool->password_file && !pool->password_command)
        read_file(loader, pool);
    else if (pool->password_command && !pool->password_file)
        inspect_program(loader, pool);
}
