/* SPDX-License-Identifier: MIT */
/* A real lendisd in the private directory. */
#include "broker/testbed/certificates.h"
#include "broker/testbed/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "libclient/shared/broker_socket.h"

/* A build with sanitizers under valgrind on a busy machine takes seconds. */
#define START_LIMIT_MS   20000
#define STOP_LIMIT_MS    10000
#define CONNECT_LIMIT_MS 10000
#define ARGUMENTS_MAX    16
/* A thread of the broker writes its log (broker/base/log.h), and nothing waits for it: a line that
 * is due comes when that thread gets a processor. */
#define LOG_LIMIT_MS 10000
/* So long is a line awaited that should not come. */
#define LOG_SILENCE_MS 300

static void place(struct lendisd *broker)
{
    static unsigned number;

    number++;
    scratch_path(broker->config_path, "lendisd%u.conf", number);
    scratch_path(broker->socket_path, "lendisd%u.sock", number);
    scratch_path(broker->log_path, "lendisd%u.log", number);
}

/* Line by line; with what a pool needs behind an address with TLS. */
static void write_lines(FILE *file, char *text)
{
    bool add = testbed_tls_mode() && !strstr(text, "tls_ca_file");
    char *rest = text;

    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        fprintf(file, "%s%s", line, rest ? "\n" : "");
        if (add && strncmp(line, "redis = rediss://", 17) == 0)
            fprintf(file, "tls_ca_file = %s\ntls_mode = %s\n", certificate_of_testbed()->file,
                    testbed_tls_mode());
    }
}

static void write_config(struct lendisd *broker, const char *format, va_list arguments)
{
    char *text;
    FILE *file;

    if (broker->config_path[0] == '\0')
        place(broker);
    file = fopen(broker->config_path, "we");
    if (!file)
        give_up("%s: %s", broker->config_path, strerror(errno));
    fprintf(file, "[broker]\nsocket = %s\n", broker->socket_path);
    if (vasprintf(&text, format, arguments) < 0)
        give_up("no memory");
    write_lines(file, text);
    free(text);
    if (fclose(file) != 0)
        give_up("%s: %s", broker->config_path, strerror(errno));
}

int lendisd_connect(const char *socket_path)
{
    int fd;

    /* Its backlog may be full for a moment. */
    (void)eventually((fd = broker_socket_connect(socket_path)) != -EAGAIN, CONNECT_LIMIT_MS);
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

static bool accepts(const char *socket_path)
{
    int fd = lendisd_connect(socket_path);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void lendisd_configure(struct lendisd *broker, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_config(broker, format, arguments);
    va_end(arguments);
}

void lendisd_launch(struct lendisd *broker, bool wait)
{
    const char *program = getenv("LENDISD");
    const char *argv[ARGUMENTS_MAX] = {program && *program ? program : testbed_program("lendisd"),
                                       "--config", broker->config_path};
    size_t count = 3;
    bool ready;

    for (size_t i = 0; broker->arguments && broker->arguments[i]; i++) {
        if (count + 1 == ARGUMENTS_MAX)
            give_up("too many arguments for lendisd");
        argv[count++] = broker->arguments[i];
    }
    broker->pid = program_start(argv, broker->log_path, broker->nofile);
    if (!wait)
        return;
    ready = eventually(accepts(broker->socket_path) || program_ended(broker->pid), START_LIMIT_MS);
    if (!ready || program_ended(broker->pid))
        give_up("lendisd does not start");
}

void lendisd_start(struct lendisd *broker, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_config(broker, format, arguments);
    va_end(arguments);
    lendisd_launch(broker, true);
}

int lendisd_stop(struct lendisd *broker)
{
    int status;

    if (broker->pid == 0)
        return -1;
    kill(broker->pid, SIGTERM);
    kill(broker->pid, SIGCONT);
    status = program_wait(broker->pid, STOP_LIMIT_MS);
    if (status == -1)
        give_up("lendisd does not stop");
    broker->pid = 0;
    return status;
}

void lendisd_kill(struct lendisd *broker)
{
    if (broker->pid == 0)
        return;
    program_kill(broker->pid);
    broker->pid = 0;
}

void lendisd_restart(struct lendisd *broker)
{
    lendisd_kill(broker);
    lendisd_launch(broker, true);
}

void lendisd_pause(struct lendisd *broker)
{
    kill(broker->pid, SIGSTOP);
    if (waitpid(broker->pid, NULL, WUNTRACED) != broker->pid)
        give_up("waitpid: %s", strerror(errno));
}

void lendisd_continue(struct lendisd *broker)
{
    kill(broker->pid, SIGCONT);
}

bool lendisd_log_has(const struct lendisd *broker, const char *text)
{
    FILE *log = fopen(broker->log_path, "re");
    char line[4096];
    bool found = false;

    while (log && !found && fgets(line, sizeof line, log))
        found = strstr(line, text) != NULL;
    if (log)
        fclose(log);
    return found;
}

bool lendisd_logged(const struct lendisd *broker, const char *text)
{
    return eventually(lendisd_log_has(broker, text), LOG_LIMIT_MS);
}

bool lendisd_silent_about(const struct lendisd *broker, const char *text)
{
    return !eventually(lendisd_log_has(broker, text), LOG_SILENCE_MS);
}
