/* SPDX-License-Identifier: MIT */
/* Opening a connection without a broker: see dial.h. */
#include "dial.h"

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
#include "client.h"
#include "shared/descriptor.h"

#define PASSWORD_MAX 4096u /* as lendisd has it */
#define DB_MAX       65535u
/* AUTH, SELECT and CLIENT SETNAME with their lengths, and a user's name. */
#define HANDSHAKE_MAX (PASSWORD_MAX + 512u)
#define USERNAME_MAX  128u

/* ---- the address ---- */

/* A database's number at the end of an address. False: it is none. */
static bool parse_db(const char *text, uint32_t *db)
{
    char *end;
    unsigned long value;

    if (*text < '0' || *text > '9')
        return false;
    value = strtoul(text, &end, 10);
    *db = (uint32_t)value;
    return *end == '\0' && value <= DB_MAX;
}

static bool parse_unix(const char *rest, struct dial_address *address)
{
    const char *query = strchr(rest, '?');
    size_t length = query ? (size_t)(query - rest) : strlen(rest);

    if (*rest != '/' || length >= sizeof((struct sockaddr_un *)0)->sun_path)
        return false;
    if (query && (strncmp(query, "?db=", 4) != 0 || !parse_db(query + 4, &address->db)))
        return false;
    address->path = strndup(rest, length);
    return true;
}

static bool parse_tcp(const char *rest, struct dial_address *address)
{
    size_t length = strcspn(rest, "/");
    const char *slash = rest + length, *close = *rest == '[' ? strchr(rest, ']') : NULL;
    const char *colon = close ? close + 1 : memchr(rest, ':', length);

    if (memchr(rest, '@', length) || (*rest == '[' && !close))
        return false;
    if (slash[0] == '/' && slash[1] != '\0' && !parse_db(slash + 1, &address->db))
        return false;
    if (colon && colon < slash && (*colon != ':' || slash - colon < 2))
        return false;
    if (!colon || colon >= slash)
        address->port = strdup("6379");
    else
        address->port = strndup(colon + 1, (size_t)(slash - colon - 1));
    if (close)
        address->host = strndup(rest + 1, (size_t)(close - rest - 1));
    else
        address->host = strndup(rest, colon && colon < slash ? (size_t)(colon - rest) : length);
    return !address->host || *address->host != '\0';
}

static bool copy(const char *text, char **to)
{
    *to = text ? strdup(text) : NULL;
    return !text || *to;
}

int dial_address_parse(const char *url, const char *username, const char *password_file,
                       struct dial_address *address)
{
    struct dial_address made = {0};
    bool known;

    if (strncmp(url, "unix://", 7) == 0)
        known = parse_unix(url + 7, &made);
    else
        known = strncmp(url, "redis://", 8) == 0 && parse_tcp(url + 8, &made);
    if (!known || (username && (!password_file || strlen(username) >= USERNAME_MAX))) {
        dial_address_free(&made);
        return -EINVAL;
    }
    if ((!made.path && (!made.host || !made.port)) || !copy(username, &made.username) ||
        !copy(password_file, &made.password_file)) {
        dial_address_free(&made);
        return -ENOMEM;
    }
    *address = made;
    return 0;
}

void dial_address_free(struct dial_address *address)
{
    free(address->host);
    free(address->port);
    free(address->path);
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

/* One attempt. Results: 0 and *fd; -EMFILE and the like; LENDIS_E_DOWN. */
static int connect_one(int family, const struct sockaddr *address, socklen_t size,
                       int64_t deadline_ns, int *fd)
{
    int made = descriptor_socket(family, SOCK_STREAM);
    int error = 0;
    socklen_t error_size = sizeof error;

    if (made < 0)
        return errno == EAFNOSUPPORT ? LENDIS_E_DOWN : -errno;
    if (connect(made, address, size) == 0 ||
        (errno == EINPROGRESS && ready(made, POLLOUT, deadline_ns) &&
         getsockopt(made, SOL_SOCKET, SO_ERROR, &error, &error_size) == 0 && error == 0)) {
        *fd = made;
        return 0;
    }
    close(made);
    return LENDIS_E_DOWN;
}

static int connect_tcp(const struct dial_address *address, int64_t deadline_ns, int *fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found;
    int result;

    result = getaddrinfo(address->host, address->port, &hints, &found);
    if (result == EAI_ADDRFAMILY || result == EAI_NONAME) {
        /* AI_ADDRCONFIG leaves ::1 out where there is no other address of IPv6: getaddrinfo(3). */
        hints.ai_flags = 0;
        result = getaddrinfo(address->host, address->port, &hints, &found);
    }
    if (result != 0)
        return result == EAI_MEMORY ? -ENOMEM : LENDIS_E_DOWN;
    result = LENDIS_E_DOWN;
    for (const struct addrinfo *each = found; each && result == LENDIS_E_DOWN; each = each->ai_next)
        result = connect_one(each->ai_family, each->ai_addr, each->ai_addrlen, deadline_ns, fd);
    freeaddrinfo(found);
    return result;
}

static int connect_unix(const char *path, int64_t deadline_ns, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1);
    return connect_one(AF_UNIX, (struct sockaddr *)&address, sizeof address, deadline_ns, fd);
}

/* ---- logging in ---- */

/* What is in the file, without the newline at its end. Results: its length; -errno; -EINVAL, none or too long. */
static ssize_t read_password(const char *path, char password[PASSWORD_MAX])
{
    int file = descriptor_open(path, O_NOCTTY);
    ssize_t got, size = 0;
    int error;

    if (file < 0)
        return -errno;
    while ((got = read(file, password + size, PASSWORD_MAX - (size_t)size)) > 0)
        size += got;
    error = errno;
    close(file);
    if (got < 0)
        return -error;
    if (size > 0 && password[size - 1] == '\n')
        size--;
    return size > 0 && (size_t)size < PASSWORD_MAX ? size : -EINVAL;
}

static size_t add_word(char *to, const char *word, size_t size)
{
    size_t at = (size_t)sprintf(to, "$%zu\r\n", size);

    memcpy(to + at, word, size);
    memcpy(to + at + size, "\r\n", 2);
    return at + size + 2;
}

/* Writes the commands, and how many there are. Results: their size; -errno. */
static ssize_t make_handshake(const struct dial_address *address, char *to, unsigned *count)
{
    char password[PASSWORD_MAX], db[16];
    size_t size = 0;

    *count = 2;
    if (address->password_file) {
        ssize_t length = read_password(address->password_file, password);

        if (length < 0)
            return length;
        ++*count;
        size += (size_t)sprintf(to, "*%d\r\n$4\r\nAUTH\r\n", address->username ? 3 : 2);
        if (address->username)
            size += add_word(to + size, address->username, strlen(address->username));
        size += add_word(to + size, password, (size_t)length);
        explicit_bzero(password, sizeof password);
    }
    size += (size_t)sprintf(to + size, "*2\r\n$6\r\nSELECT\r\n");
    size += add_word(to + size, db, (size_t)sprintf(db, "%u", address->db));
    size += (size_t)sprintf(to + size,
                            "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$13\r\nlendis-direct\r\n");
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

/* `count` times OK, and nothing else. */
static bool receive_ok(int fd, unsigned count, int64_t deadline_ns)
{
    char expected[3 * 5 + 1] = "", got[sizeof expected];
    size_t size = 5 * (size_t)count, have = 0;

    for (unsigned i = 0; i < count; i++)
        strcat(expected, "+OK\r\n");
    while (have < size) {
        ssize_t part = recv(fd, got + have, size - have, MSG_DONTWAIT);

        if (part > 0)
            have += (size_t)part;
        else if (!(part < 0 &&
                   (errno == EINTR || (errno == EAGAIN && ready(fd, POLLIN, deadline_ns)))))
            return false;
        if (memcmp(got, expected, have) != 0)
            return false; /* an error reply */
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
    in = send_all(fd, commands, (size_t)size, deadline_ns) && receive_ok(fd, count, deadline_ns);
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

    result = address->path ? connect_unix(address->path, deadline_ns, &made)
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
