/* SPDX-License-Identifier: MIT */
/* The keys of TLS: see encryption.h. */
#include "broker/config/encryption.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "broker/config/environment.h"
#include "broker/tls/library.h"

/* ---- rules ---- */

static void forbid(struct loader *loader, const struct pool_config *pool, size_t offset)
{
    struct place place = config_place_of(loader, pool, offset);

    config_complain(&place, "%s",
                    pool->redis.path ? "a Unix socket has no TLS; leave it out"
                                     : "redis is not encrypted; write redis = rediss://...");
}

/* A text that is set; a choice that is not the default. */
static void forbid_all(struct loader *loader, const struct pool_config *pool)
{
    const struct pool_tls *tls = &pool->tls;
    const struct {
        size_t offset;
        bool set;
    } keys[] = {
#define KEY(field) offsetof(struct pool_config, tls.field), tls->field
        {KEY(ca_file) != NULL},
        {KEY(ca_path) != NULL},
        {KEY(cert_file) != NULL},
        {KEY(key_file) != NULL},
        {KEY(server_name) != NULL},
        {KEY(ciphers) != NULL},
        {KEY(ciphersuites) != NULL},
        {KEY(verify) != TLS_VERIFY_FULL},
        {KEY(mode) != TLS_MODE_AUTO},
        {KEY(min_version) != TLS_VERSION_1_2},
        {KEY(max_version) != TLS_VERSION_1_3},
#undef KEY
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].set)
            forbid(loader, pool, keys[i].offset);
}

void config_check_tls(struct loader *loader, const struct pool_config *pool)
{
    const struct pool_tls *tls = &pool->tls;
    struct place place;

    if (!pool->redis.tls) {
        forbid_all(loader, pool);
        return;
    }
    place = PLACE_OF(loader, pool, tls.cert_file);
    if (tls->cert_file && !tls->key_file)
        config_complain(&place, "needs tls_key_file");
    place = PLACE_OF(loader, pool, tls.key_file);
    if (tls->key_file && !tls->cert_file)
        config_complain(&place, "needs tls_cert_file");
    place = PLACE_OF(loader, pool, tls.max_version);
    if (tls->max_version < tls->min_version)
        config_complain(&place,
                        "tls_max_version is 1.2 and tls_min_version is 1.3; it must be at least "
                        "that");
    place = PLACE_OF(loader, pool, tls.verify);
    if (tls->verify == TLS_VERIFY_NONE)
        config_warn(&place, "none: ANYBODY ON THE WAY TO THE SERVER CAN READ AND CHANGE "
                            "EVERYTHING, the password too");
}

/* ---- files ---- */

/* A name without a leading slash is a credential of the service: systemd.exec(5), LoadCredential=.
 */
static char *find_file(const struct place *place, const char *name)
{
    const char *folder = environment_look_up(place->loader->environment, "CREDENTIALS_DIRECTORY");
    char *path;

    if (!name)
        return NULL;
    if (name[0] == '/')
        return config_keep(place->loader, name);
    if (!folder) {
        config_complain(
            place,
            "\"%s\" is not an absolute path, and there is no systemd credential of that name",
            name);
        return NULL;
    }
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        place->loader->no_memory = true;
        return NULL;
    }
    return path;
}

static struct place place_of_setting(struct loader *loader, const struct pool_config *pool,
                                     enum tls_setting setting)
{
    static const size_t offsets[] = {
        [TLS_SETTING_NONE] = offsetof(struct pool_config, redis),
        [TLS_SETTING_CA_FILE] = offsetof(struct pool_config, tls.ca_file),
        [TLS_SETTING_CA_PATH] = offsetof(struct pool_config, tls.ca_path),
        [TLS_SETTING_CERT_FILE] = offsetof(struct pool_config, tls.cert_file),
        [TLS_SETTING_KEY_FILE] = offsetof(struct pool_config, tls.key_file),
        [TLS_SETTING_SERVER_NAME] = offsetof(struct pool_config, tls.server_name),
        [TLS_SETTING_CIPHERS] = offsetof(struct pool_config, tls.ciphers),
        [TLS_SETTING_CIPHERSUITES] = offsetof(struct pool_config, tls.ciphersuites),
    };

    return config_place_of(loader, pool, offsets[setting]);
}

static void try_settings(struct loader *loader, const struct pool_config *pool)
{
    const struct tls_settings settings = pool_tls_settings(pool);
    struct tls_problem problem = {.text = ""};
    const struct tls_functions *tls = tls_library_load(problem.text);
    struct tls_context *context = NULL;
    struct place place;
    int result = tls ? tls->context_new(&settings, &context, &problem) : -EINVAL;

    if (result == -ENOMEM)
        loader->no_memory = true;
    if (result == 0)
        tls->context_warning(context, &problem);
    place = place_of_setting(loader, pool, problem.setting);
    if (result == -EINVAL)
        config_complain(&place, "%s", problem.text);
    else if (result == 0 && problem.text[0])
        config_warn(&place, "%s", problem.text);
    if (tls)
        tls->context_free(context);
}

void config_read_tls(struct loader *loader, struct pool_config *pool)
{
    unsigned errors = loader->errors;
    struct place place;

    if (!pool->redis.tls)
        return;
    place = PLACE_OF(loader, pool, tls.ca_file);
    pool->tls.ca_file_at = find_file(&place, pool->tls.ca_file);
    place = PLACE_OF(loader, pool, tls.ca_path);
    if (pool->tls.ca_path && pool->tls.ca_path[0] != '/')
        config_complain(&place, "\"%s\" is not an absolute path", pool->tls.ca_path);
    place = PLACE_OF(loader, pool, tls.cert_file);
    pool->tls.cert_file_at = find_file(&place, pool->tls.cert_file);
    place = PLACE_OF(loader, pool, tls.key_file);
    pool->tls.key_file_at = find_file(&place, pool->tls.key_file);
    if (loader->errors == errors && !loader->no_memory &&
        !pool->tls.cert_file == !pool->tls.key_file)
        try_settings(loader, pool);
}

/* ---- for others ---- */

struct tls_settings pool_tls_settings(const struct pool_config *pool)
{
    const struct pool_tls *tls = &pool->tls;

    return (struct tls_settings){
        .host = pool->redis.host,
        .server_name = tls->server_name,
        .ca_file = tls->ca_file_at,
        .ca_path = tls->ca_path,
        .cert_file = tls->cert_file_at,
        .key_file = tls->key_file_at,
        .ciphers = tls->ciphers,
        .ciphersuites = tls->ciphersuites,
        .verify = tls->verify,
        .mode = tls->mode,
        .min_version = tls->min_version,
        .max_version = tls->max_version,
    };
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool pool_tls_same(const struct pool_config *a, const struct pool_config *b)
{
    const struct pool_tls *x = &a->tls, *y = &b->tls;

    return a->redis.tls == b->redis.tls && x->verify == y->verify && x->mode == y->mode &&
           x->min_version == y->min_version && x->max_version == y->max_version &&
           same_text(x->ca_file_at, y->ca_file_at) && same_text(x->ca_path, y->ca_path) &&
           same_text(x->cert_file_at, y->cert_file_at) &&
           same_text(x->key_file_at, y->key_file_at) && same_text(x->server_name, y->server_name) &&
           same_text(x->ciphers, y->ciphers) && same_text(x->ciphersuites, y->ciphersuites);
}

void pool_tls_free(struct pool_tls *tls)
{
    free(tls->ca_file);
    free(tls->ca_path);
    free(tls->cert_file);
    free(tls->key_file);
    free(tls->server_name);
    free(tls->ciphers);
    free(tls->ciphersuites);
    free(tls->ca_file_at);
    free(tls->cert_file_at);
    free(tls->key_file_at);
    *tls = (struct pool_tls){0};
}
