/* SPDX-License-Identifier: MIT */
/* Reading the file: see file.h. */
#include "broker/config/file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "broker/config/values.h"

/* inih calls this for each name and value. Its own idea of the section is not used: it may be cut
 * off. */
#if INI_HANDLER_LINENO
static int take_value(void *user, const char *section_name, const char *name, const char *value,
                      int line)
#else
static int take_value(void *user, const char *section_name, const char *name, const char *value)
#endif
{
    struct loader *loader = user;
    const struct section *section = &config_sections[loader->pool ? SECTION_POOL : SECTION_BROKER];
    void *target = loader->pool ? (void *)loader->pool : (void *)&loader->config->broker;
    struct config_origin *origins =
        loader->pool ? loader->pool->origins : loader->config->broker.origins;
    struct place place = {.loader = loader, .pool = loader->pool, .origin.line = loader->line};
    char advice[64];
    size_t index;

    (void)section_name;
#if INI_HANDLER_LINENO
    (void)line;
#endif
    if (loader->skipping)
        return 1;
    if (!loader->in_broker && !loader->pool) {
        config_complain_line(loader, loader->line,
                             "%s: stands before any section; write [broker] or [pool NAME] first",
                             name);
        return 1;
    }
    place.key = config_find_key(section, name);
    if (!place.key) {
        config_suggest(section, name, advice, sizeof advice);
        config_complain_line(loader, loader->line, "[%s%s] %s: is not a key of this section; %s",
                             loader->pool ? "pool " : "broker",
                             loader->pool ? loader->pool->name : "", name, advice);
        return 1;
    }
    index = (size_t)(place.key - section->keys);
    if (origins[index].line) {
        config_complain(&place, "is set twice, first in line %u", origins[index].line);
        return 1;
    }
    origins[index].line = loader->line;
    config_parse_value(&place, value, target);
    return 1;
}

static bool name_is_legal(const char *name)
{
    size_t size = strlen(name);

    if (size == 0 || size >= CATALOG_NAME_SIZE)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
            return false;
    return true;
}

static struct pool_config *add_pool(struct loader *loader, const char *name)
{
    struct config *config = loader->config;
    struct pool_config *pools, *pool;

    pools = realloc(config->pools, (config->pool_count + 1) * sizeof *pools);
    if (!pools) {
        loader->no_memory = true;
        return NULL;
    }
    config->pools = pools;
    pool = &pools[config->pool_count++];
    *pool = (struct pool_config){.line = loader->line};
    snprintf(pool->name, sizeof pool->name, "%s", name);
    config_set_defaults(loader, &config_sections[SECTION_POOL], pool);
    return pool;
}

static void begin_pool(struct loader *loader, const char *name)
{
    struct config *config = loader->config;

    if (!name_is_legal(name)) {
        config_complain_line(
            loader, loader->line,
            "[pool %.80s]: is not a pool's name; 1 to %u letters, digits, '-', '_' and "
            "'.' are allowed",
            name, CATALOG_NAME_SIZE - 1);
        return;
    }
    for (uint32_t i = 0; i < config->pool_count; i++)
        if (strcmp(config->pools[i].name, name) == 0) {
            config_complain_line(loader, loader->line,
                                 "[pool %s]: this section is there already, in line %u", name,
                                 config->pools[i].line);
            return;
        }
    if (config->pool_count == CATALOG_MAX_POOLS) {
        config_complain_line(loader, loader->line, "[pool %s]: too many pools; %u are allowed",
                             name, CATALOG_MAX_POOLS);
        return;
    }
    loader->pool = add_pool(loader, name);
    loader->skipping = !loader->pool;
}

/* `title` is what stands between the brackets. */
static void begin_section(struct loader *loader, const char *title)
{
    loader->pool = NULL;
    loader->in_broker = false;
    loader->skipping =
        true; /* unless it is a good section: its keys would only be complained of again */
    if (strcmp(title, "broker") == 0) {
        if (loader->config->broker.line) {
            config_complain_line(loader, loader->line,
                                 "[broker]: this section is there already, in line %u",
                                 loader->config->broker.line);
            return;
        }
        loader->config->broker.line = loader->line;
        loader->in_broker = true;
        loader->skipping = false;
    } else if (strncmp(title, "pool", 4) == 0 && (title[4] == ' ' || title[4] == '\t')) {
        begin_pool(loader, title + 4 + strspn(title + 4, " \t"));
    } else {
        config_complain_line(loader, loader->line,
                             "[%.80s]: is not a section; [broker] and [pool NAME] are", title);
    }
}

/* Inspects a line before inih does. `text` has no blanks around it. False: inih must not see it. */
static bool check_line(struct loader *loader, char *text, size_t room)
{
    char *end;

    if (*text == '\0' || *text == '#' || *text == ';')
        return false;
    if (strlen(text) + 2 > room) {
        config_complain_line(loader, loader->line,
                             "the line is too long; %zu characters are allowed", loader->line_max);
        return false;
    }
    if (*text != '[') {
        if (text[strcspn(text, "=:")] != '\0')
            return true;
        config_complain_line(loader, loader->line,
                             "\"%.80s\" is neither a [section], a comment nor key = value", text);
        return false;
    }
    end = strchr(text, ']');
    if (!end || (end[1] != '\0' && end[1 + strspn(end + 1, " \t")] != ';' &&
                 end[1 + strspn(end + 1, " \t")] != '#')) {
        config_complain_line(loader, loader->line, "\"%.80s\" is not a section; write [NAME]",
                             text);
        loader->skipping = true;
        return false;
    }
    *end = '\0';
    begin_section(loader, text + 1);
    return false;
}

/* inih's source of lines: fgets(3) with the checks above. Lines that it must not see it gets as
 * empty. */
static char *next_line(char *line, int room, void *stream)
{
    struct loader *loader = stream;
    ssize_t got = getline(&loader->buffer, &loader->buffer_size, loader->file);
    char *text = loader->buffer;

    if (got < 0)
        return NULL;
    loader->line++;
    loader->line_max = (size_t)room - 2;
    if (strlen(text) != (size_t)got) {
        config_complain_line(loader, loader->line, "the line contains a zero byte");
        *text = '\0';
    }
    if (loader->line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3; /* the mark that some editors begin a file with */
    text += strspn(text, " \t\r\n\f\v");
    for (size_t end = strlen(text); end > 0 && isspace((unsigned char)text[end - 1]); end--)
        text[end - 1] = '\0';
    snprintf(line, (size_t)room, "%s\n", check_line(loader, text, (size_t)room) ? text : "");
    return line;
}

int config_read_file(struct loader *loader)
{
    struct stat stat;
    int result;

    loader->file = fopen(loader->config->path, "re");
    if (loader->file && fstat(fileno(loader->file), &stat) == 0 && S_ISDIR(stat.st_mode)) {
        fclose(loader->file);
        loader->file = NULL;
        errno = EISDIR;
    }
    if (!loader->file) {
        char text[CONFIG_TEXT_SIZE];

        snprintf(text, sizeof text, "%s: %s", loader->config->path, strerror(errno));
        loader->errors++;
        config_report_text(loader, LOG_LEVEL_ERR, text);
        return -EINVAL;
    }
    result = ini_parse_stream(next_line, loader, take_value, loader);
    if (result > 0)
        config_complain_line(loader, (unsigned)result, "the line cannot be understood");
    if (result < 0)
        loader->no_memory = true;
    if (ferror(loader->file))
        config_complain_line(loader, loader->line + 1, "the file cannot be read");
    fclose(loader->file);
    loader->pool = NULL;
    return 0;
}

size_t config_line_max(void)
{
    return INI_MAX_LINE - 2;
}
