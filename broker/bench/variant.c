/* SPDX-License-Identifier: MIT */
/* Variants: see variant.h. The proxies' settings are those of their packages. */
#include "broker/bench/variant.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/bench/units.h"

#define START_LIMIT_MS 10000
#define STOP_LIMIT_MS  2000
#define MAX_SIZE       4096

/* For messages. */
static const char variant_modes[] =
    "direct, lendis, exec, lease, acquire, transaction, direct-transaction, twemproxy, haproxy";

static const struct {
    const char *name;        /* of the variant */
    const char *environment; /* names another program */
    const char *program;
    const char *package; /* Debian's */
} proxies[] = {
    [PROXY_TWEMPROXY] = {"twemproxy", "NUTCRACKER", "nutcracker", "nutcracker"},
    [PROXY_HAPROXY] = {"haproxy", "HAPROXY", "haproxy", "haproxy"},
};

/* ---- what is meant ---- */

static bool parse_mode(const char *name, struct variant *variant)
{
    for (enum proxy proxy = PROXY_TWEMPROXY; proxy <= PROXY_HAPROXY; proxy++)
        if (strcmp(name, proxies[proxy].name) == 0) {
            variant->proxy = proxy;
            variant->mode = CLIENT_DIRECT;
            return true;
        }
    return client_mode_parse(name, &variant->mode);
}

static bool parse_part(const char *part, struct variant *variant)
{
    double size;

    if (strcmp(part, "tcp") == 0 || strcmp(part, "unix") == 0 || strcmp(part, "tls") == 0) {
        snprintf(variant->transport, sizeof variant->transport, "%s", part);
        return true;
    }
    if (!units_parse_number(part, &size) || size < 1 || size > MAX_SIZE || size != (unsigned)size)
        return false;
    variant->size = (unsigned)size;
    return true;
}

bool variant_parse(const char *text, struct variant *variant, char *problem, size_t size)
{
    char parts[sizeof variant->text], *rest = parts, *part, *build;

    *variant = (struct variant){.size = VARIANT_SIZE};
    if (strlen(text) >= sizeof variant->text) {
        snprintf(problem, size, "%s: too long", text);
        return false;
    }
    strcpy(variant->text, text);
    strcpy(parts, text);
    build = strchr(parts, '@');
    if (build) {
        *build = '\0';
        variant->build = strchr(variant->text, '@') + 1;
    }
    part = strsep(&rest, ":");
    if (!parse_mode(part, variant)) {
        snprintf(problem, size, "%s: no such variant; there are %s", text, variant_modes);
        return false;
    }
    while ((part = strsep(&rest, ":")))
        if (!parse_part(part, variant)) {
            snprintf(problem, size, "%s: %s is neither tcp, unix, tls nor a number of connections",
                     text, part);
            return false;
        }
    return true;
}

static bool find_proxy(enum proxy proxy, char *path, size_t size)
{
    const char *other = getenv(proxies[proxy].environment);

    return program_find(other && *other ? other : proxies[proxy].program, path, size);
}

bool variant_is_there(const struct variant *variant, char *problem, size_t size)
{
    char path[PATH_MAX];

    if (variant->build) {
        snprintf(path, sizeof path, "%s/lendis-bench", variant->build);
        if (access(path, X_OK) == 0)
            return true;
        snprintf(problem, size, "%s: %s", path, strerror(errno));
        return false;
    }
    if (variant->proxy == PROXY_NONE || find_proxy(variant->proxy, path, sizeof path))
        return true;
    snprintf(problem, size, "%s is not installed (Debian: %s)", proxies[variant->proxy].name,
             proxies[variant->proxy].package);
    return false;
}

/* ---- servers ---- */

const char *servers_redis_url(const struct servers *servers, const char *transport)
{
    if (strcmp(transport, "tls") == 0 && !servers->redis.tls)
        give_up("TLS needs the program openssl (Debian: openssl)");
    return strcmp(transport, "unix") == 0  ? servers->redis.unix_url
           : strcmp(transport, "tls") == 0 ? servers->redis.tls_url
           : servers->forwarder.pid != 0   ? servers->forwarder.url
                                           : servers->redis.tcp_url;
}

static void start_broker(struct servers *servers, const struct variant *variant,
                         const char *transport)
{
    char *before = getenv("LENDISD") ? strdup(getenv("LENDISD")) : NULL, path[PATH_MAX];

    if (variant->build) {
        snprintf(path, sizeof path, "%s/lendisd", variant->build);
        setenv("LENDISD", path, 1);
    }
    lendisd_start(&servers->broker,
                  "max_workers = %u\n%s\n[pool bench]\nredis = %s\nsize = %u\nmin_idle = %u\n%s\n",
                  servers->workers + 100, servers->broker_lines,
                  servers_redis_url(servers, transport), variant->size, variant->size,
                  servers->pool_lines);
    if (before)
        setenv("LENDISD", before, 1);
    else
        unsetenv("LENDISD");
    free(before);
}

/* Where a proxy listens, and where it finds Redis, as its configuration has it. */
struct proxy_addresses {
    char listen[TESTBED_PATH_SIZE + 16];
    char server[TESTBED_PATH_SIZE + 16];
    int port_fd; /* holds the port until the proxy has it; -1: a Unix socket */
};

static struct proxy_addresses place_proxy(struct servers *servers, enum proxy proxy,
                                          const char *transport)
{
    struct proxy_addresses addresses = {.port_fd = -1};
    bool twem = proxy == PROXY_TWEMPROXY;
    char path[TESTBED_PATH_SIZE];
    int port;

    if (strcmp(transport, "unix") == 0) {
        scratch_path(path, "%s.sock", proxies[proxy].name);
        unlink(path);
        snprintf(addresses.listen, sizeof addresses.listen, twem ? "%s 0600" : "unix@%s", path);
        snprintf(addresses.server, sizeof addresses.server, twem ? "%s:1 redis" : "unix@%s",
                 servers->redis.socket_path);
        snprintf(servers->proxy_url, sizeof servers->proxy_url, "unix://%s", path);
    } else {
        addresses.port_fd = reserve_port(&port);
        snprintf(addresses.listen, sizeof addresses.listen, "127.0.0.1:%d", port);
        snprintf(addresses.server, sizeof addresses.server,
                 twem ? "127.0.0.1:%d:1" : "127.0.0.1:%d",
                 servers->forwarder.pid != 0 ? servers->forwarder.port : servers->redis.port);
        snprintf(servers->proxy_url, sizeof servers->proxy_url, "redis://127.0.0.1:%d", port);
    }
    return addresses;
}

static void write_file(const char *path, const char *format, const char *listen, const char *server)
{
    FILE *file = fopen(path, "we");

    if (file)
        fprintf(file, format, listen, server);
    if (!file || fclose(file) != 0)
        give_up("%s: %s", path, strerror(errno));
}

static bool listens(const char *url)
{
    char text[200];
    redisContext *context = client_connect(url, 0, text, sizeof text);

    if (context)
        redisFree(context);
    return context != NULL;
}

static void launch_proxy(struct servers *servers, enum proxy proxy, const char *config)
{
    char program[PATH_MAX], log[TESTBED_PATH_SIZE], port_text[16];
    const char *twem[] = {program, "-c",        config, "-o",      log,
                          "-a",    "127.0.0.1", "-s",   port_text, NULL};
    const char *haproxy[] = {program, "-db", "-f", config, NULL};
    int port = 0, port_fd = -1;

    if (!find_proxy(proxy, program, sizeof program))
        give_up("%s is not installed", proxies[proxy].name);
    if (proxy == PROXY_TWEMPROXY)
        port_fd = reserve_port(&port); /* of its statistics */
    snprintf(port_text, sizeof port_text, "%d", port);
    scratch_path(log, "%s.log", proxies[proxy].name);
    servers->proxy_pid = program_start(proxy == PROXY_TWEMPROXY ? twem : haproxy, log, 0);
    if (!eventually(listens(servers->proxy_url) || program_ended(servers->proxy_pid),
                    START_LIMIT_MS) ||
        program_ended(servers->proxy_pid))
        give_up("%s does not start", proxies[proxy].name);
    if (port_fd >= 0)
        close(port_fd);
}

static void start_proxy(struct servers *servers, enum proxy proxy, const char *transport)
{
    static const char twem[] = "bench:\n  listen: %s\n  redis: true\n  preconnect: true\n"
                               "  servers:\n   - %s\n";
    static const char haproxy[] = "global\n    maxconn 4096\ndefaults\n    mode tcp\n"
                                  "    timeout connect 5s\n    timeout client 1m\n"
                                  "    timeout server 1m\n"
                                  "listen bench\n    bind %s\n    server redis %s\n";
    struct proxy_addresses addresses = place_proxy(servers, proxy, transport);
    char config[TESTBED_PATH_SIZE];

    scratch_path(config, "%s.conf", proxies[proxy].name);
    write_file(config, proxy == PROXY_TWEMPROXY ? twem : haproxy, addresses.listen,
               addresses.server);
    launch_proxy(servers, proxy, config);
    if (addresses.port_fd >= 0)
        close(addresses.port_fd);
}

void servers_start(struct servers *servers, const struct variant *variant, const char *transport)
{
    if (servers->rtt_us > 0 && strcmp(transport, "tcp") == 0)
        forwarder_start(&servers->forwarder, servers->redis.port, servers->rtt_us);
    if (variant->proxy != PROXY_NONE)
        start_proxy(servers, variant->proxy, transport);
    else if (client_mode_is_lendis(variant->mode))
        start_broker(servers, variant, transport);
}

void servers_stop(struct servers *servers)
{
    if (servers->broker.pid != 0)
        lendisd_stop(&servers->broker);
    if (servers->proxy_pid != 0) {
        kill(servers->proxy_pid, SIGTERM);
        if (program_wait(servers->proxy_pid, STOP_LIMIT_MS) == -1)
            give_up("the proxy does not stop");
        servers->proxy_pid = 0;
    }
    forwarder_stop(&servers->forwarder);
}
