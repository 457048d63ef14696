/* SPDX-License-Identifier: MIT */
/*
 * Pools with TLS, against redis-server with certificates that the test makes: kinds of keys and
 * versions, what of a server's certificate is not accepted, client certificates, servers that speak
 * no TLS, and that nothing is said before the server is known. Workers speak as on plain
 * connections; nothing of OpenSSL is in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "broker/testbed/certificates.h"
#include "tests/support/fixture.h"

#define LIMIT_MS 15000
#define SECRET   "sesame-open"

static struct fixture fixture;
static struct lendis_pool *worker;
static struct certificate ca, server, client;
static char password_file[TESTBED_PATH_SIZE];

static int end(void **state)
{
    (void)state;
    lendis_detach(worker);
    worker = NULL;
    fixture_end(&fixture);
    return 0;
}

/* ---- what is started ---- */

static void start_server(const struct certificate *as, const char *const *arguments)
{
    fixture.redis = (struct redis_server){.tls = as, .tcp = true, .arguments = arguments};
    redis_start(&fixture.redis);
}

static void make_server(enum key_kind kind, const char *names, int days)
{
    certificate_make_ca(&ca, "lendis test CA");
    certificate_make(&server, &ca, kind, names, days);
}

/* The usual one. */
static void start_usual_server(void)
{
    make_server(KEY_ECDSA, "DNS:localhost,IP:127.0.0.1", 1);
    start_server(&server, NULL);
}

/* `url` with "localhost" or an address; `more`: lines. */
static void start_broker(const char *host, const char *more)
{
    lendisd_start(&fixture.broker,
                  "log_level = debug\n[pool p]\nredis = rediss://%s:%d/0\ntls_mode = relay\n"
                  "size = 4\nmin_idle = 2\nmax_idle = 4\n%s",
                  host, fixture.redis.tls_port, more);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
}

static void start_broker_that_trusts(const char *host, const char *more)
{
    char lines[1024];

    snprintf(lines, sizeof lines, "tls_ca_file = %s\n%s", ca.file, more);
    start_broker(host, lines);
}

/* ---- what is seen ---- */

static struct catalog_pool entry(void)
{
    struct catalog_pool found;

    observe_pool(&fixture.observer, &found);
    return found;
}

static void expect_type(redisReply *reply, int type)
{
    if (!reply)
        fail_msg("no reply: %s", lendis_strerror(lendis_pool_error(NULL, NULL)));
    if (reply->type != type)
        fail_msg("%s", reply->str ? reply->str : "another reply");
    freeReplyObject(reply);
}

/* Small and large values, both ways, and many at once. */
static void expect_works(void)
{
    const size_t size = 3 << 20;
    char *large = malloc(size);
    redisReply *reply;

    assert_non_null(large);
    for (size_t i = 0; i < size; i++)
        large[i] = (char)(i * 31 >> 3);
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    worker = pool_attach(&fixture.broker, "p");
    for (int i = 0; i < 100; i++)
        expect_type(lendis_command(worker, "PING"), REDIS_REPLY_STATUS);
    expect_type(lendis_command(worker, "SET large %b", large, size), REDIS_REPLY_STATUS);
    reply = lendis_command(worker, "GET large");
    assert_non_null(reply);
    assert_int_equal(reply->len, size);
    assert_memory_equal(reply->str, large, size);
    freeReplyObject(reply);
    free(large);
}

/* That is how a worker's connection looks. */
static void expect_transport(const char *name)
{
    const char *argv[] = {built_program("lendisctl"),
                          "--socket",
                          fixture.broker.socket_path,
                          "show",
                          "connections",
                          NULL};
    char output[8192];

    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), 0);
    if (!strstr(output, name))
        fail_msg("%s is not in:\n%s", name, output);
}

/* No connection comes to be, for this reason, which the log says once, and the password was not
 * said. */
static void expect_refusal(const char *text)
{
    assert_true(eventually(entry().dial_errors[DIAL_tls] >= 2, LIMIT_MS));
    if (!lendisd_logged(&fixture.broker, text))
        fail_msg("the log has no \"%s\"; the last error is: %s", text, entry().last_error);
    assert_int_equal(words_in(&fixture.observer, WORD_IDLE), 0);
    assert_int_equal(entry().counters[BROKER_COUNTER_opened], 0);
}

static void expect_no_login(void)
{
    redisReply *reply = redis_do(&fixture.redis, "INFO commandstats");

    assert_null(strstr(reply->str, "cmdstat_client"));
    assert_null(strstr(reply->str, "cmdstat_select"));
    freeReplyObject(reply);
}

/* ---- servers that are as they should be ---- */

static void expect_server_works(enum key_kind kind, const char *protocols, const char *host)
{
    const char *arguments[] = {"--tls-protocols", protocols, NULL};

    make_server(kind, "DNS:localhost,IP:127.0.0.1", 1);
    start_server(&server, arguments);
    start_broker_that_trusts(host, "");
    expect_works();
    expect_transport("relay");
    end(NULL);
}

static void kinds_of_keys_and_versions(void **state)
{
    (void)state;
    expect_server_works(KEY_RSA, "TLSv1.2", "localhost");
    expect_server_works(KEY_RSA, "TLSv1.3", "127.0.0.1");
    expect_server_works(KEY_ECDSA, "TLSv1.2", "127.0.0.1");
    expect_server_works(KEY_ECDSA, "TLSv1.3", "localhost");
}

static void ciphers_of_choice(void **state)
{
    static const char *const lines[] = {
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES128-GCM-SHA256\n",
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES256-GCM-SHA384\n",
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-CHACHA20-POLY1305\n",
        "tls_max_version = 1.2\ntls_ciphers = ECDHE-ECDSA-AES128-SHA256\n",
        "tls_min_version = 1.3\ntls_ciphersuites = TLS_AES_128_GCM_SHA256\n",
        "tls_min_version = 1.3\ntls_ciphersuites = TLS_CHACHA20_POLY1305_SHA256\n",
    };

    (void)state;
    start_usual_server();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        start_broker_that_trusts("localhost", lines[i]);
        expect_works();
        lendis_detach(worker);
        worker = NULL;
        observer_close(&fixture.observer);
        fixture.observer = (struct observer){0};
        assert_int_equal(lendisd_stop(&fixture.broker), 0);
    }
}

/* With a login, another database and leases; a reset is done on the connection itself. */
static void sessions_as_without_tls(void **state)
{
    char more[256];
    struct lendis_lease *lease;
    FILE *file;

    (void)state;
    make_server(KEY_ECDSA, "IP:127.0.0.1", 1);
    fixture.redis = (struct redis_server){.tls = &server, .tcp = true, .password = SECRET};
    redis_start(&fixture.redis);
    scratch_path(password_file, "password");
    file = fopen(password_file, "we");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(SECRET "\n", file);
    assert_int_equal(fclose(file), 0);
    snprintf(more, sizeof more, "password_file = %s\ncheck_interval = 100ms\n", password_file);
    start_broker_that_trusts("127.0.0.1", more);
    expect_works();
    assert_int_equal(lendis_acquire(worker, LIMIT_MS, &lease), 0);
    expect_type(lendis_lease_command(lease, "SELECT 3"), REDIS_REPLY_STATUS);
    expect_type(lendis_lease_command(lease, "MULTI"), REDIS_REPLY_STATUS);
    assert_int_equal(lendis_release(lease), 0);
    assert_true(eventually(entry().counters[BROKER_COUNTER_resets] > 0, LIMIT_MS));
    assert_true(eventually(entry().counters[BROKER_COUNTER_checks] > 3, LIMIT_MS));
    assert_int_equal(entry().closed[CLOSE_reset], 0);
    assert_int_equal(entry().closed[CLOSE_check], 0);
    expect_type(lendis_command(worker, "GET large"), REDIS_REPLY_STRING);
}

/* ---- servers that are not whom they should be ---- */

static void expect_refused(const char *names, int days, const char *host, const char *text)
{
    make_server(KEY_ECDSA, names, days);
    start_server(&server, NULL);
    start_broker_that_trusts(host, "");
    expect_refusal(text);
    expect_no_login();
    end(NULL);
}

static void certificates_that_are_not_accepted(void **state)
{
    (void)state;
    expect_refused("IP:127.0.0.1", -1, "127.0.0.1", "has expired");
    expect_refused("DNS:other.example,IP:127.0.0.1", 1, "localhost", "made out to another host");
    expect_refused("DNS:localhost,IP:127.0.0.2", 1, "127.0.0.1", "made out to another IP address");
    /* An address is not a name. */
    expect_refused("DNS:127.0.0.1", 1, "127.0.0.1", "made out to another IP address");
}

static void an_unknown_ca(void **state)
{
    struct certificate other;
    char more[256];

    (void)state;
    start_usual_server();
    certificate_make_ca(&other, "somebody else's CA");
    snprintf(more, sizeof more, "tls_ca_file = %s\n", other.file);
    start_broker("127.0.0.1", more);
    expect_refusal("the CA of the server's certificate (lendis test, issued by lendis test CA) is "
                   "not among those that are trusted: see tls_ca_file");
    expect_no_login();
}

static void another_name(void **state)
{
    (void)state;
    make_server(KEY_ECDSA, "DNS:redis.example", 1);
    start_server(&server, NULL);
    start_broker_that_trusts("127.0.0.1", "tls_server_name = redis.example\n");
    expect_works();
}

static void a_name_that_is_not_asked_for(void **state)
{
    (void)state;
    make_server(KEY_ECDSA, "DNS:redis.example", 1);
    start_server(&server, NULL);
    start_broker_that_trusts("127.0.0.1", "tls_verify = ca\n");
    expect_works();
}

static void nothing_is_asked_for(void **state)
{
    (void)state;
    make_server(KEY_ECDSA, "DNS:redis.example", -1);
    start_server(&server, NULL);
    start_broker("127.0.0.1", "tls_verify = none\n");
    expect_works();
    assert_true(lendisd_logged(&fixture.broker, "CAN READ AND CHANGE"));
}

/* ---- client certificates ---- */

static void expect_client_certificate(const char *protocols, const char *text)
{
    const char *arguments[] = {"--tls-protocols",
                               protocols,
                               "--tls-auth-clients",
                               "yes",
                               "--tls-ca-cert-file",
                               NULL,
                               NULL};

    make_server(KEY_ECDSA, "IP:127.0.0.1", 1);
    arguments[5] = ca.file;
    certificate_make(&client, &ca, KEY_ECDSA, "DNS:client", 1);
    start_server(&server, arguments);
    start_broker_that_trusts("127.0.0.1", "");
    expect_refusal(text);
    lendisd_configure(&fixture.broker,
                      "log_level = debug\n[pool p]\nredis = rediss://127.0.0.1:%d/0\n"
                      "tls_mode = relay\ntls_ca_file = %s\ntls_cert_file = %s\ntls_key_file = %s\n"
                      "size = 4\nmin_idle = 2\nmax_idle = 4\n",
                      fixture.redis.tls_port, ca.file, client.file, client.key_file);
    kill(fixture.broker.pid, SIGHUP);
    expect_works();
    assert_true(entry().certificate_expiry > 0);
    end(NULL);
}

static void a_server_that_wants_a_client_certificate(void **state)
{
    (void)state;
    expect_client_certificate("TLSv1.2", "wants a client certificate (tls_cert_file)");
    /* Here the handshake is over by then. */
    expect_client_certificate("TLSv1.3",
                              "wants a client certificate: set tls_cert_file and tls_key_file");
}

/* ---- configuration ---- */

/* lendisd --check-config says so of these lines, and ends with `status`. */
static void expect_complaint(const char *lines, int status, const char *text)
{
    const char *argv[] = {built_program("lendisd"), "--check-config", "--config",
                          fixture.broker.config_path, NULL};
    char output[4096];

    lendisd_configure(&fixture.broker, "[pool p]\nredis = rediss://127.0.0.1:1/0\n%s", lines);
    argv[3] = fixture.broker.config_path;
    assert_int_equal(program_run(argv, output, sizeof output, LIMIT_MS), status);
    if (!strstr(output, text))
        fail_msg("\"%s\" is not in:\n%s", text, output);
    /* With the place. */
    assert_non_null(strstr(output, ".conf:"));
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void mistakes_in_the_configuration(void **state)
{
    char lines[1024], path[TESTBED_PATH_SIZE];
    struct certificate other;

    (void)state;
    make_server(KEY_ECDSA, "IP:127.0.0.1", 1);
    certificate_make(&client, &ca, KEY_ECDSA, "DNS:client", 1);
    certificate_make(&other, &ca, KEY_ECDSA, "DNS:client", -1);
    expect_complaint("tls_ca_file = /nowhere/ca.pem\n", 78,
                     "tls_ca_file: /nowhere/ca.pem cannot be read: No such file or directory");
    expect_complaint("tls_ca_path = /nowhere\n", 78,
                     "tls_ca_path: /nowhere cannot be read: No such file or directory");
    snprintf(lines, sizeof lines, "tls_ca_path = %s\n", scratch_directory());
    expect_complaint(lines, 78, "run openssl rehash on it");
    scratch_path(path, "not-a-certificate");
    write_text(path, "hello\n");
    snprintf(lines, sizeof lines, "tls_ca_file = %s\n", path);
    expect_complaint(lines, 78, "write certificates in PEM into it");
    snprintf(lines, sizeof lines, "tls_cert_file = %s\ntls_key_file = %s\n", client.file,
             other.key_file);
    expect_complaint(lines, 78, "is not the key of the certificate in tls_cert_file");
    snprintf(lines, sizeof lines, "tls_cert_file = %s\ntls_key_file = %s\n", client.file, path);
    expect_complaint(lines, 78, "write a private key in PEM into it");
    snprintf(lines, sizeof lines, "tls_cert_file = %s\ntls_key_file = /\n", client.file);
    expect_complaint(lines, 78, "tls_key_file: / is no file");
    expect_complaint("tls_ciphers = NONSENSE\n", 78, "openssl ciphers -v lists them");
    /* Not for the broker to refuse. */
    snprintf(lines, sizeof lines, "tls_cert_file = %s\ntls_key_file = %s\n", other.file,
             other.key_file);
    expect_complaint(lines, 0, "has expired; renew it");
    assert_int_equal(chmod(client.key_file, 0644), 0);
    snprintf(lines, sizeof lines, "tls_cert_file = %s\ntls_key_file = %s\n", client.file,
             client.key_file);
    expect_complaint(lines, 0, "can be read by every user");
}

/* ---- kernels without TLS ---- */

static bool kernel_has_tls(void)
{
    return access("/sys/module/tls", F_OK) == 0;
}

static unsigned times_logged(const char *text)
{
    FILE *log = fopen(fixture.broker.log_path, "re");
    char line[1024];
    unsigned times = 0;

    assert_non_null(log);
    while (fgets(line, sizeof line, log))
        times += strstr(line, text) != NULL;
    fclose(log);
    return times;
}

/* The relay steps in, and the log says why: once, however many connections are opened. */
static void a_kernel_without_tls_is_told_of_once(void **state)
{
    static const char why[] = "pool p: TLS by a relay, without kernel TLS for TLSv1.3 and ";

    (void)state;
    if (kernel_has_tls())
        skip();
    start_usual_server();
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\ntls_mode = auto\ntls_ca_file = %s\nsize = 4\n"
                  "min_idle = 4\n",
                  fixture.redis.tls_url, ca.file);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 4, LIMIT_MS));
    expect_transport("relay");
    assert_true(lendisd_logged(&fixture.broker, why));
    assert_true(lendisd_logged(&fixture.broker, "module tls is not loaded"));
    expect_works();
    assert_int_equal(times_logged("TLS by a relay"), 1);
}

static void a_pool_that_wants_the_kernel_gets_no_relay(void **state)
{
    (void)state;
    if (kernel_has_tls())
        skip();
    start_usual_server();
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\ntls_mode = ktls\ntls_ca_file = %s\nsize = 2\n",
                  fixture.redis.tls_url, ca.file);
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    expect_refusal("TLS: the kernel does not take the connection: the kernel's module tls is not "
                   "loaded");
}

/* The kernel has one direction only: that connection is given up, and the next one gets a relay at
 * once, without a pause as after a server that cannot be reached. */
static void half_an_installation_is_dialled_again(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it has to be the first library of the broker */
#endif
    start_usual_server();
    setenv("LD_PRELOAD", built_program("tests/support/half_a_kernel.so"), 1);
    lendisd_start(&fixture.broker,
                  "[pool p]\nredis = %s\ntls_mode = auto\ntls_ca_file = %s\nsize = 2\n"
                  "min_idle = 2\n",
                  fixture.redis.tls_url, ca.file);
    unsetenv("LD_PRELOAD");
    segment_observe(&fixture.observer, fixture.broker.socket_path, "p");
    assert_true(pool_fills(&fixture.observer, 2, LIMIT_MS));
    expect_transport("relay");
    assert_true(lendisd_logged(&fixture.broker, "the kernel takes no keys for receiving"));
    assert_int_equal(times_logged("cannot open a connection"), 0);
    assert_int_equal(entry().dial_errors[DIAL_tls], 0);
    expect_works();
}

/* ---- servers without TLS ---- */

static void a_server_without_tls(void **state)
{
    (void)state;
    start_usual_server();
    fixture.redis.tls_port = fixture.redis.port;
    start_broker_that_trusts("127.0.0.1", "connect_timeout = 300ms\n");
    assert_true(lendisd_logged(&fixture.broker, "does the server speak TLS on this port?"));
    assert_true(entry().dial_errors[DIAL_timeout] > 0);
    expect_no_login();
}

int main(int argc, char **argv)
{
#define TEST(test) cmocka_unit_test_teardown(test, end)
    const struct CMUnitTest tests[] = {
        TEST(kinds_of_keys_and_versions),
        TEST(ciphers_of_choice),
        TEST(sessions_as_without_tls),
        TEST(certificates_that_are_not_accepted),
        TEST(an_unknown_ca),
        TEST(another_name),
        TEST(a_name_that_is_not_asked_for),
        TEST(nothing_is_asked_for),
        TEST(a_server_that_wants_a_client_certificate),
        TEST(a_kernel_without_tls_is_told_of_once),
        TEST(a_pool_that_wants_the_kernel_gets_no_relay),
        TEST(half_an_installation_is_dialled_again),
        TEST(a_server_without_tls),
        TEST(mistakes_in_the_configuration),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]); /* a pattern of test names */
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
