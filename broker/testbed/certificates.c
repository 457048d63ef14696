/* SPDX-License-Identifier: MIT */
/* Certificates for tests and measurements: see certificates.h. */
#include "broker/testbed/certificates.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_MS 60000

static void run(const char *const argv[])
{
    char output[2048];

    if (program_run(argv, output, sizeof output, LIMIT_MS) != 0)
        give_up("openssl %s: %s", argv[1], output);
}

static void place(struct certificate *made)
{
    static unsigned number;

    number++;
    scratch_path(made->file, "certificate%u.pem", number);
    scratch_path(made->key_file, "certificate%u.key", number);
}

void certificate_make_ca(struct certificate *made, const char *name)
{
    char subject[96];
    const char *argv[] = {
        "openssl", "req",      "-x509", "-newkey", "ec",    "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes",  "-days",    "1",     "-subj",   subject, "-keyout",  made->key_file,
        "-out",    made->file, NULL};

    snprintf(subject, sizeof subject, "/CN=%s", name);
    place(made);
    run(argv);
}

static void write_names(const char *path, const char *names)
{
    FILE *file = fopen(path, "we");

    if (!file)
        give_up("%s: %s", path, strerror(errno));
    fprintf(file, "subjectAltName=%s\n", names);
    if (fclose(file) != 0)
        give_up("%s: %s", path, strerror(errno));
}

void certificate_make(struct certificate *made, const struct certificate *ca, enum key_kind kind,
                      const char *names, int days)
{
    char request[TESTBED_PATH_SIZE], extensions[TESTBED_PATH_SIZE], days_text[16];
    const char *ask[] = {"openssl",
                         "req",
                         "-new",
                         "-newkey",
                         kind == KEY_RSA ? "rsa" : "ec",
                         "-pkeyopt",
                         kind == KEY_RSA ? "rsa_keygen_bits:2048" : "ec_paramgen_curve:P-256",
                         "-nodes",
                         "-subj",
                         "/CN=lendis test",
                         "-keyout",
                         made->key_file,
                         "-out",
                         request,
                         NULL};
    const char *sign[] = {"openssl",  "x509",    "-req",     "-in",        request,
                          "-CA",      ca->file,  "-CAkey",   ca->key_file, "-CAcreateserial",
                          "-days",    days_text, "-extfile", extensions,   "-out",
                          made->file, NULL};

    place(made);
    scratch_path(request, "request.csr");
    scratch_path(extensions, "request.ext");
    snprintf(days_text, sizeof days_text, "%d", days);
    write_names(extensions, names);
    run(ask);
    run(sign);
}

const struct certificate *certificate_of_testbed(void)
{
    static struct certificate made;
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:P-256",
                          "-nodes",
                          "-days",
                          "1",
                          "-subj",
                          "/CN=lendis test",
                          "-addext",
                          "subjectAltName=DNS:localhost,IP:127.0.0.1",
                          "-keyout",
                          made.key_file,
                          "-out",
                          made.file,
                          NULL};

    if (made.file[0])
        return &made;
    place(&made);
    run(argv);
    return &made;
}

const char *testbed_tls_mode(void)
{
    const char *mode = getenv("REDIS_TLS");

    return mode && *mode ? mode : NULL;
}
