/* SPDX-License-Identifier: MIT */
/*
 * A broker and workers that do as they like (I5): its real message handling and pools, on a real
 * event loop in this process, with a Redis of a few lines. The input is what up to CLIENTS
 * processes do: proper messages, broken ones, descriptors that nobody asked for, answers left
 * unread, and stores to anywhere in the pool's shared memory. Whatever it is:
 *
 *   1  Nothing crashes, and no answer is anything but a proper message.
 *   2  Nobody gets a descriptor without having attached, or of a pool that he may not use.
 *   3  When they have hung up, all places are free, and a worker that keeps to the rules can
 *      attach, map what it is given, and is told the truth.
 *   4  In the end no descriptor is left over.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "broker/daemon/control.h"
#include "broker/pool/internal.h"
#include "broker/workers/worker.h"
#include "lendis.h"
#include "lendis/wire.h"
#include "tests/fuzz/fuzz.h"

#define CLIENTS     4u
#define WORKER_MAX  3u
#define CONNECTIONS 2u
#define PLACES      3u /* demand_places() of that */
#define SERVED_MAX  64u
#define STEPS_MAX   400u

/* ---- the input ---- */

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take_byte(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static uint32_t take_number(struct input *input)
{
    uint32_t number = take_byte(input);

    /* Small ones are what is most often meant. */
    if (number >= 0xf0)
        for (int i = 0; i < 3; i++)
            number = number << 8 | take_byte(input);
    return number;
}

static size_t take_bytes(struct input *input, void *to, size_t size)
{
    if (size > input->size)
        size = input->size;
    memcpy(to, input->data, size);
    input->data += size;
    input->size -= size;
    return size;
}

/* ---- a Redis ---- */

struct served {
    int fd;
    bool greeted;
};

struct redis {
    int listener;
    struct served served[SERVED_MAX];
    unsigned count;
};

/* Answers a whole handshake at once, and COMMAND after it. */
static void redis_answer(struct served *served)
{
    static const char greeting[] = "+OK\r\n+PONG\r\n", list[] = "*0\r\n";
    char request[1024];
    ssize_t got = recv(served->fd, request, sizeof request, MSG_DONTWAIT);

    if (got <= 0)
        return;
    if (!served->greeted)
        got = send(served->fd, greeting, sizeof greeting - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        got = send(served->fd, list, sizeof list - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    served->greeted = true;
}

static void redis_serve(struct redis *redis)
{
    int fd;

    while (redis->count < SERVED_MAX &&
           (fd = accept4(redis->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        redis->served[redis->count++] = (struct served){.fd = fd};
    for (unsigned i = 0; i < redis->count; i++)
        redis_answer(&redis->served[i]);
}

/* ---- the broker ---- */

struct host {
    sd_event *event;
    struct dialler dialler;
    struct background background;
    struct catalog catalog;
    int catalog_fd;
    struct catalog previous; /* there is none */
    struct fd_store store;   /* nobody keeps anything */
    int listener;
    struct sockaddr_un address;
    socklen_t address_size;
    struct pool_environment environment;
    struct broker_pool pools[2];
    struct workers workers;
    struct control control;
    struct redis redis;
};

static char redis_path[64];
static struct id_range nobody = {4000000000u, 4000000000u};
static struct pool_config configs[2] = {
    {.name = "open", .enabled = true, .size = CONNECTIONS, .min_idle = 1},
    {.name = "closed", .enabled = true, .size = 1, .allow_uids = {&nobody, 1}},
};

static void nothing_changes(void *context)
{
    (void)context;
}

/* Lets the broker work until it has nothing to do. */
static void run(struct host *host)
{
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        redis_serve(&host->redis);
        if (sd_event_run(host->event, 0) <= 0)
            break;
    }
}

static void listen_for_workers(struct host *host)
{
    host->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    host->address = (struct sockaddr_un){.sun_family = AF_UNIX};
    host->address_size = sizeof host->address;
    /* Without a name the kernel finds one: unix(7), autobind. */
    REQUIRE(bind(host->listener, (struct sockaddr *)&host->address, sizeof(sa_family_t)) == 0);
    REQUIRE(getsockname(host->listener, (struct sockaddr *)&host->address, &host->address_size) ==
            0);
    REQUIRE(listen(host->listener, 64) == 0);
}

static void listen_as_redis(struct redis *redis)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *redis = (struct redis){0};
    strcpy(address.sun_path, redis_path);
    unlink(redis_path);
    redis->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(bind(redis->listener, (struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(listen(redis->listener, 64) == 0);
}

static void host_start(struct host *host)
{
    *host = (struct host){0};
    listen_as_redis(&host->redis);
    REQUIRE(sd_event_new(&host->event) >= 0);
    REQUIRE(catalog_new(0x1234567890abcdefu, WORKER_MAX, &host->catalog_fd, &host->catalog) == 0);
    REQUIRE(background_start(&host->background, host->event) == 0);
    REQUIRE(dialler_init(&host->dialler, host->event, 8, 0) == 0);
    host->environment = (struct pool_environment){.event = host->event,
                                                  .dialler = &host->dialler,
                                                  .background = &host->background,
                                                  .catalog = &host->catalog,
                                                  .previous = &host->previous,
                                                  .store = &host->store,
                                                  .worker_max = WORKER_MAX,
                                                  .changed = nothing_changes};
    for (uint32_t i = 0; i < 2; i++)
        REQUIRE(broker_pool_start(&host->pools[i], &configs[i], i, &host->environment) == 0);
    REQUIRE(workers_init(&host->workers, host->event, &host->catalog, host->catalog_fd, host->pools,
                         2) == 0);
    REQUIRE(control_init(&host->control, host->event, host->pools, 2) == 0);
    host->workers.control = control_take;
    host->workers.control_context = &host->control;
    listen_for_workers(host);
    REQUIRE(workers_listen(&host->workers, host->listener) == 0);
    run(host);
    REQUIRE(host->pools[0].owner.open == 1);
}

static void host_stop(struct host *host)
{
    control_free(&host->control);
    for (uint32_t i = 0; i < 2; i++)
        broker_pool_stop(&host->pools[i]);
    workers_free(&host->workers);
    background_stop(&host->background);
    dialler_free(&host->dialler);
    sd_event_unref(host->event);
    close(host->listener);
    close(host->catalog_fd);
    catalog_unmap(&host->catalog);
    for (unsigned i = 0; i < host->redis.count; i++)
        close(host->redis.served[i].fd);
    close(host->redis.listener);
    unlink(redis_path);
}

/* ---- workers ---- */

struct client {
    int fd; /* -1: none */
    bool attached;
};

static void client_connect(struct host *host, struct client *client)
{
    client->attached = false;
    client->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(client->fd >= 0);
    if (connect(client->fd, (struct sockaddr *)&host->address, host->address_size) < 0) {
        close(client->fd);
        client->fd = -1;
    }
}

static void say_goodbye(const struct client *client)
{
    struct wire_goodbye goodbye;

    wire_header(&goodbye.header, WIRE_GOODBYE, sizeof goodbye);
    wire_send(client->fd, &goodbye, -1);
}

/* Whoever does not say goodbye keeps its place, for its process, which is this one, lives on. */
static void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

static void send_raw(const struct client *client, const void *message, size_t size, int descriptors)
{
    struct iovec part = {.iov_base = (void *)message, .iov_len = size};
    union {
        char space[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};

    if (descriptors > 0) {
        struct cmsghdr *head;

        packet.msg_control = control.space;
        packet.msg_controllen = CMSG_SPACE((size_t)descriptors * sizeof(int));
        head = CMSG_FIRSTHDR(&packet);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN((size_t)descriptors * sizeof(int));
        for (int i = 0; i < descriptors; i++)
            memcpy(CMSG_DATA(head) + (size_t)i * sizeof(int), &client->fd, sizeof(int));
    }
    if (sendmsg(client->fd, &packet, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return; /* hung up on, or not read from */
}

static void send_hello(const struct client *client, uint8_t which, int descriptors)
{
    static const char *const names[] = {"open", "open", "closed", "unknown", ""};
    struct wire_hello hello = {0};

    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    strcpy(hello.pool, names[which % 5]);
    if (which > 0xf0)
        memset(hello.pool, 'x', sizeof hello.pool);
    send_raw(client, &hello, sizeof hello, descriptors);
}

static void send_fetch(const struct client *client, struct input *input, int descriptors)
{
    struct wire_fetch fetch = {0};

    wire_header(&fetch.header, WIRE_FETCH, sizeof fetch);
    fetch.what = take_number(input);
    fetch.index = take_number(input);
    fetch.generation = take_number(input);
    send_raw(client, &fetch, sizeof fetch, descriptors);
}

/* From us, who are the broker's user, so it is done. */
static void send_control(const struct client *client, struct input *input, int descriptors)
{
    static const char *const names[] = {"", "open", "closed", "unknown"};
    struct wire_control control = {.connection = WIRE_ANY, .pid = WIRE_ANY};
    uint8_t bend = take_byte(input);

    wire_header(&control.header, WIRE_CONTROL, sizeof control);
    control.verb = take_byte(input) % 10;
    strcpy(control.pool, names[bend % 4]);
    control.timeout_ms = take_byte(input);
    if (bend & 4)
        control.connection = take_number(input) % (CONNECTIONS + 1);
    if (bend & 8)
        control.pid = (uint32_t)getpid();
    if (bend & 16)
        take_bytes(input, control.key, sizeof control.key);
    if (bend & 32)
        take_bytes(input, control.value, sizeof control.value);
    if (bend & 64)
        take_bytes(input, control.pool, sizeof control.pool);
    if (bend & 128)
        control.timeout_ms = take_number(input);
    send_raw(client, &control, sizeof control, descriptors);
}

/* The header of some message, right or nearly so, and any bytes behind it. */
static void send_crooked(const struct client *client, struct input *input)
{
    union {
        struct wire_header header;
        char bytes[600];
    } message = {{0}};
    uint8_t bend = take_byte(input);
    size_t size = sizeof message.header + take_number(input) % 500;

    wire_header(&message.header, (enum wire_type)(take_byte(input) % 9), size);
    if (bend & 1)
        message.header.magic ^= 1u << take_byte(input) % 32;
    if (bend & 2)
        message.header.size = (uint16_t)take_number(input);
    if (bend & 4)
        message.header.abi_major += take_byte(input);
    take_bytes(input, message.bytes + sizeof message.header, size - sizeof message.header);
    send_raw(client, &message, bend & 8 ? take_number(input) % (size + 1) : size, 0);
}

static void send_bytes(const struct client *client, struct input *input)
{
    char message[256];
    size_t size = take_bytes(input, message, take_byte(input));

    send_raw(client, message, size, 0);
}

static bool is_same(int fd, int other)
{
    struct stat stat, other_stat;

    return fstat(fd, &stat) == 0 && fstat(other, &other_stat) == 0 &&
           stat.st_dev == other_stat.st_dev && stat.st_ino == other_stat.st_ino;
}

/* Whether `fd` is what an answer says that it is, and of the pool that can be attached to. */
static bool is_as_told(const struct host *host, const struct wire_descriptor *answer, int fd)
{
    const struct broker_pool *pool = &host->pools[0];

    switch (answer->what) {
    case WIRE_CATALOG:
        return is_same(fd, host->catalog_fd);
    case WIRE_SEGMENT:
        return is_same(fd, pool->segment_fd);
    case WIRE_DOORBELL:
        return is_same(fd, pool->doorbell); /* of all eventfds, alas */
    case WIRE_POLL_WAKEUP:                  /* of all timerfds */
        return answer->index < POLL_WAKEUPS &&
               is_same(fd, pool->parts->poll_wakeups.fds[answer->index] - 1);
    case WIRE_CONNECTION: /* it may be closed by now */
        return answer->index < PLACES &&
               (pool->connections[answer->index].fd < 0 ||
                pool->connections[answer->index].generation != answer->generation ||
                is_same(fd, pool->connections[answer->index].fd));
    default:
        return false;
    }
}

/* Takes an answer, and checks it as far as it can be. */
static void read_answer(const struct host *host, struct client *client)
{
    _Alignas(8) char message[WIRE_MAX + 1];
    const struct wire_descriptor *descriptor = (const void *)message;
    const struct wire_welcome *welcome = (const void *)message;
    const struct wire_outcome *outcome = (const void *)message;
    const struct wire_notice *notice = (const void *)message;
    int fd = -1, got = wire_receive(client->fd, message, sizeof message, &fd, 0);

    if (got <= 0) {
        REQUIRE(fd < 0);
        return;
    }
    if (wire_is(message, (size_t)got, WIRE_WELCOME, sizeof *welcome)) {
        REQUIRE(fd < 0 && !client->attached);
        REQUIRE(memchr(welcome->text, 0, sizeof welcome->text));
        client->attached = welcome->result == 0;
        REQUIRE(!client->attached || (welcome->worker < WORKER_MAX && welcome->pool == 0 &&
                                      welcome->instance == host->catalog.instance));
    } else if (wire_is(message, (size_t)got, WIRE_OUTCOME, sizeof *outcome)) {
        REQUIRE(fd < 0 && !client->attached && outcome->result <= 0);
        REQUIRE(memchr(outcome->text, 0, sizeof outcome->text));
    } else if (wire_is(message, (size_t)got, WIRE_NOTICE, sizeof *notice)) {
        REQUIRE(fd < 0 && !client->attached && memchr(notice->text, 0, sizeof notice->text));
    } else {
        REQUIRE(wire_is(message, (size_t)got, WIRE_DESCRIPTOR, sizeof *descriptor));
        /* To DIRECT, which no pool here grants. */
        REQUIRE(client->attached || (descriptor->what == WIRE_PRIVATE && descriptor->result != 0));
        REQUIRE((fd >= 0) == (descriptor->result == 0));
        REQUIRE(fd < 0 || is_as_told(host, descriptor, fd));
    }
    if (fd >= 0)
        close(fd);
}

/* What a worker can do to the shared memory of a pool that it is attached to. */
static void corrupt(struct host *host, struct input *input)
{
    const struct segment *segment = &host->pools[0].owner.segment;
    char *base = segment->base;
    uint64_t value = 0;
    uint32_t index = take_number(input);

    switch (take_byte(input) % 6) {
    case 0:
        take_bytes(input, &value, sizeof value);
        shm_store(&segment->connections[index % PLACES].word, value);
        break;
    case 1: /* a word that makes sense */
        shm_store(&segment->connections[index % PLACES].word,
                  word_make((enum word_state)(take_byte(input) % WORD_STATES), take_byte(input) % 8,
                            take_byte(input) % 4));
        break;
    case 2:
        take_bytes(input, &value, sizeof value);
        shm_store(&segment->cells[index % segment->cell_count], value);
        break;
    case 3: {
        struct wait_slot *slot = &segment->slots[index % segment->slot_max];
        size_t at = take_byte(input) % (sizeof *slot / 4);

        shm_store32((shm_u32 *)slot + at, take_number(input));
        break;
    }
    case 4:
        take_bytes(input, &value, sizeof value);
        shm_store(take_byte(input) % 2 ? &segment->queue->head : &segment->queue->tail, value);
        break;
    default: /* anywhere */
        take_bytes(input, base + index * UINT64_C(4099) % (segment->size - 8), 8);
        break;
    }
}

static void ring(struct host *host)
{
    uint64_t one = 1;

    REQUIRE(write(host->pools[0].doorbell, &one, sizeof one) == sizeof one);
}

static void act(struct host *host, struct client *clients, struct input *input)
{
    uint8_t what = take_byte(input);
    struct client *client = &clients[what / 16 % CLIENTS];

    if (client->fd < 0)
        client_connect(host, client);
    if (client->fd < 0)
        return;
    switch (what % 16) {
    case 0:
    case 1:
        send_hello(client, take_byte(input), 0);
        break;
    case 2:
    case 3:
        send_fetch(client, input, 0);
        break;
    case 4:
        send_hello(client, take_byte(input), 1 + take_byte(input) % 4);
        break;
    case 5:
        send_fetch(client, input, 1 + take_byte(input) % 4);
        break;
    case 6:
        send_crooked(client, input);
        break;
    case 7:
        send_bytes(client, input);
        break;
    case 8:
        if (take_byte(input) % 4 > 0)
            say_goodbye(client);
        client_close(client);
        break;
    case 9:
        shutdown(client->fd, take_byte(input) % 3);
        break;
    case 10:
    case 11:
        read_answer(host, client);
        break;
    case 12:
        if (client->attached)
            corrupt(host, input);
        break;
    case 13:
        if (client->attached)
            ring(host);
        break;
    case 14:
        send_control(client, input, take_byte(input) % 8 == 0);
        break;
    default:
        run(host);
        break;
    }
}

/* ---- what must hold in the end ---- */

static int ask(struct host *host, const struct client *client, const void *request, void *answer,
               size_t size)
{
    int fd;

    REQUIRE(wire_send(client->fd, request, -1) == 0);
    run(host);
    REQUIRE(wire_receive(client->fd, answer, size, &fd, 0) == (int)size);
    return fd;
}

static int fetch_one(struct host *host, const struct client *client, enum wire_what what)
{
    struct wire_fetch fetch = {.what = what};
    struct wire_descriptor answer;
    int fd;

    wire_header(&fetch.header, WIRE_FETCH, sizeof fetch);
    fd = ask(host, client, &fetch, &answer, sizeof answer);
    REQUIRE(answer.result == 0 && answer.what == what && fd >= 0);
    return fd;
}

/* Whatever was paused or drained lends again. */
static void resume(struct host *host)
{
    struct wire_control control = {.verb = WIRE_RESUME, .connection = WIRE_ANY, .pid = WIRE_ANY};
    struct wire_outcome outcome;
    struct client client;

    client_connect(host, &client);
    REQUIRE(client.fd >= 0);
    wire_header(&control.header, WIRE_CONTROL, sizeof control);
    REQUIRE(ask(host, &client, &control, &outcome, sizeof outcome) < 0 && outcome.result == 0);
    client_close(&client);
    run(host);
    REQUIRE(host->control.count == 0);
    REQUIRE(shm_load_relaxed(&host->catalog.header->paused_pools) == 0);
    for (uint32_t i = 0; i < 2; i++)
        REQUIRE(pause_state(&host->pools[i]) == PAUSE_NONE);
}

static void expect_in_order(struct host *host)
{
    struct wire_hello hello = {.pool = "open"};
    struct wire_welcome welcome;
    struct catalog catalog;
    struct segment segment;
    struct client client;
    int fd;

    uint32_t resting = host->workers.resting, taken = 0;

    REQUIRE(host->workers.unattached == 0);
    REQUIRE(host->workers.free_count == WORKER_MAX - resting);
    REQUIRE(host->pools[0].parts->members.attached.count +
                host->pools[1].parts->members.attached.count ==
            0);
    REQUIRE(host->pools[0].parts->members.expelled.count +
                host->pools[1].parts->members.expelled.count ==
            resting);
    for (uint32_t i = 0; i < WORKER_MAX; i++)
        taken += shm_load32(&host->catalog.workers[i].pool) != 0;
    REQUIRE(taken == resting);

    resume(host);
    client_connect(host, &client);
    REQUIRE(client.fd >= 0);
    wire_header(&hello.header, WIRE_HELLO, sizeof hello);
    REQUIRE(ask(host, &client, &hello, &welcome, sizeof welcome) < 0);
    if (resting == WORKER_MAX) {
        REQUIRE(welcome.result == LENDIS_E_BUSY);
        client_close(&client);
        return;
    }
    REQUIRE(welcome.result == 0);
    fd = fetch_one(host, &client, WIRE_CATALOG);
    REQUIRE(catalog_map(fd, &catalog) == 0);
    close(fd);
    catalog_unmap(&catalog);
    fd = fetch_one(host, &client, WIRE_SEGMENT);
    REQUIRE(segment_map(fd, true, &segment) == 0);
    REQUIRE(segment.connection_max == host->pools[0].room && segment.worker_max == WORKER_MAX);
    close(fd);
    segment_unmap(&segment);
    close(fetch_one(host, &client, WIRE_DOORBELL));
    say_goodbye(&client);
    client_close(&client);
    run(host);
    REQUIRE(host->workers.free_count == WORKER_MAX - resting);
}

/* The lowest free descriptor: a leak raises it. */
static int lowest_free(void)
{
    int fd = open("/", O_PATH | O_CLOEXEC);

    close(fd);
    return fd;
}

static void forget_path(void)
{
    unlink(redis_path);
}

static void prepare(void)
{
    static bool done;

    if (done)
        return;
    done = true;
    log_set_level(LOG_LEVEL_ERR);
    snprintf(redis_path, sizeof redis_path, "/tmp/lendis-fuzz-%d.sock", (int)getpid());
    atexit(forget_path);
    for (int i = 0; i < 2; i++) {
        configs[i].redis = (struct redis_address){.text = redis_path, .path = redis_path};
        configs[i].connect_timeout_ms = 60000;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct client clients[CLIENTS];
    static struct host host;
    int lowest;

    prepare();
    lowest = lowest_free();
    host_start(&host);
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;
    while (input.size > 0)
        act(&host, clients, &input);
    run(&host);
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    run(&host);
    expect_in_order(&host);
    host_stop(&host);
    REQUIRE(lowest_free() == lowest);
    return 0;
}
