/* SPDX-License-Identifier: MIT */
/* What the parts share: see bench.h. */
#include "broker/bench/bench.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "broker/bench/units.h"

void bench_note(struct bench *bench, const char *format, ...)
{
    va_list arguments;
    char *note;

    if (bench->note_count == BENCH_NOTES_MAX)
        return;
    note = bench->notes[bench->note_count];
    va_start(arguments, format);
    vsnprintf(note, sizeof bench->notes[0], format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < bench->note_count; i++)
        if (strcmp(bench->notes[i], note) == 0)
            return;
    bench->note_count++;
}

void bench_figure(struct bench *bench, const char *row, const char *name, double value,
                  int decimals, const char *unit, const char *text)
{
    figures_add(&bench->figures, (struct series){row, "", ""}, 1, name, value);
    if (!bench->out)
        return;
    if (decimals == 0)
        fprintf(bench->out, "  %-62s %12s %s\n", text, units_grouped(value), unit);
    else
        fprintf(bench->out, "  %-62s %12.*f %s\n", text, decimals, value, unit);
    fflush(bench->out);
}

void bench_progress(const char *format, ...)
{
    char text[80];
    va_list arguments;

    if (!isatty(STDERR_FILENO))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\r%-79.79s", text);
}

void bench_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%79s\r", "");
}
