/* SPDX-License-Identifier: MIT */
/*
 * JSON (RFC 8259) that is no table: objects in objects, which libsmartcols, behind table.h, does
 * not have. Puts every bracket, comma and quote where it belongs; which keys there are is the
 * caller's. Failures to print show when the stream is flushed.
 */
#ifndef LENDIS_JSON_H
#define LENDIS_JSON_H

#include <stdbool.h>
#include <stdio.h>

#define JSON_DEPTH 8

struct json {
    FILE *out;
    unsigned depth; /* 0 at first, and again at the end */
    struct {
        char closing;
        bool lines, any;
    } open[JSON_DEPTH];
};

/* Everywhere: `key` is NULL in an array and for the outermost value. */

/* Begins an object, '{', or an array, '['; with `lines` what is in it stands in lines of their
 * own, indented. */
void json_open(struct json *json, const char *key, char bracket, bool lines);
void json_close(struct json *json);

/* UTF-8, up to its zero. */
void json_string(struct json *json, const char *key, const char *text);

/* With at most so many digits behind the point, and no exponent, which not everybody reads; null
 * if it is not finite. */
void json_number(struct json *json, const char *key, double number, int digits);
void json_boolean(struct json *json, const char *key, bool value);

#endif
