/* SPDX-License-Identifier: MIT */
/* Parsing values: see values.h. */
#include "broker/config/values.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include "broker/base/listen.h"
#include "broker/config/accounts.h"
#include "libclient/shared/command.h"
#include "libclient/shared/redis_url.h"
#include "libclient/shared/served.h"

#define PATH_MAX_UNIX (sizeof((struct sockaddr_un *)0)->sun_path - 1)

static void replace(struct loader *loader, char **field, const char *text)
{
    free(*field);
    *field = config_keep(loader, text);
}

/* The whole of `text`, up to `end`, as digits. False: it is not a number that fits. */
static bool parse_digits(const char *text, const char *end, uint64_t *number)
{
    uint64_t value = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *number = value;
    return true;
}

static void parse_count(const struct place *place, const char *text, uint32_t *field)
{
    uint64_t number;

    if (!parse_digits(text, text + strlen(text), &number))
        config_complain(place, "\"%s\" is not a number; %ju to %ju is allowed", text,
                        (uintmax_t)place->key->min, (uintmax_t)place->key->max);
    else if (number < place->key->min || number > place->key->max)
        config_complain(place, "%s is out of range; %ju to %ju is allowed", text,
                        (uintmax_t)place->key->min, (uintmax_t)place->key->max);
    else
        *field = (uint32_t)number;
}

struct unit {
    const char *name;
    uint64_t ms;
};

/* The largest first, so that config_format_duration() finds the best one. */
static const struct unit units[] = {{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
#define UNIT_COUNT (sizeof units / sizeof units[0])

void config_format_duration(uint64_t ms, char *text, size_t size)
{
    size_t i = 0;

    while (i < UNIT_COUNT - 1 && (ms == 0 || ms % units[i].ms != 0))
        i++;
    if (ms == 0)
        snprintf(text, size, "0");
    else
        snprintf(text, size, "%ju%s", (uintmax_t)(ms / units[i].ms), units[i].name);
}

static void parse_duration(const struct place *place, const char *text, uint32_t *field)
{
    const char *unit = text + strspn(text, "0123456789");
    char least[32], most[32];
    uint64_t number, factor = 0;

    if (!parse_digits(text, unit, &number)) {
        config_complain(
            place,
            "\"%s\" is not a duration; write a whole number and ms, s, min or h, as in 250ms",
            text);
        return;
    }
    if (*unit == '\0' && number == 0) {
        factor = 1; /* nothing is nothing, whatever the unit */
    } else if (*unit == '\0') {
        config_complain(place, "%s has no unit; write ms, s, min or h behind it, as in %sms", text,
                        text);
        return;
    }
    for (size_t i = 0; i < UNIT_COUNT; i++)
        if (strcmp(unit, units[i].name) == 0)
            factor = units[i].ms;
    if (factor == 0) {
        config_complain(place, "\"%s\" is not a unit of time; ms, s, min and h are allowed", unit);
        return;
    }
    if (number > UINT32_MAX || number * factor < place->key->min ||
        number * factor > place->key->max) {
        config_format_duration(place->key->min, least, sizeof least);
        config_format_duration(place->key->max, most, sizeof most);
        config_complain(place, "%s is out of range; %s to %s is allowed", text, least, most);
        return;
    }
    *field = (uint32_t)(number * factor);
}

static void parse_choice(const struct place *place, const char *text, uint32_t *field)
{
    const char *const *choices = place->key->choices;
    char allowed[CONFIG_TEXT_SIZE / 2] = "";
    size_t at = 0;

    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *field = (uint32_t)place->key->min + i;
            return;
        }
        if (at < sizeof allowed)
            at += (size_t)snprintf(allowed + at, sizeof allowed - at, "%s%s",
                                   i == 0           ? ""
                                   : choices[i + 1] ? ", "
                                                    : " and ",
                                   choices[i]);
    }
    config_complain(place, "\"%s\" is none of the choices; %s are allowed", text, allowed);
}

static void parse_switch(const struct place *place, const char *text, bool *field)
{
    static const char *const on[] = {"yes", "1", "true", "on"};
    static const char *const off[] = {"no", "0", "false", "off"};

    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
            *field = strcmp(text, on[i]) == 0;
            return;
        }
    }
    config_complain(
        place, "\"%s\" is neither yes nor no; yes, 1, true, on and no, 0, false, off are allowed",
        text);
}

static void parse_text(const struct place *place, const char *text, char **field)
{
    if (strlen(text) > place->key->max)
        config_complain(place, "%zu characters are too many; %ju are allowed", strlen(text),
                        (uintmax_t)place->key->max);
    else
        replace(place->loader, field, text);
}

static void parse_socket(const struct place *place, const char *text, char **field)
{
    if (text[0] != '/')
        config_complain(place, "\"%s\" is not an absolute path; write one that begins with /",
                        text);
    else if (strlen(text) > PATH_MAX_UNIX)
        config_complain(place, "%zu characters are too many for a socket's path; %zu are allowed",
                        strlen(text), PATH_MAX_UNIX);
    else
        replace(place->loader, field, text);
}

static void parse_listen(const struct place *place, const char *text, char **field)
{
    union listen_address address;
    socklen_t size;
    const char *why = listen_parse(text, &address, &size);

    if (why)
        config_complain(place, "\"%s\" is not an address to listen at: %s", text, why);
    else
        replace(place->loader, field, text);
}

/* One number or range out of allow_uids or allow_gids. */
static bool parse_range(const char *text, size_t size, struct id_range *range)
{
    const char *dash = memchr(text, '-', size);
    uint64_t first, last;

    if (!parse_digits(text, dash ? dash : text + size, &first))
        return false;
    last = first;
    if (dash && !parse_digits(dash + 1, text + size, &last))
        return false;
    /* 2^32 - 1 means "no id" to the kernel. */
    if (first > last || last >= UINT32_MAX)
        return false;
    *range = (struct id_range){.first = (uint32_t)first, .last = (uint32_t)last};
    return true;
}

static void parse_ids(const struct place *place, const char *text, struct id_list *field)
{
    struct id_list list = {0};

    for (const char *at = text + strspn(text, ", \t"); *at;) {
        size_t size = strcspn(at, ", \t");
        struct id_range *grown = realloc(list.ranges, (list.count + 1) * sizeof *grown);

        if (!grown) {
            place->loader->no_memory = true;
            break;
        }
        list.ranges = grown;
        if (!parse_range(at, size, &list.ranges[list.count])) {
            config_complain(
                place, "\"%.*s\" is not an id; numbers and ranges such as 1000-1999 are allowed",
                (int)(size < 80 ? size : 80), at);
            free(list.ranges);
            return;
        }
        list.count++;
        at += size;
        at += strspn(at, ", \t");
    }
    /* An empty list would let everybody in. */
    if (list.count == 0 && !place->loader->no_memory) {
        config_complain(place, "there is no value");
        return;
    }
    free(field->ranges);
    *field = list;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The words of `text`, sorted and each once. Results: it, the caller's; NULL, no memory. */
static char *sort_names(char *text)
{
    size_t count = 0, at = 0, room = strlen(text) + 1;
    char **names = calloc(room / 2 + 1, sizeof *names);
    char *sorted = calloc(1, room), *rest = NULL;

    if (names && sorted) {
        for (char *each = strtok_r(text, " ", &rest); each; each = strtok_r(NULL, " ", &rest))
            names[count++] = each;
        qsort(names, count, sizeof *names, compare_names);
        for (size_t i = 0; i < count; i++)
            if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
                at += (size_t)snprintf(sorted + at, room - at, "%s%s", at ? " " : "", names[i]);
    } else {
        free(sorted);
        sorted = NULL;
    }
    free(names);
    return sorted;
}

static void parse_names(const struct place *place, const char *text, char **field)
{
    char all[CONFIG_NAMES_MAX + 1], name[COMMAND_NAME_SIZE], *sorted;
    size_t used = 0;

    for (const char *at = text + strspn(text, ", \t"); *at;) {
        size_t size = strcspn(at, ", \t");

        if (!command_name(at, size, name)) {
            config_complain(
                place,
                "\"%.*s\" is not a command's name; up to %u letters, digits, '.', '_', '-', ':' "
                "and '/' are allowed",
                (int)(size < 80 ? size : 80), at, COMMAND_NAME_SIZE - 1);
            return;
        }
        if (used + (used > 0) + size >= sizeof all) {
            config_complain(place, "the names are too long together; %zu characters are allowed",
                            sizeof all - 1);
            return;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", used ? " " : "", name);
        at += size;
        at += strspn(at, ", \t");
    }
    if (used == 0) {
        config_complain(place, "there is no value");
        return;
    }
    sorted = sort_names(all);
    if (!sorted)
        place->loader->no_memory = true;
    free(*field);
    *field = sorted;
}

void redis_address_free(struct redis_address *address)
{
    free(address->text);
    free(address->host);
    free(address->path);
    *address = (struct redis_address){0};
}

static void parse_redis(const struct place *place, const char *text, struct redis_address *field)
{
    char why[REDIS_URL_WHY_SIZE], *copy;
    struct redis_url url;
    int result = redis_url_parse(text, &url, why);

    if (result == -EINVAL)
        config_complain(place, "%s", why);
    if (result == -ENOMEM)
        place->loader->no_memory = true;
    if (result != 0)
        return;
    copy = config_keep(place->loader, text);
    if (!copy) {
        redis_url_free(&url);
        return;
    }
    redis_address_free(field);
    *field = (struct redis_address){
        .text = copy,
        .host = url.host,
        .path = url.path,
        .port = url.host ? url.port : 0,
        .db = url.db,
        .tls = url.tls,
    };
}

/* Checks the addresses, and writes them with one blank between them. */
static void parse_addresses(const struct place *place, const char *text, char **field)
{
    char why[REDIS_URL_WHY_SIZE], all[CONFIG_ADDRESSES_MAX + 1];
    const char *at = text;
    struct redis_url url;
    size_t used = 0;
    int result;

    if (strlen(text) > CONFIG_ADDRESSES_MAX) {
        config_complain(place, "%zu characters are too many; %u are allowed", strlen(text),
                        CONFIG_ADDRESSES_MAX);
        return;
    }
    if (strcmp(text, SERVED_NOTHING) == 0) {
        replace(place->loader, field, text);
        return;
    }
    for (const char *start = at; (result = served_next(&at, &url, why)) == 1; start = at) {
        redis_url_free(&url);
        start += strspn(start, ", \t");
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%.*s", used ? " " : "",
                                 (int)(at - start), start);
    }
    if (result == -ENOMEM)
        place->loader->no_memory = true;
    else if (result < 0)
        config_complain(place, "%s", why);
    else if (used == 0)
        config_complain(place, "there is no value");
    else
        replace(place->loader, field, all);
}

/* What a variable says must be able to stand in the file, too, and all of it as it is printed. */
static bool is_legal_value(const struct place *place, const char *text)
{
    size_t size = strlen(text), room = place->loader->line_max - strlen(place->key->name) - 3;

    if (size == 0) {
        config_complain(place, "there is no value");
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (iscntrl((unsigned char)text[i]) && text[i] != '\t') {
            config_complain(place, "the value contains a control character");
            return false;
        }
        if (text[i] == ';' && (i == 0 || isblank((unsigned char)text[i - 1]))) {
            config_complain(place, "what begins with ; is a comment, and no part of a value");
            return false;
        }
    }
    if (isblank((unsigned char)text[0]) || isblank((unsigned char)text[size - 1])) {
        config_complain(place, "the value begins or ends with a blank");
        return false;
    }
    if (size > room) {
        config_complain(place, "%zu characters are too many; %zu are allowed", size, room);
        return false;
    }
    return true;
}

void config_parse_value(const struct place *place, const char *text, void *target)
{
    void *field = (char *)target + place->key->offset;

    if (!is_legal_value(place, text))
        return;
    switch (place->key->type) {
    case KEY_PATH:
        replace(place->loader, field, text);
        break;
    case KEY_LISTEN:
        parse_listen(place, text, field);
        break;
    case KEY_SOCKET:
        parse_socket(place, text, field);
        break;
    case KEY_TEXT:
    case KEY_COMMAND_LINE:
        parse_text(place, text, field);
        break;
    case KEY_CHOICE:
        parse_choice(place, text, field);
        break;
    case KEY_SWITCH:
        parse_switch(place, text, field);
        break;
    case KEY_COUNT:
        parse_count(place, text, field);
        break;
    case KEY_DURATION:
        parse_duration(place, text, field);
        break;
    case KEY_REDIS:
        parse_redis(place, text, field);
        break;
    case KEY_ADDRESSES:
        parse_addresses(place, text, field);
        break;
    case KEY_IDS:
        parse_ids(place, text, field);
        break;
    case KEY_NAMES:
        parse_names(place, text, field);
        break;
    case KEY_USERS:
    case KEY_GROUPS:
        config_parse_accounts(place, text, field);
        break;
    }
}

void config_set_defaults(struct loader *loader, const struct section *section, void *target)
{
    for (size_t i = 0; i < section->count; i++) {
        struct place place = {.loader = loader, .key = &section->keys[i]};

        if (section->keys[i].fallback)
            config_parse_value(&place, section->keys[i].fallback, target);
    }
}
