/* SPDX-License-Identifier: MIT */
/* A TLS server that misbehaves: see tls_server.h. */
#include "tests/support/tls_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "broker/testbed/internal.h"

#define BUFFER_SIZE 65536

/* One connection, in its process. */
struct peer {
    const struct tls_server *server;
    SSL *ssl;
    int fd, backend;
};

static void end(int fd, bool reset)
{
    const struct linger hard = {.l_onoff = 1};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    _exit(0);
}

/* Until the client has gone. */
static void wait_for_end(int fd)
{
    char rest[4096];

    while (recv(fd, rest, sizeof rest, 0) > 0)
        ;
    _exit(0);
}

/* ---- beginnings ---- */

static void send_all(int fd, const void *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) < 0)
        _exit(0);
}

/* Records of type handshake with a message that has no end. */
static void send_endless(int fd)
{
    static char record[5 + 16384] = {22, 3, 3, 0x40, 0, 11, 0x7f, (char)0xff, (char)0xff};

    for (int i = 0; i < 4096; i++)
        send_all(fd, record, sizeof record);
    wait_for_end(fd);
}

static void misbehave(int fd, enum tls_start start)
{
    static const char hello[] = {22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3};
    char first[BUFFER_SIZE];

    if (start != TLS_START_SILENT)
        (void)!recv(fd, first, sizeof first, 0);
    switch (start) {
    case TLS_START_HALF:
        send_all(fd, hello, sizeof hello);
        break;
    case TLS_START_CLOSE:
    case TLS_START_RESET:
        end(fd, start == TLS_START_RESET);
        break;
    case TLS_START_PLAIN:
        send_all(fd, "-ERR unknown command\r\n", 22);
        break;
    case TLS_START_ENDLESS:
        send_endless(fd);
        break;
    default:
        break;
    }
    wait_for_end(fd);
}

/* ---- acts ---- */

/* What it receives cannot be decrypted, so it says goodbye by an alert. */
static void send_alert(struct peer *peer)
{
    static const char record[] = {23, 3,  3,  0,  32, 1,  2,  3,  4,  5,  6,  7,  8,
                                  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                  22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
    BIO *bio = BIO_new_mem_buf(record, sizeof record);
    char byte;

    SSL_set0_rbio(peer->ssl, bio);
    SSL_read(peer->ssl, &byte, 1);
    end(peer->fd, false);
}

/* `data` is the answer. */
static void act(struct peer *peer, const char *data, int size)
{
    enum tls_act what = (enum tls_act)atomic_exchange(&peer->server->control->act, TLS_ACT_NONE);

    if (what != TLS_ACT_NONE)
        atomic_fetch_add(&peer->server->control->acted, 1);
    switch (what) {
    case TLS_ACT_KEY_UPDATE:
        SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED);
        break;
    case TLS_ACT_TICKETS:
        SSL_new_session_ticket(peer->ssl);
        SSL_new_session_ticket(peer->ssl);
        break;
    case TLS_ACT_RENEGOTIATE:
        SSL_renegotiate(peer->ssl);
        SSL_do_handshake(peer->ssl);
        break;
    case TLS_ACT_GOODBYE:
        SSL_shutdown(peer->ssl);
        end(peer->fd, false);
        break;
    case TLS_ACT_CUT:
        SSL_write(peer->ssl, data, size / 2);
        end(peer->fd, false);
        break;
    case TLS_ACT_FIN:
        end(peer->fd, false);
        break;
    case TLS_ACT_ALERT:
        send_alert(peer);
        break;
    case TLS_ACT_GARBAGE:
        send_all(peer->fd, "this is no record at all", 24);
        wait_for_end(peer->fd);
        break;
    case TLS_ACT_NONE:
        break;
    }
}

/* ---- a connection ---- */

/* False: the client has ended it. */
static bool pass_request(struct peer *peer)
{
    char data[BUFFER_SIZE];

    do {
        int got = SSL_read(peer->ssl, data, sizeof data);

        if (got <= 0) {
            int error = SSL_get_error(peer->ssl, got);

            if (error == SSL_ERROR_ZERO_RETURN)
                atomic_fetch_add(&peer->server->control->goodbyes, 1);
            return error == SSL_ERROR_WANT_READ;
        }
        send_all(peer->backend, data, (size_t)got);
    } while (SSL_pending(peer->ssl) > 0);
    return true;
}

static bool pass_answer(struct peer *peer)
{
    char data[BUFFER_SIZE];
    ssize_t got = recv(peer->backend, data, sizeof data, 0);

    if (got <= 0)
        return false;
    act(peer, data, (int)got);
    return SSL_write(peer->ssl, data, (int)got) > 0;
}

static int connect_backend(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        _exit(1);
    return fd;
}

static void serve(const struct tls_server *server, SSL_CTX *context, int fd)
{
    struct peer peer = {.server = server, .ssl = SSL_new(context), .fd = fd};
    struct pollfd waited[2] = {{.fd = fd, .events = POLLIN}, {.events = POLLIN}};
    bool good = true;

    SSL_set_fd(peer.ssl, fd);
    if (SSL_accept(peer.ssl) != 1)
        _exit(0);
    atomic_fetch_add(&server->control->served, 1);
    if (SSL_session_reused(peer.ssl))
        atomic_fetch_add(&server->control->resumed, 1);
    waited[1].fd = peer.backend = connect_backend(server->backend);
    while (good && poll(waited, 2, -1) > 0) {
        if (waited[0].revents)
            good = pass_request(&peer);
        if (good && waited[1].revents)
            good = pass_answer(&peer);
    }
    _exit(0);
}

/* ---- the server ---- */

static SSL_CTX *make_context(const struct tls_server *server)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context || SSL_CTX_use_certificate_chain_file(context, server->as->file) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, server->as->key_file, SSL_FILETYPE_PEM) != 1)
        give_up("the TLS server has no certificate");
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
    if (server->version) {
        SSL_CTX_set_min_proto_version(context, server->version);
        SSL_CTX_set_max_proto_version(context, server->version);
    }
    return context;
}

static void run(const struct tls_server *server, int listener)
{
    SSL_CTX *context = make_context(server);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        enum tls_start start = (enum tls_start)atomic_load(&server->control->start);

        if (fd < 0)
            continue;
        atomic_fetch_add(&server->control->accepted, 1);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            if (start == TLS_START_SERVE)
                serve(server, context, fd);
            misbehave(fd, start);
        }
        close(fd);
    }
}

void tls_server_start(struct tls_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    server->control = mmap(NULL, sizeof *server->control, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (server->control == MAP_FAILED || listener < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        give_up("the TLS server cannot be started: %s", strerror(errno));
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof server->url, "rediss://127.0.0.1:%d/0", server->port);
    server->pid = fork();
    if (server->pid == 0)
        run(server, listener);
    close(listener);
    if (server->pid < 0)
        give_up("fork: %s", strerror(errno));
}

void tls_server_stop(struct tls_server *server)
{
    if (server->pid > 0)
        program_kill(server->pid);
    server->pid = 0;
    if (server->control)
        munmap(server->control, sizeof *server->control);
    server->control = NULL;
}
