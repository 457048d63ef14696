/* SPDX-License-Identifier: MIT */
/* The program, and what its scenarios have in common: see client.h. */
#include "tests/system/preload/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libclient/connection/resp.h"

#define LIMIT_S 30

int dial_with(int flags)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(getenv("REDIS_PORT"))),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        struct pollfd waited = {.fd = fd, .events = POLLOUT};

        CHECK(errno == EINPROGRESS && poll(&waited, 1, 5000) == 1);
    }
    return fd;
}

int dial(void)
{
    return dial_with(0);
}

static size_t put(char *to, size_t room, va_list words)
{
    va_list again;
    const char *word;
    size_t used;
    int count = 0;

    va_copy(again, words);
    while (va_arg(again, const char *))
        count++;
    va_end(again);
    used = (size_t)snprintf(to, room, "*%d\r\n", count);
    while ((word = va_arg(words, const char *)))
        used += (size_t)snprintf(to + used, room - used, "$%zu\r\n%s\r\n", strlen(word), word);
    CHECK(used < room);
    return used;
}

size_t request(char *to, size_t room, ...)
{
    va_list words;
    size_t size;

    va_start(words, room);
    size = put(to, room, words);
    va_end(words);
    return size;
}

void tell(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

        CHECK(sent > 0);
        data += sent;
        size -= (size_t)sent;
    }
}

const char *hear(int fd)
{
    static _Thread_local char reply[65536];
    struct resp_scan scan = {0};
    size_t have = 0, used;

    for (;;) {
        ssize_t got;

        CHECK(have + 1 < sizeof reply);
        got = recv(fd, reply + have, 1, 0); /* no byte of the next reply */
        if (got == 0)
            return "EOF";
        if (got < 0) {
            snprintf(reply, sizeof reply, "ERRNO %d", errno);
            return reply;
        }
        if (resp_scan(&scan, reply + have++, 1, &used) == 1)
            break;
    }
    reply[have] = '\0';
    return reply;
}

const char *ask(int fd, ...)
{
    char text[4096];
    va_list words;
    size_t size;

    va_start(words, fd);
    size = put(text, sizeof text, words);
    va_end(words);
    tell(fd, text, size);
    return hear(fd);
}

void talk(int fd, int count)
{
    char key[32], value[32], expected[64];

    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key:%d:%d", (int)getpid(), fd);
        snprintf(value, sizeof value, "%d", i);
        snprintf(expected, sizeof expected, "$%zu\r\n%s\r\n", strlen(value), value);
        EXPECT(ask(fd, "SET", key, value, NULL), "+OK\r\n");
        EXPECT(ask(fd, "GET", key, NULL), expected);
    }
}

int child_status(pid_t pid)
{
    int status;

    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int run(const struct scenario *scenarios, const char *name)
{
    for (; scenarios->name; scenarios++)
        if (strcmp(scenarios->name, name) == 0)
            return scenarios->run();
    return -1;
}

int main(int argc, char *argv[])
{
    int result;

    if (argc < 2 || !getenv("REDIS_PORT"))
        return 2;
    alarm(LIMIT_S);
    result = run(basic_scenarios, argv[1]);
    if (result < 0)
        result = run(process_scenarios, argv[1]);
    if (result < 0)
        result = run(raw_scenarios, argv[1]);
    if (result < 0)
        result = run(rare_scenarios, argv[1]);
    if (result < 0)
        result = run(attack_scenarios, argv[1]);
    return result < 0 ? 2 : result;
}
