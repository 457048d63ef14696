/* SPDX-License-Identifier: MIT */
/* Text of /proc and its kin: see proc_text.h. Nothing here opens a file. */
#include "broker/base/proc_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB       1024.0
#define LINE_SIZE 512

/* The beginning of the next line, or the end of the text. */
static const char *next_line(const char *at)
{
    at += strcspn(at, "\n");
    return *at ? at + 1 : at;
}

/*
 * Copies the next line, without its end and cut to the size, and moves on. False: there is none.
 * sscanf(3) measures the whole text that it is given, which for each line of a long one takes long.
 */
static bool take_line(const char **text, char *line, size_t size)
{
    size_t length = strcspn(*text, "\n");
    size_t kept = length < size - 1 ? length : size - 1;

    if (!**text)
        return false;
    memcpy(line, *text, kept);
    line[kept] = '\0';
    *text += length + ((*text)[length] == '\n');
    return true;
}

/* The text behind `name` and `separator` where a line begins with them; NULL: there is none. */
static const char *field(const char *text, const char *name, char separator)
{
    size_t length = strlen(name);

    for (; *text; text = next_line(text))
        if (strncmp(text, name, length) == 0 && text[length] == separator)
            return text + length + 1;
    return NULL;
}

static double number_of(const char *at)
{
    char *end;
    double value;

    if (!at)
        return NAN;
    at += strspn(at, " \t");
    value = strtod(at, &end);
    return end == at ? NAN : value;
}

/* What follows so many words, which blanks separate. */
static const char *word_of(const char *line, int words)
{
    for (int i = 0; i < words; i++) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return line;
}

double kilobytes_field(const char *text, const char *name)
{
    return number_of(field(text, name, ':')) * KIB;
}

double stat_field(const char *text, const char *name)
{
    return number_of(field(text, name, ' '));
}

double info_field(const char *text, const char *name)
{
    return number_of(field(text, name, ':'));
}

/* ---- smaps ---- */

/* Where the path begins in a line that opens a mapping; NULL: it opens none. */
static const char *mapping_path(const char *line)
{
    size_t from = strspn(line, "0123456789abcdef");

    if (from == 0 || line[from] != '-')
        return NULL;
    return word_of(line, 5); /* behind address, permissions, offset, device and inode */
}

static void add_field(const char *line, struct smaps *sum)
{
    const struct {
        const char *name;
        double *sum;
    } fields[] = {
        {"Rss", &sum->rss},
        {"Pss", &sum->pss},
        {"Private_Clean", &sum->uss},
        {"Private_Dirty", &sum->uss},
        {"Private_Hugetlb", &sum->uss},
        {"Anonymous", &sum->anonymous},
        {"SwapPss", &sum->swap_pss},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t length = strlen(fields[i].name);
        double kib = strncmp(line, fields[i].name, length) == 0 && line[length] == ':'
                         ? number_of(line + length + 1)
                         : NAN;

        if (!isnan(kib))
            *fields[i].sum += kib * KIB;
    }
}

void smaps_parse(const char *text, const char *path, struct smaps *sum)
{
    bool any = false, wanted = false;
    char line[LINE_SIZE];

    *sum = (struct smaps){0};
    while (take_line(&text, line, sizeof line)) {
        const char *of = mapping_path(line);

        if (of) {
            any = true;
            wanted = !path || strncmp(of, path, strlen(path)) == 0;
        } else if (wanted) {
            add_field(line, sum);
        }
    }
    /* Of a kernel thread or a zombie, or no smaps at all. */
    if (!any)
        *sum = (struct smaps){NAN, NAN, NAN, NAN, NAN};
}

/* ---- other files of a process ---- */

double statm_virtual(const char *text, size_t page_size)
{
    return number_of(text) * (double)page_size;
}

void status_parse(const char *text, struct process_status *status)
{
    /* Until Linux 4.14 the middle level had a line of its own; since 4.15 VmPTE has all of them. */
    double middle = kilobytes_field(text, "VmPMD");

    status->page_tables = kilobytes_field(text, "VmPTE") + (isnan(middle) ? 0 : middle);
    status->descriptors_max = number_of(field(text, "FDSize", ':'));
}

/* A part of the path at `at` of this length is called `name`. */
static bool has_part(const char *at, size_t length, const char *name)
{
    const char *end = at + length;

    while (at < end) {
        size_t part = strcspn(at, "/\n");

        if (at + part > end)
            part = (size_t)(end - at);
        if (part == strlen(name) && strncmp(at, name, part) == 0)
            return true;
        at += part + 1;
    }
    return false;
}

/* The path in a line "ID:CONTROLLERS:PATH"; NULL: it is none. */
static const char *cgroup_path(const char *line, size_t *length)
{
    size_t whole = strcspn(line, "\n");
    const char *first = memchr(line, ':', whole), *second;

    second = first ? memchr(first + 1, ':', whole - (size_t)(first + 1 - line)) : NULL;
    if (!second)
        return NULL;
    *length = whole - (size_t)(second + 1 - line);
    return second + 1;
}

bool cgroup_matches(const char *text, const char *path, bool unit)
{
    size_t wanted = strlen(path), length;

    while (wanted > 1 && path[wanted - 1] == '/')
        wanted--;
    for (; *text; text = next_line(text)) {
        const char *at = cgroup_path(text, &length);

        if (!at)
            continue;
        if (unit ? has_part(at, length, path)
                 : length >= wanted && strncmp(at, path, wanted) == 0 &&
                       (length == wanted || at[wanted] == '/' || path[wanted - 1] == '/'))
            return true;
    }
    return false;
}

bool cgroup_unified(const char *text, char *path, size_t size)
{
    for (; *text; text = next_line(text)) {
        size_t length;
        const char *at = cgroup_path(text, &length);

        if (!at || strncmp(text, "0::", 3) != 0 || length >= size)
            continue;
        memcpy(path, at, length);
        path[length] = '\0';
        return true;
    }
    return false;
}

/* ---- the kernel's ---- */

struct slab_line {
    char name[64];
    double object, pages_each, slabs;
};

/* Versions 2.0 and 2.1 of slabinfo(5) agree in what is read here. */
static bool slab_line_parse(const char *line, struct slab_line *slab)
{
    const char *data = strstr(line, ": slabdata");
    size_t length = strcspn(line, " ");

    if (!data || length >= sizeof slab->name)
        return false;
    memcpy(slab->name, line, length);
    slab->name[length] = '\0';
    slab->object = number_of(word_of(line, 3));
    slab->pages_each = number_of(word_of(line, 5));
    slab->slabs = number_of(word_of(data, 3));
    return !isnan(slab->object + slab->pages_each + slab->slabs);
}

double slabinfo_object(const char *text, const char *name)
{
    struct slab_line slab;
    char line[LINE_SIZE];

    while (take_line(&text, line, sizeof line))
        if (slab_line_parse(line, &slab) && strcmp(slab.name, name) == 0)
            return slab.object;
    return NAN;
}

double slabinfo_bytes(const char *text, const char *const *names, size_t count, size_t page_size)
{
    struct slab_line slab;
    char line[LINE_SIZE];
    bool any = false;
    double bytes = 0;

    while (take_line(&text, line, sizeof line)) {
        if (!slab_line_parse(line, &slab))
            continue;
        any = true;
        for (size_t i = 0; i < count; i++)
            if (strcmp(slab.name, names[i]) == 0) {
                bytes += slab.slabs * slab.pages_each * (double)page_size;
                break;
            }
    }
    return any ? bytes : NAN;
}

double sockstat_value(const char *text, const char *protocol, const char *key)
{
    const char *at = field(text, protocol, ':');
    size_t length = strlen(key);

    /* Pairs of a key and a number, up to the end of the line. */
    while (at && *at && *at != '\n') {
        at += strspn(at, " ");
        if (strncmp(at, key, length) == 0 && at[length] == ' ')
            return number_of(at + length);
        at += strcspn(at, " \n");
    }
    return NAN;
}
