/* SPDX-License-Identifier: MIT */
/*
 * Runs the checked-in corpus of a fuzz target through it, without libFuzzer, so that what was found
 * once stays fixed in every build: each file, and each beginning of one. The program's name says
 * which corpus it is: replay_NAME takes tests/fuzz/corpus/NAME. Arguments are files to run instead.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"

/* So many beginnings of a file at most, evenly spread. */
#define CUTS_MAX 8u

/* A copy of exactly `size` bytes, so that sanitizers and valgrind see what is read beyond. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        exit(1);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "re");
    size_t size, step;

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    /* What was run last is what failed. */
    fprintf(stderr, "%s\n", path);
    step = size / CUTS_MAX + 1;
    for (size_t cut = 0; cut < size; cut += step)
        run(data, cut);
    run(data, size);
}

int main(int argc, char **argv)
{
    const char *name = strchr(basename(argv[0]), '_');
    char folder[256], path[512];
    unsigned count = 0;
    struct dirent *entry;
    DIR *dir;

    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    if (argc > 1)
        return 0;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name ? name + 1 : "");
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
        run_file(path);
        count++;
    }
    if (dir)
        closedir(dir);
    if (count == 0) {
        fprintf(stderr, "%s: no corpus\n", folder);
        return 1;
    }
    printf("%u files of %s hold\n", count, folder);
    return 0;
}
