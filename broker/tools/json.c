/* SPDX-License-Identifier: MIT */
/* JSON: see json.h. */
#include "broker/tools/json.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* As libsmartcols indents. */
#define INDENT 3

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', out);
}

static void put_line(const struct json *json)
{
    fprintf(json->out, "\n%*s", (int)json->depth * INDENT, "");
}

/* What stands before a value. */
static void begin(struct json *json, const char *key)
{
    if (json->depth > 0) {
        bool lines = json->open[json->depth - 1].lines;

        if (json->open[json->depth - 1].any)
            fputs(lines ? "," : ", ", json->out);
        if (lines)
            put_line(json);
        json->open[json->depth - 1].any = true;
    }
    if (key) {
        put_string(json->out, key);
        fputs(": ", json->out);
    }
}

void json_open(struct json *json, const char *key, char bracket, bool lines)
{
    assert(json->depth < JSON_DEPTH);
    begin(json, key);
    fputc(bracket, json->out);
    json->open[json->depth].closing = bracket == '{' ? '}' : ']';
    json->open[json->depth].lines = lines;
    json->open[json->depth].any = false;
    json->depth++;
}

void json_close(struct json *json)
{
    assert(json->depth > 0);
    json->depth--;
    if (json->open[json->depth].lines && json->open[json->depth].any)
        put_line(json);
    fputc(json->open[json->depth].closing, json->out);
    if (json->depth == 0)
        fputc('\n', json->out);
}

void json_string(struct json *json, const char *key, const char *text)
{
    begin(json, key);
    put_string(json->out, text);
}

void json_number(struct json *json, const char *key, double number, int digits)
{
    char text[400]; /* a double has up to 309 digits before the point */
    size_t length;

    begin(json, key);
    if (!isfinite(number)) {
        fputs("null", json->out);
        return;
    }
    length = (size_t)snprintf(text, sizeof text, "%.*f", digits, number);
    while (strchr(text, '.') && strchr("0.", text[length - 1])) {
        bool point = text[--length] == '.';

        text[length] = '\0';
        if (point)
            break;
    }
    fputs(text, json->out);
}

void json_boolean(struct json *json, const char *key, bool value)
{
    begin(json, key);
    fputs(value ? "true" : "false", json->out);
}
