/* SPDX-License-Identifier: MIT */
/*
 * Pictures: see plot.h. gnuplot reads its script from a memfd and writes the picture to another
 * one, so nothing is quoted for a shell, it knows no path, and a picture that failed half way
 * overwrites nothing.
 */
#include "broker/testbed/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/testbed.h"

#define GNUPLOT       "gnuplot"
#define LIMIT_SECONDS 60
#define WIDTH         900
#define HEIGHT        380 /* of each plot */
#define TICS_MAX      16  /* with more x than that, gnuplot chooses where it writes numbers */

/* Okabe and Ito, "Color Universal Design": told apart with every kind of color vision. */
static const char *const colors[] = {"#0072b2", "#e69f00", "#009e73", "#d55e00",
                                     "#cc79a7", "#56b4e9", "#999999", "#f0e442"};
#define COLORS (sizeof colors / sizeof *colors)

static int fail(char *problem, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(char *problem, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(problem, size, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- what is needed ---- */

/* gnuplot's name for what the ending asks for; NULL: it is neither. */
static const char *terminal(const char *path)
{
    const char *ending = strrchr(path, '.');

    if (ending && strcmp(ending, ".svg") == 0)
        return "svg";
    if (ending && strcmp(ending, ".png") == 0)
        return "pngcairo";
    return NULL;
}

int plot_check(const char *path, char *problem, size_t size)
{
    bool there = access(path, F_OK) == 0;
    char program[PATH_MAX];
    int fd;

    if (!terminal(path))
        return fail(problem, size, "%s: a picture's name ends in .svg or .png", path);
    if (!program_find(GNUPLOT, program, sizeof program))
        return fail(problem, size, "gnuplot is not installed (Debian: gnuplot-nox)");
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(problem, size, "%s: %s", path, strerror(errno));
    close(fd);
    if (!there)
        unlink(path);
    return 0;
}

/* ---- the script ---- */

/* As a string of gnuplot's, in which only the quote itself is special. */
static void put_string(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text; text++)
        if (*text == '\'')
            fputs("''", script);
        else
            fputc((unsigned char)*text < ' ' ? ' ' : *text, script);
    fputc('\'', script);
}

static void put_setting(FILE *script, const char *setting, const char *text)
{
    fprintf(script, text ? "set %s " : "unset %s", setting);
    if (text)
        put_string(script, text);
    fputc('\n', script);
}

static void put_value(FILE *script, double value)
{
    if (isnan(value))
        fputs("\t?", script);
    else
        fprintf(script, "\t%.9g", value);
}

/* A line for each group or x: its name or x, then a value of each series. */
static void put_data(FILE *script, const struct plot *plot, size_t number)
{
    fprintf(script, "$data%zu << END_OF_DATA\n", number);
    for (size_t i = 0; i < plot->count; i++) {
        if (plot->kind == PLOT_CURVES)
            fprintf(script, "%.9g", plot->x[i]);
        else
            for (const char *at = plot->groups[i]; *at; at++)
                fputc((unsigned char)*at < ' ' || *at == '"' ? ' ' : *at, script);
        for (size_t s = 0; s < plot->series_count; s++)
            put_value(script, plot->values[s * plot->count + i]);
        fputc('\n', script);
    }
    fputs("END_OF_DATA\n", script);
}

/* With a little room beside the first and the last point. */
static void put_x_range(FILE *script, const struct plot *plot)
{
    double least = INFINITY, most = -INFINITY, room;

    for (size_t i = 0; plot->kind == PLOT_CURVES && i < plot->count; i++) {
        least = fmin(least, plot->x[i]);
        most = fmax(most, plot->x[i]);
    }
    if (!(least < most)) {
        fputs("set xrange [*:*]\n", script);
        return;
    }
    room = plot->log_x ? pow(most / least, 0.05) : (most - least) * 0.05;
    if (plot->log_x)
        fprintf(script, "set xrange [%.9g:%.9g]\n", least / room, most * room);
    else
        fprintf(script, "set xrange [%.9g:%.9g]\n", least - room, most + room);
}

static void put_axes(FILE *script, const struct plot *plot)
{
    put_setting(script, "title", plot->title);
    put_setting(script, "xlabel", plot->x_label);
    put_setting(script, "ylabel", plot->y_label);
    fprintf(script, "%sset logscale y\nset yrange [%s:*]\n", plot->log_y ? "" : "un",
            plot->log_y ? "*" : "0");
    fprintf(script, "%sset logscale x\n", plot->kind == PLOT_CURVES && plot->log_x ? "" : "un");
    put_x_range(script, plot);
    if (plot->kind == PLOT_CURVES && plot->count <= TICS_MAX) {
        fputs("set xtics (", script);
        for (size_t i = 0; i < plot->count; i++)
            fprintf(script, "%s'%.9g' %.9g", i ? ", " : "", plot->x[i], plot->x[i]);
        fputs(")\n", script);
    } else {
        fputs("set xtics autofreq\n", script);
    }
}

static void put_plot(FILE *script, const struct plot *plot, size_t number)
{
    static const char *const styles[] = {
        [PLOT_BARS] = "set style data histograms\nset style histogram clustered gap 1\n",
        [PLOT_STACKED] = ("set style data histograms\nset style histogram rowstacked\n"
                          "set boxwidth 0.6\n"),
        [PLOT_CURVES] = "set style data linespoints\n",
    };

    put_data(script, plot, number);
    put_axes(script, plot);
    fputs(styles[plot->kind], script);
    for (size_t s = 0; s < plot->series_count; s++) {
        fprintf(script, "%s$data%zu using ", s ? ", \\\n  " : "plot ", number);
        if (plot->kind == PLOT_CURVES)
            fprintf(script, "1:%zu lw 2 pt 7 ps 0.6", s + 2);
        else
            fprintf(script, "%zu:xtic(1)", s + 2);
        fprintf(script, " lc rgb '%s' title ", colors[s % COLORS]);
        put_string(script, plot->series[s]);
    }
    fputs("\nunset boxwidth\n", script);
}

static void put_script(FILE *script, const struct plot *plots, size_t count, const char *kind)
{
    fprintf(script,
            "set terminal %s size %d,%zu noenhanced font 'sans,11' background rgb 'white'\n"
            "set datafile separator tab\n"
            "set datafile missing '?'\n"
            "set encoding utf8\n"
            "set style fill solid 0.85 noborder\n"
            "set key outside right top\n"
            "set grid ytics lt 1 lc rgb '#cccccc'\n"
            "set border 3\n"
            "set tics nomirror\n"
            "set lmargin 12\n"
            "set bmargin 4\n",
            kind, WIDTH, HEIGHT * count);
    if (count > 1)
        fprintf(script, "set multiplot layout %zu,1\n", count);
    for (size_t i = 0; i < count; i++)
        put_plot(script, &plots[i], i);
    if (count > 1)
        fputs("unset multiplot\n", script);
}

/* ---- drawing ---- */

/* In the child: never returns. */
static void become_gnuplot(int script, int picture, int messages, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    alarm(LIMIT_SECONDS);
    dup2(script, STDIN_FILENO);
    dup2(picture, STDOUT_FILENO);
    dup2(messages, STDERR_FILENO);
    execlp(GNUPLOT, GNUPLOT, "-", (char *)NULL);
    dprintf(STDERR_FILENO, "%s: %s\n", GNUPLOT, strerror(errno));
    _exit(127);
}

/* Results: gnuplot's wait status; -1, it could not be started. */
static int run_gnuplot(int script, int picture, int messages)
{
    pid_t parent = getpid(), pid;
    int status;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        become_gnuplot(script, picture, messages, parent);
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            pid = -1;
    return pid < 0 ? -1 : status;
}

/* Into `problem`: the last line of what gnuplot said. */
static int failed_with(int messages, int status, char *problem, size_t size)
{
    char said[1024];
    ssize_t length = pread(messages, said, sizeof said - 1, 0);
    char *line;

    while (length > 0 && said[length - 1] <= ' ')
        length--;
    said[length > 0 ? length : 0] = '\0';
    line = strrchr(said, '\n');
    return fail(problem, size, "gnuplot failed (status %d): %s", status, line ? line + 1 : said);
}

static int copy_to(const char *path, int picture, char *problem, size_t size)
{
    off_t length = lseek(picture, 0, SEEK_END), at = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    char part[16384];

    if (fd < 0)
        return fail(problem, size, "%s: %s", path, strerror(errno));
    while (at < length) {
        ssize_t got = pread(picture, part, sizeof part, at);

        if (got <= 0 || write(fd, part, (size_t)got) != got) {
            fail(problem, size, "%s: %s", path, strerror(errno));
            close(fd);
            return -1;
        }
        at += got;
    }
    if (close(fd) < 0)
        return fail(problem, size, "%s: %s", path, strerror(errno));
    return 0;
}

/* With the script in a memfd and two more for what comes out. */
static int draw(const struct plot *plots, size_t count, const char *path, const int fds[3],
                char *problem, size_t size)
{
    FILE *script = fdopen(dup(fds[0]), "w");
    int status;

    if (!script)
        return fail(problem, size, "%s", strerror(errno));
    put_script(script, plots, count, terminal(path));
    if (fclose(script) != 0)
        return fail(problem, size, "%s", strerror(errno));
    lseek(fds[0], 0, SEEK_SET);
    status = run_gnuplot(fds[0], fds[1], fds[2]);
    if (status != 0 || lseek(fds[1], 0, SEEK_END) <= 0)
        return failed_with(fds[2], status, problem, size);
    return copy_to(path, fds[1], problem, size);
}

int plot_write(const struct plot *plots, size_t count, const char *path, char *problem, size_t size)
{
    int fds[3], result = plot_check(path, problem, size);

    if (result != 0)
        return result;
    for (size_t i = 0; i < 3; i++)
        fds[i] = memfd_create("plot", MFD_CLOEXEC);
    if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)
        result = fail(problem, size, "memfd_create: %s", strerror(errno));
    else
        result = draw(plots, count, path, fds, problem, size);
    for (size_t i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return result;
}
