/* SPDX-License-Identifier: MIT */
/* A pool's context: see context.h. */
#include "broker/tls/context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "broker/tls/connection.h"
#include "broker/tls/material.h"

/* The strings of the settings, in this order. */
#define TEXTS(X)                                                                                   \
    X(host) X(server_name) X(ca_file) X(ca_path) X(cert_file) X(key_file) X(ciphers) X(ciphersuites)

/* ---- the settings ---- */

static int copy_settings(struct tls_context *context, const struct tls_settings *settings)
{
    size_t size = 0;
    char *at;

    context->settings = *settings;
#define ADD_SIZE(field) size += settings->field ? strlen(settings->field) + 1 : 0;
    TEXTS(ADD_SIZE)
#undef ADD_SIZE
    context->texts = at = malloc(size + 1);
    if (!at)
        return -ENOMEM;
#define COPY(field)                                                                                \
    if (settings->field) {                                                                         \
        context->settings.field = at;                                                              \
        at = stpcpy(at, settings->field) + 1;                                                      \
    }
    TEXTS(COPY)
#undef COPY
    return 0;
}

static bool is_numeric(const char *host)
{
    struct in6_addr unused;

    return inet_pton(AF_INET, host, &unused) == 1 || inet_pton(AF_INET6, host, &unused) == 1;
}

/* A zone says how to get there, and is in no certificate. */
static void note_peer(struct tls_context *context)
{
    char *zone;

    context->peer = context->settings.server_name;
    if (!context->peer) {
        zone = strchr(context->settings.host, '%');
        if (zone)
            *zone = '\0';
        context->peer = context->settings.host;
    }
    context->numeric = is_numeric(context->peer);
}

/* ---- the files ---- */

/* As OpenSSL looks for them: SSL_CTX_set_default_verify_paths(3ssl). */
static const char *system_path(const char *variable, const char *otherwise)
{
    const char *path = secure_getenv(variable);

    return path ? path : otherwise;
}

static void take_stamps(const struct tls_settings *settings, struct stamp stamps[CONTEXT_FILES])
{
    bool own = settings->ca_file || settings->ca_path;
    const char *const paths[CONTEXT_FILES] = {
        own ? settings->ca_file
            : system_path(X509_get_default_cert_file_env(), X509_get_default_cert_file()),
        own ? settings->ca_path
            : system_path(X509_get_default_cert_dir_env(), X509_get_default_cert_dir()),
        settings->cert_file,
        settings->key_file,
    };

    for (size_t i = 0; i < CONTEXT_FILES; i++)
        stamps[i] = stamp_of(paths[i]);
}

static bool differ(const struct stamp a[CONTEXT_FILES], const struct stamp b[CONTEXT_FILES])
{
    for (size_t i = 0; i < CONTEXT_FILES; i++)
        if (stamp_differs(&a[i], &b[i]))
            return true;
    return false;
}

/* TLS 1.3 brings tickets after the handshake, TLS 1.2 in it. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    sessions_put(&context->sessions, tls_connection_of(ssl)->epoch, session);
    return 1; /* it is ours */
}

static int make_material(struct tls_context *context, struct tls_problem *problem)
{
    SSL_CTX *made;
    int result = material_new(&context->settings, &made, problem);

    if (result != 0)
        return result;
    SSL_CTX_set_app_data(made, context);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(made, on_session);
    SSL_CTX_free(context->material);
    context->material = made;
    context->expiry = material_expiry(made);
    sessions_forget(&context->sessions);
    return 0;
}

enum tls_news tls_context_refresh(struct tls_context *context, struct tls_problem *problem)
{
    struct stamp now[CONTEXT_FILES];

    take_stamps(&context->settings, now);
    if (!differ(now, context->tried))
        return TLS_NEWS_NONE;
    /* Before they are read: what is written meanwhile differs again. */
    memcpy(context->tried, now, sizeof now);
    if (!differ(now, context->used))
        return TLS_NEWS_NONE;
    if (make_material(context, problem) != 0)
        return TLS_NEWS_BROKEN;
    memcpy(context->used, now, sizeof now);
    return TLS_NEWS_RENEWED;
}

/* ---- warnings ---- */

static bool is_readable_by_all(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && (status.st_mode & S_IROTH);
}

void tls_context_warning(const struct tls_context *context, struct tls_problem *problem)
{
    const struct tls_settings *settings = &context->settings;
    time_t now = time(NULL);

    problem->text[0] = '\0';
    if (settings->key_file && is_readable_by_all(settings->key_file)) {
        problem->setting = TLS_SETTING_KEY_FILE;
        snprintf(problem->text, sizeof problem->text,
                 "%.160s can be read by every user; take that right away (chmod o-r)",
                 settings->key_file);
    } else if (context->expiry != 0 && context->expiry <= now) {
        problem->setting = TLS_SETTING_CERT_FILE;
        snprintf(problem->text, sizeof problem->text,
                 "the certificate in %.160s has expired; renew it", settings->cert_file);
    }
}

int64_t tls_context_expiry(const struct tls_context *context)
{
    return context->expiry;
}

/* ---- the life of a context ---- */

int tls_context_new(const struct tls_settings *settings, struct tls_context **context,
                    struct tls_problem *problem)
{
    struct tls_context *made = calloc(1, sizeof *made);
    int result;

    problem->text[0] = '\0';
    if (!made)
        return -ENOMEM;
    atomic_init(&made->users, 1);
    sessions_init(&made->sessions);
    result = copy_settings(made, settings);
    if (result == 0) {
        note_peer(made);
        take_stamps(&made->settings, made->used);
        memcpy(made->tried, made->used, sizeof made->tried);
        result = make_material(made, problem);
    }
    if (result != 0) {
        tls_context_free(made);
        return result;
    }
    *context = made;
    return 0;
}

struct tls_context *tls_context_hold(struct tls_context *context)
{
    atomic_fetch_add(&context->users, 1);
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (!context || atomic_fetch_sub(&context->users, 1) != 1)
        return;
    sessions_destroy(&context->sessions);
    SSL_CTX_free(context->material);
    free(context->texts);
    free(context);
}
