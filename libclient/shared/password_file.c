/* SPDX-License-Identifier: MIT */
/* Passwords in files: see password_file.h. */
#include "libclient/shared/password_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libclient/shared/descriptor.h"

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

/* All of it, or as much as there is room for. Results: 0; -errno. */
static int read_all(int fd, struct password *password)
{
    while (password->size < sizeof password->bytes) {
        ssize_t got =
            read(fd, password->bytes + password->size, sizeof password->bytes - password->size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        password->size += (size_t)got;
    }
    return 0;
}

static void take_off(struct password *password, char byte)
{
    if (password->size > 0 && password->bytes[password->size - 1] == byte)
        password->size--;
}

/* What is not the password, for its editors' sake. Results: why what remains is none; NULL: it is
 * one. */
static const char *strip(struct password *password)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};

    if (password->size >= sizeof mark && memcmp(password->bytes, mark, sizeof mark) == 0) {
        password->size -= sizeof mark;
        memmove(password->bytes, password->bytes + sizeof mark, password->size);
    }
    take_off(password, '\n');
    take_off(password, '\r');
    if (password->size == 0)
        return "is empty; the password is expected there";
    if (password->size > PASSWORD_MAX)
        return "is too long for a password; 4096 bytes are allowed";
    if (memchr(password->bytes, '\0', password->size))
        return "has a NUL byte in it; the password is expected there, as plain text";
    return NULL;
}
_Static_assert(PASSWORD_MAX == 4096, "as the message says");

/* Reads what is open as `fd`. Results as password_file_read(). */
static int read_open(int fd, const char *name, struct password *password, char *why)
{
    const char *wrong;
    struct stat stat;
    int result;

    if (fstat(fd, &stat) < 0)
        return -errno;
    if (!S_ISREG(stat.st_mode)) {
        snprintf(why, PASSWORD_FILE_WHY_SIZE, "%s is %s; a file with the password is expected",
                 name, kind_of(stat.st_mode));
        return -EINVAL;
    }
    password->world_readable = stat.st_mode & S_IROTH;
    result = read_all(fd, password);
    if (result != 0)
        return result;
    wrong = strip(password);
    if (!wrong)
        return 0;
    snprintf(why, PASSWORD_FILE_WHY_SIZE, "%s %s", name, wrong);
    return -EINVAL;
}

int password_file_read(const char *path, const char *name, struct password *password,
                       char why[PASSWORD_FILE_WHY_SIZE])
{
    int fd = descriptor_open(path, O_NOCTTY | O_NONBLOCK), result = fd < 0 ? -errno : 0;

    password->size = 0;
    password->world_readable = false;
    why[0] = '\0';
    if (result == 0) {
        result = read_open(fd, name, password, why);
        close(fd);
    }
    if (result == 0)
        return 0;
    password_wipe(password);
    if (!why[0])
        snprintf(why, PASSWORD_FILE_WHY_SIZE, "cannot read %s: %s", name,
                 strerrordesc_np(-result) ? strerrordesc_np(-result) : "unknown error");
    return result;
}

void password_wipe(struct password *password)
{
    explicit_bzero(password->bytes, sizeof password->bytes);
    password->size = 0;
}
