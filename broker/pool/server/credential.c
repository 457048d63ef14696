/* SPDX-License-Identifier: MIT */
/* What a pool logs in with: see credential.h. */
#include "broker/pool/server/credential.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "broker/base/clock.h"
#include "broker/base/password_reader.h"
#include "broker/base/random.h"
#include "broker/base/secret.h"
#include "broker/base/text.h"
#include "broker/base/timer.h"
#include "broker/base/tool.h"
#include "broker/config/words.h"
#include "broker/pool/internal.h"

/* A file that was read within this time is not read again for a connection that is not the pool's
 * (direct.c, role_watch.c), nor for one that still waits for its turn to be dialled. */
#define FRESH_MS 1000u
/* A file that takes longer hangs; see LOOKUP_PATIENCE_MS. */
#define PATIENCE_MS 500u
/* After a file that could not be read, or a program that failed or whose password was refused:
 * doubled each time, and random. A dial has the file read again after the first one. */
#define FILE_PAUSE_MS      100u
#define FILE_PAUSE_MOST_MS 10000u
#define TOOL_PAUSE_MS      1000u
#define TOOL_PAUSE_MOST_MS 30000u
/* A login whose password is doubted, by anybody who may use the pool. */
#define DOUBT_MS 1000u
/* Of the lifetime: so much before its end there is to be another password, and so much before it
 * nothing uses the old one any more. */
#define MARGIN_PART 4u
#define REST_PART   16u
#define NEVER       UINT64_MAX

static struct credential *credential_of(const struct broker_pool *pool)
{
    return &pool->parts->credential;
}

static bool is_command(const struct broker_pool *pool)
{
    return pool->config->password_command != NULL;
}

static const char *source_of(const struct broker_pool *pool)
{
    return is_command(pool) ? "password_command" : "password_file";
}

bool credential_is_pending(const struct broker_pool *pool)
{
    return credential_of(pool)->reading || credential_of(pool)->tool;
}

/* ---- what is shown of it ---- */

/* `ms` of clock_ms() by the clock of everybody else. */
static uint64_t realtime_ms(uint64_t ms)
{
    return clock_realtime_ms() + ms - clock_ms();
}

static enum password_state state_of(const struct broker_pool *pool)
{
    const struct credential *credential = credential_of(pool);

    if (!pool_config_logs_in(pool->config))
        return PASSWORD_NONE;
    if (!credential->password)
        return PASSWORD_AWAITED;
    if (credential->refusals > 0)
        return PASSWORD_REFUSED;
    return credential->failures > 0 ? PASSWORD_OLD : PASSWORD_GOOD;
}

static void publish(const struct broker_pool *pool, const char *error)
{
    const struct credential *credential = credential_of(pool);
    struct catalog_pool *entry = pool->owner.catalog;
    uint64_t next_ms = credential->failures > 0 ? credential->retry_ms : credential->refresh_ms;

    catalog_write_begin(entry);
    shm_store32(&entry->password, state_of(pool));
    shm_store(&entry->password_got_ms, credential->password ? realtime_ms(credential->got_ms) : 0);
    shm_store(&entry->password_next_ms,
              is_command(pool) && next_ms != NEVER && next_ms > 0 ? realtime_ms(next_ms) : 0);
    snprintf(entry->password_error, sizeof entry->password_error, "%s", error);
    catalog_write_end(entry);
}

/* ---- when ---- */

static uint32_t lifetime_ms(const struct broker_pool *pool)
{
    return pool->config->password_lifetime_ms;
}

/* When the password that is there is to be replaced: a program's alone. Hosts that began together
 * do not all ask at the same moment. */
static uint64_t refresh_ms(const struct broker_pool *pool)
{
    uint32_t life_ms = lifetime_ms(pool);

    if (!is_command(pool) || life_ms == 0)
        return NEVER;
    return credential_of(pool)->got_ms + life_ms - life_ms / MARGIN_PART -
           random_up_to(life_ms / REST_PART);
}

/* Whether the file is to be read again: by `strict`, since the last dial. */
static bool is_stale(const struct broker_pool *pool, bool strict, uint64_t now_ms)
{
    const struct credential *credential = credential_of(pool);

    if (now_ms - credential->ended_ms < FRESH_MS)
        return strict && !credential->fresh;
    return !credential->fresh || (strict && !pool->parts->dialling.turn.queued);
}

static bool is_due(const struct broker_pool *pool, bool strict, uint64_t now_ms)
{
    const struct credential *credential = credential_of(pool);

    if (!is_command(pool))
        return !credential->password || is_stale(pool, strict, now_ms);
    return !credential->password || credential->wanted || now_ms >= credential->refresh_ms;
}

/* Whether a dial waits for the attempt that is under way. */
static bool is_waited_for(const struct broker_pool *pool, uint64_t now_ms)
{
    const struct credential *credential = credential_of(pool);

    if (!is_command(pool))
        return now_ms - credential->begun_ms < PATIENCE_MS;
    return credential->wanted ||
           (lifetime_ms(pool) > 0 && now_ms - credential->got_ms >= lifetime_ms(pool));
}

static uint64_t pause_ms(const struct broker_pool *pool, uint32_t times)
{
    uint64_t pause = is_command(pool) ? TOOL_PAUSE_MS : FILE_PAUSE_MS;
    uint64_t most = is_command(pool) ? TOOL_PAUSE_MOST_MS : FILE_PAUSE_MOST_MS;

    while (--times > 0 && pause < most)
        pause *= 2;
    if (pause > most)
        pause = most;
    return pause - random_up_to((uint32_t)pause / 4);
}

static void arm(struct broker_pool *pool)
{
    struct credential *credential = credential_of(pool);
    uint64_t now_ms = clock_ms(), at_ms = credential->refresh_ms;

    if (credential_is_pending(pool))
        at_ms =
            credential->reading && !credential->slow ? credential->begun_ms + PATIENCE_MS : NEVER;
    else if (credential->failures > 0 && !is_command(pool))
        at_ms = credential->ended_ms + pause_ms(pool, credential->failures);
    else if (credential->failures > 0 || credential->wanted)
        at_ms = credential->retry_ms;
    if (at_ms == NEVER)
        timer_stop(credential->timer);
    else
        timer_set(credential->timer, at_ms > now_ms ? (at_ms - now_ms) * 1000 : 0);
}

/* ---- an attempt's end ---- */

/* Dials go on, or what waited for them hears that they do not. */
static void settle(struct broker_pool *pool)
{
    arm(pool);
    pool->parts->target.events->settled(pool, credential_of(pool)->password != NULL);
}

/* Whoever waits hears of it later. */
static void note_failure(struct broker_pool *pool, const char *why)
{
    struct credential *credential = credential_of(pool);
    char text[PASSWORD_FILE_WHY_SIZE + 32];

    snprintf(text, sizeof text, "%s: %s", source_of(pool), why);
    shm_add_relaxed(&pool->owner.catalog->counters[BROKER_COUNTER_password_failures], 1);
    credential->ended_ms = clock_ms();
    credential->failures++;
    credential->retry_ms =
        credential->ended_ms +
        (is_command(pool) ? pause_ms(pool, credential->failures) : FILE_PAUSE_MS);
    publish(pool, why);
    if (!credential->password)
        health_dial_failed(pool, pool->parts->health.failures > 0, DIAL_password, text);
    else if (credential->failures == 1)
        log_limited(&credential->limit, LOG_LEVEL_WARNING,
                    "pool %s: no other password can be had, the last one stays in use: %s",
                    pool->config->name, text);
}

static void fail(struct broker_pool *pool, const char *why)
{
    note_failure(pool, why);
    settle(pool);
}

static bool is_same(const struct credential *credential, const char *bytes, size_t size)
{
    return credential->password && credential->size == size &&
           memcmp(credential->password, bytes, size) == 0;
}

/* Results: 0; -ENOMEM, the last one stays. */
static int keep(struct broker_pool *pool, const char *bytes, size_t size)
{
    struct credential *credential = credential_of(pool);
    bool same = is_same(credential, bytes, size);
    char *password = same ? credential->password : secret_new(bytes, size);

    if (!password)
        return -ENOMEM;
    if (!same) {
        secret_free(credential->password, credential->size);
        credential->password = password;
        credential->size = size;
    }
    /* A file has no time of its own; a token is new even if it looks the same. */
    if (!same || is_command(pool)) {
        credential->serial++;
        credential->got_ms = credential->begun_ms;
    }
    credential->refresh_ms = refresh_ms(pool);
    return 0;
}

static void take(struct broker_pool *pool, const char *bytes, size_t size)
{
    struct credential *credential = credential_of(pool);

    if (keep(pool, bytes, size) != 0) {
        fail(pool, strerror(ENOMEM));
        return;
    }
    if (credential->failures > 0 || credential->slow)
        log_limited(&credential->limit, LOG_LEVEL_NOTICE, "pool %s: %s gives a password again",
                    pool->config->name, source_of(pool));
    credential->ended_ms = clock_ms();
    credential->fresh = true;
    credential->failures = 0;
    credential->wanted = credential->slow = false;
    publish(pool, "");
    deferred_want(pool, DEFERRED_MAINTAIN);
    settle(pool);
}

static void on_read(void *context, const struct password *password, const char *why)
{
    struct broker_pool *pool = context;

    credential_of(pool)->reading = NULL;
    if (password)
        take(pool, password->bytes, password->size);
    else
        fail(pool, why);
}

static void on_printed(void *context, const char *output, size_t size, const char *why)
{
    struct broker_pool *pool = context;

    credential_of(pool)->tool = NULL;
    if (output)
        take(pool, output, size);
    else
        fail(pool, why);
}

static void on_line(void *context, const char *text, size_t size)
{
    struct broker_pool *pool = context;
    char clean[256];

    text_clean(clean, sizeof clean, text, size);
    log_limited(&credential_of(pool)->line_limit, LOG_LEVEL_WARNING,
                "pool %s: password_command says: %s", pool->config->name, clean);
}

/* ---- its beginning ---- */

#define VARIABLE_SIZE 4160u

/* Little enough: where it is told its credentials, for whom, and where programs are. */
static int run_program(struct broker_pool *pool, char *const *words)
{
    static const char *const inherited[] = {"HOME", "CREDENTIALS_DIRECTORY"};
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char name[32 + CATALOG_NAME_SIZE], user[96], kept[2][VARIABLE_SIZE];
    char *environment[6] = {path, name, user};
    uint32_t count = 3;
    struct tool_order order = {.words = words,
                               .environment = environment,
                               .limit_ms = pool->config->password_command_timeout_ms};

    snprintf(name, sizeof name, "LENDIS_POOL=%s", pool->config->name);
    snprintf(user, sizeof user, "LENDIS_USERNAME=%s",
             pool->config->username ? pool->config->username : "default");
    for (size_t i = 0; i < sizeof inherited / sizeof *inherited; i++) {
        const char *value = getenv(inherited[i]);

        if (value && (size_t)snprintf(kept[i], sizeof kept[i], "%s=%s", inherited[i], value) <
                         sizeof kept[i])
            environment[count++] = kept[i];
    }
    return tool_start(pool->owner.event, &order, on_line, on_printed, pool,
                      &credential_of(pool)->tool);
}

static int run_command(struct broker_pool *pool)
{
    const char *why;
    char **words;
    int result = words_split(pool->config->password_command, TOOL_WORDS_MAX, &words, &why);

    if (result < 1)
        return result == 0 ? -EINVAL : result;
    result = run_program(pool, words);
    free(words);
    return result;
}

static void begin(struct broker_pool *pool)
{
    struct credential *credential = credential_of(pool);
    int result;

    credential->begun_ms = clock_ms();
    if (is_command(pool))
        result = run_command(pool);
    else
        result = password_reading_start(pool->environment->background, pool->config->password_path,
                                        pool->config->password_file, on_read, pool,
                                        &credential->reading);
    /* Not settled: we are called by those who wait. */
    if (result != 0)
        note_failure(pool, strerror(-result));
    arm(pool);
}

static void attempt(struct broker_pool *pool, bool strict, uint64_t now_ms)
{
    if (is_due(pool, strict, now_ms) && !credential_is_pending(pool) &&
        now_ms >= credential_of(pool)->retry_ms)
        begin(pool);
}

static bool is_there(struct broker_pool *pool, bool strict)
{
    uint64_t now_ms = clock_ms();

    if (!pool_config_logs_in(pool->config))
        return true;
    attempt(pool, strict, now_ms);
    return credential_of(pool)->password &&
           !(credential_is_pending(pool) && is_waited_for(pool, now_ms));
}

bool credential_is_there(struct broker_pool *pool)
{
    return is_there(pool, false);
}

bool credential_is_ready(struct broker_pool *pool)
{
    return is_there(pool, true);
}

/* ---- time ---- */

static void note_slow(struct broker_pool *pool)
{
    struct credential *credential = credential_of(pool);

    if (!credential->slow)
        log_limited(&credential->limit, LOG_LEVEL_WARNING,
                    "pool %s: password_file is not read within %ums%s", pool->config->name,
                    PATIENCE_MS, credential->password ? ", the last password stays in use" : "");
    credential->slow = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct broker_pool *pool = context;

    (void)source;
    (void)usec;
    if (credential_of(pool)->reading)
        note_slow(pool);
    else if (pool->owner.open == 0 || pool->draining)
        ; /* the next dial sees to it */
    else if (is_command(pool))
        attempt(pool, false, clock_ms());
    else if (credential_of(pool)->failures > 0)
        begin(pool);
    deferred_want(pool, DEFERRED_SERVE);
    return 0;
}

/* ---- what others report ---- */

void credential_refused(struct broker_pool *pool, uint32_t serial)
{
    struct credential *credential = credential_of(pool);

    if (!pool_config_logs_in(pool->config) || serial != credential->serial)
        return;
    credential->ended_ms = 0; /* a file is read at once */
    credential->fresh = false;
    credential->refusals += credential->refused != serial;
    credential->refused = serial;
    if (is_command(pool) && !credential->wanted && !credential_is_pending(pool)) {
        credential->wanted = true;
        credential->retry_ms = clock_ms();
        if (credential->refusals > 1)
            credential->retry_ms += pause_ms(pool, credential->refusals - 1);
    }
    publish(pool, "Redis refuses the login with it");
    arm(pool);
}

void credential_accepted(struct broker_pool *pool)
{
    if (credential_of(pool)->refusals == 0)
        return;
    credential_of(pool)->refusals = credential_of(pool)->refused = 0;
    publish(pool, "");
}

/* Takes the same time wherever the two differ. */
static bool same_secret(const char *a, const char *b, size_t size)
{
    unsigned char difference = 0;

    for (size_t i = 0; i < size; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}

bool credential_is(struct broker_pool *pool, const char *password, size_t size)
{
    const struct credential *credential = credential_of(pool);
    uint64_t now_ms = clock_ms();

    if (credential->password && credential->size == size &&
        same_secret(credential->password, password, size))
        return true;
    if (pool->config->password_file && now_ms - credential->begun_ms >= DOUBT_MS)
        attempt(pool, true, now_ms);
    return false;
}

void credential_renew(struct broker_pool *pool)
{
    struct credential *credential = credential_of(pool);

    credential->ended_ms = credential->retry_ms = 0;
    credential->fresh = false;
    credential->wanted = is_command(pool);
}

/* ---- connections ---- */

void credential_note_dial(struct broker_pool *pool, struct broker_connection *connection)
{
    credential_of(pool)->fresh = false;
    connection->login = credential_of(pool)->serial;
    connection->login_ms = is_command(pool) ? credential_of(pool)->got_ms : clock_ms();
}

uint64_t credential_end_ms(const struct broker_pool *pool,
                           const struct broker_connection *connection)
{
    uint64_t life_ms = lifetime_ms(pool), since_ms = connection->login_ms, now_ms = clock_ms();

    if (life_ms == 0)
        return NEVER;
    if (since_ms == 0) { /* the previous broker dialled it, with what it had got before */
        since_ms = connection->opened_ms < now_ms ? connection->opened_ms : now_ms;
        since_ms -= is_command(pool) && since_ms > life_ms ? life_ms - life_ms / MARGIN_PART : 0;
    }
    return since_ms + life_ms - life_ms / REST_PART -
           random_up_to((uint32_t)(life_ms / MARGIN_PART - life_ms / REST_PART));
}

bool credential_is_over(const struct broker_pool *pool, const struct broker_connection *connection,
                        uint64_t now_ms)
{
    return now_ms >= connection->login_ends_ms &&
           (!is_command(pool) || connection->login != credential_of(pool)->serial);
}

/* ---- the configuration, the beginning and the end ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* No attempt is under way any more, and nothing is held against the next one. */
static void forget_attempts(struct credential *credential)
{
    password_reading_cancel(credential->reading);
    tool_cancel(credential->tool);
    credential->reading = NULL;
    credential->tool = NULL;
    credential->failures = credential->refusals = credential->refused = 0;
    credential->retry_ms = credential->ended_ms = 0;
    credential->wanted = credential->slow = credential->fresh = false;
}

static void forget_password(struct credential *credential)
{
    secret_free(credential->password, credential->size);
    credential->password = NULL;
    credential->size = 0;
    credential->refresh_ms = NEVER;
}

/* The password of the configuration, which was read a moment ago. True: it is another one. */
static bool take_configured(struct broker_pool *pool)
{
    struct pool_config *config = (struct pool_config *)pool->config;
    struct credential *credential = credential_of(pool);
    bool other = config->password && !is_same(credential, config->password, config->password_size);

    if (other) {
        forget_password(credential);
        credential->password = config->password;
        credential->size = config->password_size;
        credential->serial++;
        credential->got_ms = clock_ms();
    } else {
        secret_free(config->password, config->password_size);
    }
    if (config->password) {
        credential->ended_ms = clock_ms();
        credential->fresh = true;
    }
    config->password = NULL;
    config->password_size = 0;
    return other;
}

bool credential_configure(struct broker_pool *pool, const struct pool_config *before)
{
    const struct pool_config *config = pool->config;
    struct credential *credential = credential_of(pool);
    bool elsewhere = before && (!same_text(before->password_file, config->password_file) ||
                                !same_text(before->password_command, config->password_command) ||
                                !same_text(before->username, config->username));
    bool other;

    /* Keys that were set one by one bring no password, and change nothing here. */
    if (before && !elsewhere && !config->password) {
        credential->refresh_ms = refresh_ms(pool);
        arm(pool);
        return false;
    }
    forget_attempts(credential);
    if (elsewhere && !config->password)
        forget_password(credential);
    other = take_configured(pool);
    credential->refresh_ms = credential->password ? refresh_ms(pool) : NEVER;
    publish(pool, "");
    if (credential->timer)
        arm(pool);
    return before && (other || elsewhere);
}

int credential_start(struct broker_pool *pool)
{
    int result = timer_new(pool->owner.event, &credential_of(pool)->timer, on_timer, pool);

    credential_configure(pool, NULL);
    return result;
}

void credential_stop(struct broker_pool *pool)
{
    struct credential *credential = credential_of(pool);

    forget_attempts(credential);
    forget_password(credential);
    credential->timer = sd_event_source_disable_unref(credential->timer);
}
