/* SPDX-License-Identifier: MIT */
/* Certificates, keys and rules: see material.h. */
#include "broker/tls/material.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "broker/tls/fault.h"

static __attribute__((format(printf, 3, 4))) int
complain(struct tls_problem *problem, enum tls_setting setting, const char *format, ...)
{
    va_list arguments;

    problem->setting = setting;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return -EINVAL;
}

/* The same, with what OpenSSL says. */
static int complain_reason(struct tls_problem *problem, enum tls_setting setting, const char *what,
                           const char *remedy)
{
    char reason[TLS_TEXT_SIZE];

    fault_reason(reason);
    return complain(problem, setting, "%.120s: %.60s; %s", what, reason, remedy);
}

/* What stat(2) and open(2) find: more than OpenSSL would say. */
static int check_file(const char *path, enum tls_setting setting, struct tls_problem *problem)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return complain(problem, setting, "%.160s cannot be read: %s", path, strerror(errno));
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return complain(problem, setting, "%.160s is no file", path);
    }
    close(fd);
    return status.st_size > 0 ? 0 : complain(problem, setting, "%.160s is empty", path);
}

/* ---- whom to trust ---- */

/* As openssl-rehash(1ssl) names them: eight digits, a dot and a number. */
static bool is_hashed_name(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");

    return digits == 8 && name[8] == '.' && isdigit((unsigned char)name[9]);
}

static int check_folder(const char *path, struct tls_problem *problem)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool found = false;

    if (!folder)
        return complain(problem, TLS_SETTING_CA_PATH, "%.160s cannot be read: %s", path,
                        strerror(errno));
    while (!found && (entry = readdir(folder)))
        found = is_hashed_name(entry->d_name);
    closedir(folder);
    if (found)
        return 0;
    return complain(problem, TLS_SETTING_CA_PATH,
                    "%.120s has no certificates under the names that OpenSSL looks for; run "
                    "openssl rehash on it",
                    path);
}

static int load_trust(SSL_CTX *made, const struct tls_settings *settings,
                      struct tls_problem *problem)
{
    int result = 0;

    if (!settings->ca_file && !settings->ca_path)
        return SSL_CTX_set_default_verify_paths(made) == 1 ? 0 : -ENOMEM;
    if (settings->ca_file)
        result = check_file(settings->ca_file, TLS_SETTING_CA_FILE, problem);
    if (result == 0 && settings->ca_path)
        result = check_folder(settings->ca_path, problem);
    if (result != 0)
        return result;
    if (settings->ca_file && SSL_CTX_load_verify_file(made, settings->ca_file) != 1)
        return complain_reason(problem, TLS_SETTING_CA_FILE, settings->ca_file,
                               "write certificates in PEM into it");
    if (settings->ca_path && SSL_CTX_load_verify_dir(made, settings->ca_path) != 1)
        return complain_reason(problem, TLS_SETTING_CA_PATH, settings->ca_path, "is it a folder?");
    return 0;
}

/* ---- who we are ---- */

/* Nobody is there to ask for the password of a key. */
static int no_password(char *text, int size, int writing, void *context)
{
    (void)text;
    (void)size;
    (void)writing;
    *(bool *)context = true;
    return -1;
}

static int load_key(SSL_CTX *made, const char *path, struct tls_problem *problem)
{
    bool locked = false;
    int loaded;

    SSL_CTX_set_default_passwd_cb(made, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(made, &locked);
    loaded = SSL_CTX_use_PrivateKey_file(made, path, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(made, NULL);
    if (loaded == 1)
        return 0;
    if (locked)
        return complain(problem, TLS_SETTING_KEY_FILE,
                        "%.120s is locked with a password; write the key without one and let "
                        "nobody but the broker read it",
                        path);
    if (ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH)
        return complain(problem, TLS_SETTING_KEY_FILE,
                        "%.120s is not the key of the certificate in tls_cert_file", path);
    return complain_reason(problem, TLS_SETTING_KEY_FILE, path,
                           "write a private key in PEM into it");
}

static int load_identity(SSL_CTX *made, const struct tls_settings *settings,
                         struct tls_problem *problem)
{
    int result;

    if (!settings->cert_file)
        return 0;
    result = check_file(settings->cert_file, TLS_SETTING_CERT_FILE, problem);
    if (result == 0)
        result = check_file(settings->key_file, TLS_SETTING_KEY_FILE, problem);
    if (result != 0)
        return result;
    if (SSL_CTX_use_certificate_chain_file(made, settings->cert_file) != 1)
        return complain_reason(problem, TLS_SETTING_CERT_FILE, settings->cert_file,
                               "write the client's certificate in PEM into it, then its CAs'");
    result = load_key(made, settings->key_file, problem);
    if (result == 0 && SSL_CTX_check_private_key(made) != 1)
        result = complain(problem, TLS_SETTING_KEY_FILE,
                          "%.120s is not the key of the certificate in tls_cert_file",
                          settings->key_file);
    return result;
}

int64_t material_expiry(SSL_CTX *made)
{
    const X509 *certificate = SSL_CTX_get0_certificate(made);
    struct tm tm;

    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

/* ---- what is allowed ---- */

static int number_of(uint32_t version)
{
    return version == TLS_VERSION_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static int set_rules(SSL_CTX *made, const struct tls_settings *settings,
                     struct tls_problem *problem)
{
    static const char remedy[] = "openssl ciphers -v lists them";

    if (SSL_CTX_set_min_proto_version(made, number_of(settings->min_version)) != 1 ||
        SSL_CTX_set_max_proto_version(made, number_of(settings->max_version)) != 1)
        return -ENOMEM;
    if (settings->ciphers && SSL_CTX_set_cipher_list(made, settings->ciphers) != 1)
        return complain_reason(problem, TLS_SETTING_CIPHERS, settings->ciphers, remedy);
    if (settings->ciphersuites && SSL_CTX_set_ciphersuites(made, settings->ciphersuites) != 1)
        return complain_reason(problem, TLS_SETTING_CIPHERSUITES, settings->ciphersuites, remedy);
    SSL_CTX_set_verify(
        made, settings->verify == TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    /* A server that starts another handshake in the middle of TLS 1.2 gets a refusal. */
    SSL_CTX_set_options(made,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
    return 0;
}

int material_new(const struct tls_settings *settings, SSL_CTX **made, struct tls_problem *problem)
{
    int result;

    ERR_clear_error();
    problem->text[0] = '\0';
    *made = SSL_CTX_new(TLS_client_method());
    if (!*made)
        return -ENOMEM;
    result = set_rules(*made, settings, problem);
    if (result == 0 && settings->verify != TLS_VERIFY_NONE)
        result = load_trust(*made, settings, problem);
    if (result == 0)
        result = load_identity(*made, settings, problem);
    if (result != 0)
        SSL_CTX_free(*made);
    ERR_clear_error();
    return result;
}
