/* SPDX-License-Identifier: MIT */
/* Reporting what is wrong: see loader.h. */
#include "broker/config/loader.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void config_report_text(const struct loader *loader, enum log_level level, char *text)
{
    for (char *at = text; *at; at++)
        if (iscntrl((unsigned char)*at))
            *at = '?';
    loader->report(level, text, loader->context);
}

void config_complain_line(struct loader *loader, unsigned line, const char *format, ...)
{
    char text[CONFIG_TEXT_SIZE];
    va_list arguments;
    int start;

    start = snprintf(text, sizeof text, "%s:%u: ", loader->config->path, line);
    if (start < 0 || (size_t)start >= sizeof text)
        start = 0;
    va_start(arguments, format);
    vsnprintf(text + start, sizeof text - (size_t)start, format, arguments);
    va_end(arguments);
    loader->errors++;
    config_report_text(loader, LOG_LEVEL_ERR, text);
}

static void vcomplain(const struct place *place, enum log_level level, const char *format,
                      va_list arguments) __attribute__((format(printf, 3, 0)));

static void vcomplain(const struct place *place, enum log_level level, const char *format,
                      va_list arguments)
{
    struct loader *loader = place->loader;
    char text[CONFIG_TEXT_SIZE], what[CONFIG_TEXT_SIZE / 2], where[CONFIG_TEXT_SIZE / 3];
    const char *variable = place->origin.variable;

    vsnprintf(what, sizeof what, format, arguments);
    if (variable)
        snprintf(where, sizeof where, "%.*s", (int)strcspn(variable, "="), variable);
    else
        snprintf(where, sizeof where, "%s:%u", loader->config->path,
                 place->origin.line ? place->origin.line
                 : place->pool      ? place->pool->line
                                    : loader->config->broker.line);
    snprintf(text, sizeof text, "%s: [%s%s] %s: %s", where, place->pool ? "pool " : "broker",
             place->pool ? place->pool->name : "", place->key->name, what);
    if (level == LOG_LEVEL_ERR)
        loader->errors++;
    config_report_text(loader, level, text);
}

void config_complain(const struct place *place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(place, LOG_LEVEL_ERR, format, arguments);
    va_end(arguments);
}

void config_warn(const struct place *place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(place, LOG_LEVEL_WARNING, format, arguments);
    va_end(arguments);
}

char *config_keep(struct loader *loader, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        loader->no_memory = true;
    return copy;
}

struct place config_place_of(struct loader *loader, const struct pool_config *pool,
                             size_t field_offset)
{
    struct place place = {.loader = loader, .pool = pool};

    for (size_t i = 0; i < config_sections[SECTION_POOL].count; i++)
        if (config_sections[SECTION_POOL].keys[i].offset == field_offset) {
            place.key = &config_sections[SECTION_POOL].keys[i];
            place.origin = pool->origins[i];
        }
    return place;
}
