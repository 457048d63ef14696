/* SPDX-License-Identifier: MIT */
/* The machine: see machine.h. */
#include "broker/bench/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "broker/base/proc.h"

/* The rest of the line behind `name`, spaces and a colon. False: there is no such line. */
static bool line_behind(const char *text, const char *name, char *value, size_t size)
{
    const char *at = strstr(text, name);

    if (!at)
        return false;
    at += strlen(name);
    at += strspn(at, " \t:");
    snprintf(value, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    return *value != '\0';
}

bool machine_parse_model(const char *cpuinfo, char *model, size_t size)
{
    return line_behind(cpuinfo, "model name", model, size) ||
           line_behind(cpuinfo, "CPU part", model, size); /* arm64 */
}

static void read_model(char *model, size_t size)
{
    char text[4096];

    read_start(AT_FDCWD, "/proc/cpuinfo", text, sizeof text);
    if (!machine_parse_model(text, model, size))
        snprintf(model, size, "unknown processor");
}

static void read_redis_version(const struct redis_server *redis, char *version, size_t size)
{
    redisReply *reply = redis_do(redis, "INFO server");

    if (!reply || reply->type != REDIS_REPLY_STRING ||
        !line_behind(reply->str, "redis_version", version, size))
        snprintf(version, size, "unknown");
    freeReplyObject(reply);
}

void machine_describe(const struct redis_server *redis, char *text, size_t size)
{
    char model[128], version[32], date[32];
    time_t now = time(NULL);
    struct utsname name;
    double load = 0;

    read_model(model, sizeof model);
    read_redis_version(redis, version, sizeof version);
    strftime(date, sizeof date, "%F", gmtime(&now));
    uname(&name);
    getloadavg(&load, 1);
    snprintf(text, size,
             "lendis " LENDIS_BUILD_VERSION ", %s; %s, %ld processors; Linux %s; redis %s; load "
             "average %.2f at the start",
             date, model, sysconf(_SC_NPROCESSORS_ONLN), name.release, version, load);
}
