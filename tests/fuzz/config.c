/* SPDX-License-Identifier: MIT */
/*
 * The configuration (broker/config/config.h). The input is a file's contents and variables of the
 * environment, each begun by a byte 0x1e. Whatever they are, loading ends without a crash or a
 * leak, and it reports an error if and only if it fails. What is accepted is printed as a file that
 * is accepted without any of lendis' variables, and printed again as the same.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "broker/config/config.h"
#include "tests/fuzz/fuzz.h"

#define VARIABLES_MAX 16
#define SEPARATOR     0x1e

static void count_errors(enum log_level level, const char *text, void *context)
{
    unsigned *errors = context;

    REQUIRE(text[0] != '\0' && !strchr(text, '\n'));
    *errors += level == LOG_LEVEL_ERR;
}

static int load(const char *text, size_t size, char *const *environment, struct config *config)
{
    static int file = -1;
    unsigned errors = 0;
    char path[32];
    int result;

    if (file < 0)
        file = memfd_create("config", MFD_CLOEXEC);
    REQUIRE(file >= 0 && ftruncate(file, 0) == 0);
    REQUIRE(pwrite(file, text, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    result = config_load(path, environment, count_errors, &errors, config);
    REQUIRE((result == 0) == (errors == 0));
    return result;
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *memory = open_memstream(&text, size);

    REQUIRE(memory);
    config_print(config, memory);
    REQUIRE(fclose(memory) == 0);
    return text;
}

/* Zero-terminated copies of what stands between separators. */
static void split(const uint8_t *data, size_t size, char **variables)
{
    int count = 0;

    while (size > 0 && count < VARIABLES_MAX) {
        const uint8_t *end = memchr(data + 1, SEPARATOR, size - 1);
        size_t length = end ? (size_t)(end - data) : size;

        variables[count++] = strndup((const char *)data + 1, length - 1);
        data += length;
        size -= length;
    }
    variables[count] = NULL;
}

/* Leaves out what configures lendis. CREDENTIALS_DIRECTORY is systemd's. */
static void keep_foreign(char **variables, char **kept)
{
    for (; *variables; variables++)
        if (strncmp(*variables, "LENDIS_", 7) != 0)
            *kept++ = *variables;
    *kept = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *more = memchr(data, SEPARATOR, size);
    size_t length = more ? (size_t)(more - data) : size, first_size, second_size;
    char *variables[VARIABLES_MAX + 1], *foreign[VARIABLES_MAX + 1], *first, *second;
    struct config config;

    /* A password file can be any: no device, and nothing of the kernel's, is to be opened here. */
    if (memmem(data, size, "/dev", 4) || memmem(data, size, "/proc", 5) ||
        memmem(data, size, "/sys", 4))
        return 0;
    split(data + length, size - length, variables);
    if (load((const char *)data, length, variables, &config) == 0) {
        first = print(&config, &first_size);
        config_free(&config);
        keep_foreign(variables, foreign);
        REQUIRE(load(first, first_size, foreign, &config) == 0);
        second = print(&config, &second_size);
        config_free(&config);
        REQUIRE(first_size == second_size && memcmp(first, second, first_size) == 0);
        free(first);
        free(second);
    }
    for (char **each = variables; *each; each++)
        free(*each);
    return 0;
}
