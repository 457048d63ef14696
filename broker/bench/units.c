/* SPDX-License-Identifier: MIT */
/* Units: see units.h. */
#include "broker/bench/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    double factor;
};

static bool parse(const char *text, const struct unit *units, size_t count, double *number)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || !(value >= 0) || isinf(value))
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(end, units[i].name) == 0) {
            *number = value * units[i].factor;
            return true;
        }
    return false;
}

bool units_parse_us(const char *text, double *us)
{
    static const struct unit units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"", 1}};

    return parse(text, units, sizeof units / sizeof *units, us);
}

bool units_parse_bytes(const char *text, double *bytes)
{
    static const struct unit units[] = {{"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1048576}};

    return parse(text, units, sizeof units / sizeof *units, bytes);
}

bool units_parse_number(const char *text, double *number)
{
    static const struct unit none = {"", 1};

    return parse(text, &none, 1, number);
}

static char *next_text(void)
{
    static char texts[8][32];
    static unsigned next;

    return texts[next++ % 8];
}

const char *units_grouped(double number)
{
    char digits[32], *text = next_text(), *out = text;
    int length = snprintf(digits, 20, "%.0f", number);

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

const char *units_time(double us)
{
    char *text = next_text();

    if (isnan(us))
        snprintf(text, 32, "-");
    else if (us < 100)
        snprintf(text, 32, "%.1f us", us);
    else if (us < 1000)
        snprintf(text, 32, "%.0f us", us);
    else if (us < 100000)
        snprintf(text, 32, "%.2f ms", us / 1000);
    else
        snprintf(text, 32, "%.0f ms", us / 1000);
    return text;
}
