/* SPDX-License-Identifier: MIT */
/* Opening a connection without a broker: see dial.h. */
#include "libclient/connection/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "libclient/clock.h"
#include "libclient/error.h"
#include "libclient/pool.h"
#include "libclient/shared/descriptor.h"
#include "libclient/shared/password_file.h"
#include "libclient/shared/request.h"

/* AUTH, SELECT and CLIENT SETNAME with their lengths, and a user's name. */
#define HANDSHAKE_MAX (PASSWORD_MAX + 512u)
#define USERNAME_MAX  128u

/* ---- the address ---- */

static bool copy(const char *text, char **to)
{
    *to = text ? strdup(text) : NULL;
    return !text || *to;
}

/* What is in the file, with a warning or an error noted for the caller. */
static int read_password(const struct dial_address *address, struct password *password)
{
    char why[PASSWORD_FILE_WHY_SIZE];
    int result = password_file_read(address->password_file, address->password_file, password, why);

    if (result != 0)
        error_note(result, "fallback_password_file: %s", why);
    else if (password->world_readable)
        error_note(0, "fallback_password_file: %s can be read by every user",
                   address->password_file);
    return result;
}

/* A file that is not there yet may come: it is read for each connection. */
static int check_password(const struct dial_address *address)
{
    struct password password;
    int result = address->password_file ? read_password(address, &password) : 0;

    if (result == 0 && address->password_file)
        password_wipe(&password);
    return result == -EINVAL ? result : 0;
}

int dial_address_parse(const char *url, const char *username, const char *password_file,
                       struct dial_address *address)
{
    struct dial_address made = {0};
    char why[REDIS_URL_WHY_SIZE];
    int result;

    result = redis_url_parse(url, &made.url, why);
    if (result != 0) {
        error_note(result, "fallback_url: %s", why);
        return result;
    }
    if (made.url.tls) {
        error_note(-EINVAL,
                   "fallback_url: \"%s\": TLS is the broker's; a process by itself can "
                   "only use redis:// or unix://",
                   url);
        redis_url_free(&made.url);
        return -EINVAL;
    }
    if (username && (!password_file || strlen(username) >= USERNAME_MAX)) {
        error_note(-EINVAL, "fallback_username: %s",
                   password_file ? "it is too long" : "it needs fallback_password_file");
        result = -EINVAL;
    } else if (!copy(url, &made.text) || !copy(username, &made.username) ||
               !copy(password_file, &made.password_file)) {
        result = -ENOMEM;
    }
    if (result == 0)
        result = check_password(&made);
    if (result == 0)
        *address = made;
    else
        dial_address_free(&made);
    return result;
}

void dial_address_free(struct dial_address *address)
{
    redis_url_free(&address->url);
    free(address->text);
    free(address->username);
    free(address->password_file);
    *address = (struct dial_address){0};
}

/* ---- connecting ---- */

static bool ready(int fd, short events, int64_t deadline_ns)
{
    for (;;) {
        struct pollfd waited = {.fd = fd, .events = events};
        int64_t left_ns = deadline_ns - clock_now_ns();
        int count;

        if (left_ns <= 0)
            return false;
        count = poll(&waited, 1,
                     left_ns > INT64_C(3600000000000) ? 3600000 : (int)(left_ns / 1000000 + 1));
        if (count > 0)
            return true;
        if (count < 0 && errno != EINTR)
            return false;
    }
}

/* Waits for connect(2). Results: 0; its errno. */
static int finish_connect(int fd, int64_t deadline_ns)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (!ready(fd, POLLOUT, deadline_ns))
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

/* One attempt. Results: 0 and *fd; -EMFILE and the like; LENDIS_E_DOWN. */
static int connect_one(const struct dial_address *address, int family, const struct sockaddr *to,
                       socklen_t size, int64_t deadline_ns, int *fd)
{
    int made = descriptor_socket(family, SOCK_STREAM), error;

    if (made < 0)
        return errno == EAFNOSUPPORT ? LENDIS_E_DOWN : -errno;
    error = connect(made, to, size) == 0 ? 0 : errno;
    if (error == EINPROGRESS)
        error = finish_connect(made, deadline_ns);
    if (error == 0) {
        *fd = made;
        return 0;
    }
    close(made);
    error_note(LENDIS_E_DOWN, "%s: %s", address->text, strerrordesc_np(error));
    return LENDIS_E_DOWN;
}

static int connect_tcp(const struct dial_address *address, int64_t deadline_ns, int *fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found;
    char port[8];
    int result;

    snprintf(port, sizeof port, "%u", address->url.port);
    result = getaddrinfo(address->url.host, port, &hints, &found);
    if (result == EAI_ADDRFAMILY || result == EAI_NONAME) {
        /* AI_ADDRCONFIG leaves ::1 out where there is no other address of IPv6: getaddrinfo(3). */
        hints.ai_flags = 0;
        result = getaddrinfo(address->url.host, port, &hints, &found);
    }
    if (result != 0) {
        error_note(LENDIS_E_DOWN, "%s: %s", address->text, gai_strerror(result));
        return result == EAI_MEMORY ? -ENOMEM : LENDIS_E_DOWN;
    }
    result = LENDIS_E_DOWN;
    for (const struct addrinfo *each = found; each && result == LENDIS_E_DOWN; each = each->ai_next)
        result =
            connect_one(address, each->ai_family, each->ai_addr, each->ai_addrlen, deadline_ns, fd);
    freeaddrinfo(found);
    return result;
}

static int connect_unix(const struct dial_address *address, int64_t deadline_ns, int *fd)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};

    memcpy(local.sun_path, address->url.path, strlen(address->url.path) + 1);
    return connect_one(address, AF_UNIX, (struct sockaddr *)&local, sizeof local, deadline_ns, fd);
}

/* ---- logging in ---- */

static void add_login(const char *username, const struct password *password, char *to, size_t *size)
{
    if (username)
        request_add(to, size, 3, (const char *const[]){"AUTH", username, password->bytes},
                    (const size_t[]){4, strlen(username), password->size});
    else
        request_add(to, size, 2, (const char *const[]){"AUTH", password->bytes},
                    (const size_t[]){4, password->size});
}

/* Writes the commands, and how many there are. Results: their size; -errno. */
static ssize_t make_handshake(const struct dial_address *address, char *to, unsigned *count)
{
    struct password password;
    char db[16];
    size_t size = 0;

    *count = 2;
    if (address->password_file) {
        int result = read_password(address, &password);

        if (result != 0)
            return result;
        add_login(address->username, &password, to, &size);
        ++*count;
        password_wipe(&password);
    }
    snprintf(db, sizeof db, "%u", address->url.db);
    request_add(to, &size, 2, (const char *const[]){"SELECT", db}, NULL);
    request_add(to, &size, 3, (const char *const[]){"CLIENT", "SETNAME", "lendis-direct"}, NULL);
    return (ssize_t)size;
}

static bool send_all(int fd, const char *data, size_t size, int64_t deadline_ns)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (!(sent < 0 &&
                     (errno == EINTR || (errno == EAGAIN && ready(fd, POLLOUT, deadline_ns))))) {
            return false;
        }
    }
    return true;
}

/* The start of what does not belong there: an error reply's line. */
static void note_refusal(const struct dial_address *address, const char *got, size_t size)
{
    char line[128];
    size_t length = 0;

    while (length < size && length < sizeof line - 1 && got[length] >= ' ' && got[length] < 0x7f) {
        line[length] = got[length];
        length++;
    }
    line[length] = '\0';
    error_note(LENDIS_E_DOWN, "%s: %s", address->text, length > 0 ? line : "no reply");
}

/* `count` times OK, and nothing else. */
static bool receive_ok(const struct dial_address *address, int fd, unsigned count,
                       int64_t deadline_ns)
{
    char expected[3 * 5 + 1] = "", got[256];
    size_t size = 5 * (size_t)count, have = 0;

    for (unsigned i = 0; i < count; i++)
        strcat(expected, "+OK\r\n");
    while (have < size) {
        ssize_t part = recv(fd, got + have, sizeof got - have, MSG_DONTWAIT);

        if (part > 0)
            have += (size_t)part;
        else if (!(part < 0 &&
                   (errno == EINTR || (errno == EAGAIN && ready(fd, POLLIN, deadline_ns)))))
            part = 0;
        if (part == 0 || have > size || memcmp(got, expected, have) != 0) {
            size_t right = 0;

            while (right < have && right < size && got[right] == expected[right])
                right++;
            right -= right % 5;
            note_refusal(address, got + right, have - right);
            return false;
        }
    }
    return true;
}

static int shake_hands(const struct dial_address *address, int fd, int64_t deadline_ns)
{
    char commands[HANDSHAKE_MAX];
    unsigned count;
    ssize_t size = make_handshake(address, commands, &count);
    bool in;

    if (size < 0)
        return (int)size;
    in = send_all(fd, commands, (size_t)size, deadline_ns) &&
         receive_ok(address, fd, count, deadline_ns);
    explicit_bzero(commands, sizeof commands);
    return in ? 0 : LENDIS_E_DOWN;
}

void dial_prepare(int fd)
{
    static const struct timeval limit = {.tv_usec = CONNECTION_RECEIVE_MS * 1000};
    int flags = fcntl(fd, F_GETFL), on = 1;

    if (flags >= 0 && (flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a Unix socket */
}

int dial(const struct dial_address *address, int64_t deadline_ns, int *fd)
{
    int made, result;

    result = address->url.path ? connect_unix(address, deadline_ns, &made)
                               : connect_tcp(address, deadline_ns, &made);
    if (result != 0)
        return result;
    result = shake_hands(address, made, deadline_ns);
    if (result != 0) {
        close(made);
        return result;
    }
    dial_prepare(made);
    *fd = made;
    return 0;
}
