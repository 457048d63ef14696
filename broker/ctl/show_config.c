/* SPDX-License-Identifier: MIT */
/* `lendisctl show config`: see show.h. The text is the broker's, from the catalog. */
#include "broker/ctl/show.h"

#include <stdio.h>
#include <string.h>
#include "broker/base/standard_io.h"
#include "broker/base/text.h"
#include "broker/tools/json.h"

static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

/* Where show_config() is in the text. */
struct config_place {
    const char *only;  /* the only section to show; NULL: all */
    bool inside, any;  /* this section is shown; some was */
    struct json *json; /* NULL: it is shown as it is */
};

static void end_section(struct config_place *place)
{
    if (place->inside && place->json)
        json_close(place->json);
    place->inside = false;
}

static void begin_section(struct config_place *place, const char *name)
{
    end_section(place);
    place->inside = !place->only || strcmp(place->only, name) == 0;
    if (place->inside && place->json)
        json_open(place->json, name, '{', true);
    else if (place->inside)
        printf("%s[%s]\n", place->any ? "\n" : "", name);
    place->any = place->any || place->inside;
}

static void print_key(const struct config_place *place, const char *key, const char *value)
{
    if (place->inside && place->json)
        json_string(place->json, key, value);
    else if (place->inside)
        printf("%s = %s\n", key, value);
}

/* A line of INI text: a section, "key = value", or nothing of interest. */
static void print_line(struct config_place *place, const char *raw, size_t size)
{
    char clean[4096 + 1];
    char *line, *end;

    text_clean(clean, sizeof clean, raw, size < 4096 ? size : 4096);
    line = trim(clean);
    if (line[0] == '[' && (end = strrchr(line, ']'))) {
        *end = '\0';
        begin_section(place, line + 1);
    } else if (line[0] != '\0' && line[0] != ';' && line[0] != '#' && (end = strchr(line, '='))) {
        *end = '\0';
        print_key(place, trim(line), trim(end + 1));
    }
}

int show_config(const struct show *show)
{
    const struct catalog *catalog = &show->broker->catalog;
    uint32_t size = catalog->header->config_size;
    struct json json = {.out = stdout};
    struct config_place place = {.json = show->json ? &json : NULL};
    char section[CATALOG_NAME_SIZE + 8], name[CATALOG_NAME_SIZE + 1];
    const char *line = catalog->config, *stop;

    if (show->pool >= 0) {
        text_clean(name, sizeof name, catalog->pools[show->pool].name, CATALOG_NAME_SIZE);
        snprintf(section, sizeof section, "pool %s", name);
        place.only = section;
    }
    stop = line + (size <= CATALOG_CONFIG_SIZE ? size : CATALOG_CONFIG_SIZE);
    stop = line + strnlen(line, (size_t)(stop - line));
    if (show->json) {
        json_open(&json, NULL, '{', true);
        json_open(&json, "config", '{', true);
    }
    while (line < stop) {
        const char *end = memchr(line, '\n', (size_t)(stop - line));

        if (!end)
            end = stop;
        print_line(&place, line, (size_t)(end - line));
        line = end + 1;
    }
    end_section(&place);
    while (json.depth > 0)
        json_close(&json);
    return standard_io_flush();
}
