/* SPDX-License-Identifier: MIT */
/* Asking the broker to do something: see control.h. */
#include "broker/ctl/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "broker/base/clock.h"
#include "broker/base/option_table.h"
#include "broker/base/text.h"
#include "libclient/shared/broker_socket.h"

/* The broker keeps the limit; one that does not answer at all is given up this much later. */
#define GRACE_MS 5000

int control_parse_limit(const char *text, uint32_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
    unsigned long long number;
    char *end;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || number > 86400000)
        return -EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].name) == 0 && number * units[i].ms <= 86400000) {
            *ms = (uint32_t)(number * units[i].ms);
            return 0;
        }
    return -EINVAL;
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "lendisctl: %s: %s\n", what, strerror(error));
    return EXIT_FAILURE;
}

static int misuse(const struct command *command, const char *what)
{
    return option_table_usage_error("lendisctl", command->name, what);
}

/* Results: 0; the exit status, and it was said why. */
static int make_request(const struct command *command, int count, char **words,
                        const struct control_options *options, struct wire_control *request)
{
    *request = (struct wire_control){
        .verb = command->verb,
        .timeout_ms = options->timeout_ms,
        .connection = options->connection,
        .pid = options->pid,
    };
    wire_header(&request->header, WIRE_CONTROL, sizeof *request);
    if (command->verb != WIRE_KILL && (options->connection != WIRE_ANY || options->pid != WIRE_ANY))
        return misuse(command, "--connection and --worker are options of kill");
    if (command->verb == WIRE_KILL && count == 0 &&
        (options->pid == WIRE_ANY || options->connection != WIRE_ANY))
        return misuse(command, "name a pool, or a process with --worker");
    if (command->verb == WIRE_SET) {
        char *word = words[--count], *sign = strchr(word, '=');

        if (!sign || sign == word || (size_t)(sign - word) >= sizeof request->key ||
            strlen(sign + 1) >= sizeof request->value)
            return misuse(command, "the last argument is not KEY=VALUE");
        memcpy(request->key, word, (size_t)(sign - word));
        strcpy(request->value, sign + 1);
    }
    if (count > 0 && (words[0][0] == '\0' || strlen(words[0]) >= sizeof request->pool))
        return misuse(command, "not the name of a pool");
    if (count > 0)
        strcpy(request->pool, words[0]);
    return 0;
}

static void say(FILE *out, const char *text, size_t size)
{
    char clean[sizeof((struct wire_outcome *)0)->text + 1];

    text_clean(clean, sizeof clean, text, size);
    if (clean[0])
        fprintf(out, "%s%s\n", out == stderr ? "lendisctl: " : "", clean);
}

/* Prints the broker's answers. Returns the exit status. */
static int follow(int fd, uint32_t timeout_ms)
{
    int64_t until_ms = (int64_t)clock_ms() + timeout_ms + GRACE_MS;
    _Alignas(8) char message[WIRE_MAX + 1];

    for (;;) {
        const struct wire_notice *notice = (const void *)message;
        const struct wire_outcome *outcome = (const void *)message;
        int64_t left_ms = until_ms - (int64_t)clock_ms();
        int got = wire_receive(fd, message, sizeof message, NULL, left_ms > 0 ? (int)left_ms : 0);

        if (got == -ETIMEDOUT || got == -EAGAIN) {
            fputs("lendisctl: the broker does not answer\n", stderr);
            return EXIT_LIMIT;
        }
        if (got == 0 || got == -ECONNRESET) {
            fputs("lendisctl: the broker hung up without an answer; is it of another version?\n",
                  stderr);
            return EXIT_FAILURE;
        }
        if (got < 0)
            return fail("the broker's answer", -got);
        if (wire_is(message, (size_t)got, WIRE_NOTICE, sizeof *notice)) {
            say(stderr, notice->text, sizeof notice->text);
            continue;
        }
        if (!wire_is(message, (size_t)got, WIRE_OUTCOME, sizeof *outcome))
            return fail("the broker's answer", EPROTO);
        say(outcome->result == 0 ? stdout : stderr, outcome->text, sizeof outcome->text);
        return outcome->result == 0            ? EXIT_SUCCESS
               : outcome->result == -ETIMEDOUT ? EXIT_LIMIT
                                               : EXIT_FAILURE;
    }
}

int control_run(const struct command *command, int count, char **words,
                const struct control_options *options)
{
    struct wire_control request;
    int fd, result;

    result = make_request(command, count, words, options, &request);
    if (result != 0)
        return result;
    fd = broker_socket_connect(options->socket_path);
    if (fd < 0)
        return fail(options->socket_path, -fd);
    result = wire_send(fd, &request, -1);
    result = result == 0 ? follow(fd, options->timeout_ms) : fail("cannot ask the broker", -result);
    close(fd);
    return result;
}
