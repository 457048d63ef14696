/* SPDX-License-Identifier: MIT */
/* Addresses of a Redis: see redis_url.h. */
#include "libclient/shared/redis_url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PATH_MAX_UNIX (sizeof((struct sockaddr_un *)0)->sun_path - 1)
#define HOST_MAX      253u /* RFC 1035: 255 bytes as they are sent */

/* Says why it is no address. */
static __attribute__((format(printf, 2, 3))) int refuse(char why[REDIS_URL_WHY_SIZE],
                                                        const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, REDIS_URL_WHY_SIZE, format, arguments);
    va_end(arguments);
    for (; *why; why++)
        if ((unsigned char)*why < ' ' || *why == 0x7f)
            *why = '?';
    return -EINVAL;
}

/* A number without sign or space, at most `max`. */
static bool parse_number(const char *text, unsigned long max, unsigned long *number)
{
    *number = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *number = *number * 10 + (unsigned long)(*text - '0');
        if (*number > max)
            return false;
    }
    return true;
}

static int parse_db(const char *text, struct redis_url *url, char *why)
{
    unsigned long number;

    if (!parse_number(text, REDIS_URL_DB_MAX, &number))
        return refuse(why, "\"%s\" is not a database number; 0 to %u is allowed", text,
                      REDIS_URL_DB_MAX);
    url->db = (uint32_t)number;
    return 0;
}

static int parse_port(const char *text, struct redis_url *url, char *why)
{
    unsigned long number;

    if (!parse_number(text, 65535, &number) || number == 0)
        return refuse(why, "\"%s\" is not a port; 1 to 65535 is allowed", text);
    url->port = (uint16_t)number;
    return 0;
}

static int keep(const char *text, char **to)
{
    *to = strdup(text);
    return *to ? 0 : -ENOMEM;
}

/* unix:///PATH?db=N without the "unix://"; `rest` is ours to cut up. */
static int parse_unix(char *rest, struct redis_url *url, char *why)
{
    char *query = strchr(rest, '?');
    int result = 0;

    if (query) {
        *query++ = '\0';
        if (strncmp(query, "db=", 3) != 0)
            return refuse(why, "\"?%s\" is not known; ?db=N is allowed", query);
        result = parse_db(query + 3, url, why);
    }
    if (result != 0)
        return result;
    if (rest[0] != '/' || rest[1] == '\0')
        return refuse(why, "\"unix://%s\" has no absolute path; write unix:///PATH?db=N", rest);
    if (strlen(rest) > PATH_MAX_UNIX)
        return refuse(why, "%zu characters are too many for a socket's path; %zu are allowed",
                      strlen(rest), PATH_MAX_UNIX);
    return keep(rest, &url->path);
}

/* What a zone may consist of: what needs no escaping in a URL (RFC 6874), and the colon of an
 * alias. */
#define ZONE_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:"

/* ADDRESS%25ZONE becomes ADDRESS%ZONE. */
static int parse_ipv6(char *text, struct redis_url *url, char *why)
{
    char *zone = strchr(text, '%');
    struct in6_addr unused;
    bool is_address;

    if (zone) {
        size_t length = strspn(zone + 1, ZONE_BYTES);

        if (zone[1] != '2' || zone[2] != '5')
            return refuse(why, "\"%s\": a zone is written behind %%25, as in [fe80::1%%25eth0]",
                          text);
        if (length < 3 || length - 2 >= IF_NAMESIZE || zone[1 + length] != '\0')
            return refuse(why, "\"%s\" has no zone; write the name of an interface behind %%25",
                          text);
        *zone = '\0';
    }
    is_address = inet_pton(AF_INET6, text, &unused) == 1;
    if (!is_address)
        return refuse(why, "\"%s\" is not an IPv6 address", text);
    if (zone) {
        *zone = '%';
        memmove(zone + 1, zone + 3, strlen(zone + 3) + 1);
    }
    return keep(text, &url->host);
}

static bool is_host(const char *text)
{
    size_t length = 0;

    for (; text[length]; length++) {
        unsigned char byte = (unsigned char)text[length];

        if (byte <= ' ' || byte >= 0x7f || strchr("\"'[]\\%?#<>^`{|}", byte))
            return false;
    }
    return length > 0 && length <= HOST_MAX;
}

static int parse_in_brackets(char *rest, struct redis_url *url, char **port, char *why)
{
    char *end = strchr(rest, ']');

    if (!end || (end[1] != '\0' && end[1] != ':'))
        return refuse(why, "\"%s\" is not [ADDRESS]:PORT", rest);
    if (end[1] == ':')
        *port = end + 2;
    *end = '\0';
    return parse_ipv6(rest + 1, url, why);
}

/* HOST or [HOST] and the port behind it, if there is one; `rest` is ours to cut up. */
static int parse_host(char *rest, struct redis_url *url, char **port, char *why)
{
    char *colon = strchr(rest, ':');

    if (rest[0] == '[')
        return parse_in_brackets(rest, url, port, why);
    if (colon && strchr(colon + 1, ':'))
        return refuse(why, "\"%s\" has more than one colon; write an IPv6 address in brackets",
                      rest);
    if (colon) {
        *colon = '\0';
        *port = colon + 1;
    }
    if (!is_host(rest))
        return refuse(why, "\"%s\" is not a host; write redis://HOST:PORT/DB", rest);
    return keep(rest, &url->host);
}

/* redis://HOST:PORT/DB without the "redis://"; `rest` is ours to cut up. */
static int parse_tcp(char *rest, struct redis_url *url, char *why)
{
    char *slash = strchr(rest, '/'), *port = NULL;
    int result = 0;

    if (slash)
        *slash++ = '\0';
    if (slash && *slash)
        result = parse_db(slash, url, why);
    if (result == 0)
        result = parse_host(rest, url, &port, why);
    if (result == 0 && port)
        result = parse_port(port, url, why);
    return result;
}

int redis_url_parse(const char *text, struct redis_url *url, char why[REDIS_URL_WHY_SIZE])
{
    const char *scheme_end = strstr(text, "://");
    char copy[REDIS_URL_MAX + 1];
    int result;

    *url = (struct redis_url){.port = REDIS_URL_PORT};
    why[0] = '\0';
    /* A password must not get into a message either, so this comes before all that quotes the
     * URL. */
    if (scheme_end && strchr(scheme_end, '@'))
        return refuse(why,
                      "no user or password is allowed in the URL; use username and password_file");
    if (strlen(text) > REDIS_URL_MAX)
        return refuse(why, "%zu characters are too many; %u are allowed", strlen(text),
                      REDIS_URL_MAX);
    strcpy(copy, text);
    if (strncmp(copy, "redis://", 8) == 0)
        result = parse_tcp(copy + 8, url, why);
    else if (strncmp(copy, "unix://", 7) == 0)
        result = parse_unix(copy + 7, url, why);
    else if (strncmp(copy, "rediss://", 9) == 0)
        result = parse_tcp(copy + 9, url, why);
    else
        result = refuse(why,
                        "\"%s\" is not an address; redis://HOST:PORT/DB, rediss://HOST:PORT/DB and "
                        "unix:///PATH?db=N are allowed",
                        text);
    url->tls = result == 0 && text[5] == 's';
    if (result != 0)
        redis_url_free(url);
    return result;
}

void redis_url_free(struct redis_url *url)
{
    free(url->host);
    free(url->path);
    *url = (struct redis_url){0};
}
