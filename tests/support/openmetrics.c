/* SPDX-License-Identifier: MIT */
/* Checking OpenMetrics text: see openmetrics.h. */
#include "tests/support/openmetrics.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE   128
#define LINE_SIZE   2048
#define FAMILIES    256
#define SERIES_MAX  16384
#define LABELS_SIZE 512

struct family {
    char name[NAME_SIZE];
    char type[16];
    bool help, unit;
};

struct parser {
    unsigned line;
    struct family families[FAMILIES];
    unsigned count;
    char *series[SERIES_MAX];
    unsigned series_count;
    /* The histogram's series under way: its labels but for le. */
    char labels[LABELS_SIZE];
    double border, below;
    bool infinite;
    char problem[LINE_SIZE + 256];
};

static bool wrong(struct parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(struct parser *parser, const char *format, ...)
{
    va_list list;
    int start = snprintf(parser->problem, sizeof parser->problem, "line %u: ", parser->line);

    va_start(list, format);
    vsnprintf(parser->problem + start, sizeof parser->problem - (size_t)start, format, list);
    va_end(list);
    return false;
}

/* Length of a name at `at`: [a-zA-Z_][a-zA-Z0-9_]*. */
static size_t name_length(const char *at)
{
    size_t length = 0;

    if (isdigit((unsigned char)*at))
        return 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_')
        length++;
    return length < NAME_SIZE ? length : 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), length = strlen(end);

    return size > length && strcmp(text + size - length, end) == 0;
}

/* ---- # lines ---- */

static bool take_type(struct parser *parser, struct family *family, const char *rest)
{
    if (family->type[0])
        return wrong(parser, "TYPE of %s twice", family->name);
    if (strcmp(rest, "gauge") != 0 && strcmp(rest, "counter") != 0 &&
        strcmp(rest, "histogram") != 0)
        return wrong(parser, "a type that this does not know: %s", rest);
    snprintf(family->type, sizeof family->type, "%s", rest);
    if (strcmp(rest, "counter") == 0 && ends_with(family->name, "_total"))
        return wrong(parser, "a counter's family is called without _total: %s", family->name);
    return true;
}

static bool take_comment(struct parser *parser, const char *line)
{
    char what[8] = "", name[NAME_SIZE] = "";
    struct family *family = parser->count ? &parser->families[parser->count - 1] : NULL;
    const char *rest;
    size_t length;

    if (sscanf(line, "# %7[A-Z] ", what) != 1)
        return wrong(parser, "a comment: %s", line);
    rest = line + 2 + strlen(what);
    length = *rest == ' ' ? name_length(rest + 1) : 0;
    if (length == 0 || rest[1 + length] != ' ' || rest[2 + length] == '\0')
        return wrong(parser, "malformed: %s", line);
    memcpy(name, rest + 1, length);
    rest += 2 + length;
    if (!family || strcmp(family->name, name) != 0) {
        for (unsigned i = 0; i < parser->count; i++)
            if (strcmp(parser->families[i].name, name) == 0)
                return wrong(parser, "the lines of %s do not stand together", name);
        if (parser->count == FAMILIES)
            return wrong(parser, "too many families for this test");
        family = &parser->families[parser->count++];
        snprintf(family->name, sizeof family->name, "%s", name);
        parser->labels[0] = '\0';
    }
    if (strcmp(what, "TYPE") == 0)
        return take_type(parser, family, rest);
    if (strcmp(what, "HELP") == 0) {
        if (family->help)
            return wrong(parser, "HELP of %s twice", name);
        family->help = true;
        return true;
    }
    if (strcmp(what, "UNIT") != 0 || family->unit)
        return wrong(parser, "malformed: %s", line);
    family->unit = true;
    return ends_with(name, rest) ? true : wrong(parser, "%s does not end with its unit", name);
}

/* ---- samples ---- */

/* Copies the labels at `at` but for le, which goes to *border. Returns what follows; NULL: malformed. */
static const char *take_labels(const char *at, char *labels, double *border)
{
    size_t out = 0;

    *border = NAN;
    if (*at != '{')
        return at;
    for (at++;; at++) {
        const char *name = at, *value;
        size_t length = name_length(at);

        if (length == 0 || at[length] != '=' || at[length + 1] != '"')
            return NULL;
        value = at + length + 2;
        for (at = value; *at != '"'; at++) {
            if (*at == '\0' || (*at == '\\' && !strchr("\\\"n", *++at)))
                return NULL;
        }
        at++;
        if (length == 2 && strncmp(name, "le", 2) == 0) {
            char *end;

            *border = strtod(value, &end);
            if (*end != '"' || (!isinf(*border) && !memchr(value, '.', (size_t)(end - value)) &&
                                !memchr(value, 'e', (size_t)(end - value))))
                return NULL;
        } else if (out + (size_t)(at - name) + 2 < LABELS_SIZE) {
            memcpy(labels + out, name, (size_t)(at - name));
            out += (size_t)(at - name);
            labels[out++] = ',';
        }
        if (*at == '}')
            break;
        if (*at != ',')
            return NULL;
    }
    labels[out] = '\0';
    return at + 1;
}

static bool take_bucket(struct parser *parser, const char *labels, double border, double value)
{
    if (isnan(border))
        return wrong(parser, "a bucket without le");
    if (strcmp(parser->labels, labels) != 0) {
        if (parser->labels[0] && !parser->infinite)
            return wrong(parser, "no +Inf bucket for %s", parser->labels);
        snprintf(parser->labels, sizeof parser->labels, "%s", labels);
        parser->border = -INFINITY;
        parser->below = 0;
        parser->infinite = false;
    }
    if (border <= parser->border || value < parser->below)
        return wrong(parser, "buckets do not ascend at %g", border);
    parser->border = border;
    parser->below = value;
    parser->infinite = isinf(border);
    return true;
}

/* Whether a sample `name` may be one of `family`. */
static bool take_sample_of(struct parser *parser, const struct family *family, const char *name,
                           const char *labels, double border, double value)
{
    const char *ending = name + strlen(family->name);

    if (strncmp(name, family->name, strlen(family->name)) != 0 || !family->type[0] || !family->help)
        return wrong(parser, "%s is not of family %s, or that has no TYPE or HELP", name,
                     family->name);
    if (strcmp(family->type, "gauge") == 0)
        return *ending ? wrong(parser, "a gauge called %s", name) : true;
    if (value < 0)
        return wrong(parser, "below 0");
    if (strcmp(family->type, "counter") == 0)
        return strcmp(ending, "_total") == 0 ? true : wrong(parser, "a counter called %s", name);
    if (strcmp(ending, "_bucket") == 0)
        return take_bucket(parser, labels, border, value);
    if (strcmp(ending, "_count") == 0)
        return strcmp(labels, parser->labels) == 0 && parser->infinite && value == parser->below
                   ? true
                   : wrong(parser, "%s is not what its buckets say", name);
    return strcmp(ending, "_sum") == 0 ? true : wrong(parser, "a histogram's %s", name);
}

static bool take_sample(struct parser *parser, char *line)
{
    const struct family *family = parser->count ? &parser->families[parser->count - 1] : NULL;
    char name[NAME_SIZE] = "", labels[LABELS_SIZE] = "";
    size_t length = name_length(line);
    const char *rest;
    double border, value;
    char *end;

    if (length == 0 || !family)
        return wrong(parser, "not a sample of a family: %s", line);
    memcpy(name, line, length);
    rest = take_labels(line + length, labels, &border);
    if (!rest || *rest != ' ')
        return wrong(parser, "malformed labels: %s", line);
    value = strtod(rest + 1, &end);
    if (end == rest + 1 || *end || isspace((unsigned char)rest[1]))
        return wrong(parser, "not a number: %s", line);
    if (!take_sample_of(parser, family, name, labels, border, value))
        return false;
    if (parser->series_count == SERIES_MAX)
        return wrong(parser, "too many series for this test");
    line[rest - line] = '\0';
    parser->series[parser->series_count++] = strdup(line);
    return true;
}

static int compare_series(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_twice(struct parser *parser)
{
    qsort(parser->series, parser->series_count, sizeof *parser->series, compare_series);
    for (unsigned i = 1; i < parser->series_count && !parser->problem[0]; i++)
        if (strcmp(parser->series[i - 1], parser->series[i]) == 0)
            wrong(parser, "%s twice", parser->series[i]);
}

const char *openmetrics_problem(const char *text)
{
    static struct parser parser;
    bool good = true, ended = false;

    parser = (struct parser){0};
    while (good && *text) {
        size_t length = strcspn(text, "\n");
        char line[LINE_SIZE];

        parser.line++;
        if (text[length] != '\n' || length >= sizeof line) {
            good = wrong(&parser, "it is too long, or does not end");
            break;
        }
        memcpy(line, text, length);
        line[length] = '\0';
        text += length + 1;
        if (ended)
            good = wrong(&parser, "something behind # EOF");
        else if (strcmp(line, "# EOF") == 0)
            ended = true;
        else
            good = line[0] == '#' ? take_comment(&parser, line) : take_sample(&parser, line);
    }
    if (good && !ended)
        wrong(&parser, "no # EOF");
    check_twice(&parser);
    for (unsigned i = 0; i < parser.series_count; i++)
        free(parser.series[i]);
    return parser.problem[0] ? parser.problem : NULL;
}

/* The line that begins with `start`; NULL: none. */
static const char *find_line(const char *text, const char *start, const char *next)
{
    size_t length = strlen(start);

    for (const char *at = text; (at = strstr(at, start)); at++)
        if ((at == text || at[-1] == '\n') && strchr(next, at[length]))
            return at;
    return NULL;
}

double openmetrics_value(const char *text, const char *series)
{
    const char *line = find_line(text, series, " ");

    return line ? strtod(line + strlen(series), NULL) : NAN;
}

bool openmetrics_has(const char *text, const char *name)
{
    return find_line(text, name, "{ ") != NULL;
}
