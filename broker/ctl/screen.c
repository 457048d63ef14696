/* SPDX-License-Identifier: MIT */
/* The terminal: see screen.h. */
#include "broker/ctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Alternate screen, cursor hidden, no wrapping; and back. */
static const char enter_text[] = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
static const char leave_text[] = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/* Signals that end us. */
static const int ending[] = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGPIPE,
                             SIGSEGV, SIGBUS,  SIGILL, SIGFPE,  SIGABRT};

static struct termios before;
static volatile sig_atomic_t entered;
static volatile sig_atomic_t resumed;
static volatile sig_atomic_t changed; /* its size */

static char frame[1 << 16];
static size_t frame_size;
static int frame_lines;
static int frame_columns, frame_room;

/* Of what handlers call, all is on the list of signal-safety(7): write(2), tcsetattr(3). */
static void put(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(STDOUT_FILENO, text, size);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return;
        text += wrote;
        size -= (size_t)wrote;
    }
}

static void enter(void)
{
    struct termios raw = before;

    /* Keys one by one and unseen; but ^C and ^Z do what they always do. */
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    entered = 1;
    put(enter_text, sizeof enter_text - 1);
}

static void leave(void)
{
    if (!entered)
        return;
    entered = 0;
    put(leave_text, sizeof leave_text - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void on_end(int number)
{
    leave();
    signal(number, SIG_DFL);
    raise(number); /* blocked until we return */
}

static void on_stop(int number)
{
    struct sigaction action = {.sa_handler = on_stop}, standard = {.sa_handler = SIG_DFL};
    int error = errno;
    sigset_t mask;

    leave();
    sigaction(number, &standard, NULL);
    sigemptyset(&mask);
    sigaddset(&mask, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &mask, NULL); /* here we stop */
    sigaction(number, &action, NULL);
    resumed = 1;
    errno = error;
}

static void on_resume(int number)
{
    (void)number;
    resumed = 1;
}

static void on_size(int number)
{
    (void)number;
    changed = 1;
}

int screen_open(void)
{
    struct sigaction action = {.sa_handler = on_end};
    const char *kind = getenv("TERM");

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || (kind && strcmp(kind, "dumb") == 0))
        return -ENOTTY;
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        sigaction(ending[i], &action, NULL);
    action.sa_handler = on_stop;
    sigaction(SIGTSTP, &action, NULL);
    action.sa_handler = on_resume;
    sigaction(SIGCONT, &action, NULL);
    action.sa_handler = on_size;
    sigaction(SIGWINCH, &action, NULL);
    atexit(screen_close);
    enter();
    return 0;
}

void screen_close(void)
{
    leave();
}

void screen_size(int *columns, int *lines)
{
    struct winsize size = {0};

    *columns = 80;
    *lines = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    if (size.ws_col > 0)
        *columns = size.ws_col;
    if (size.ws_row > 0)
        *lines = size.ws_row;
}

/* ---- keys ---- */

/* What follows ESC [, as far as we know it. */
static int decode(const char *keys, ssize_t size)
{
    if (size >= 3 && (keys[1] == '[' || keys[1] == 'O')) {
        switch (keys[2]) {
        case 'A':
            return KEY_UP;
        case 'B':
            return KEY_DOWN;
        case '5':
            return KEY_PAGE_UP;
        case '6':
            return KEY_PAGE_DOWN;
        default:
            return KEY_NONE;
        }
    }
    return size == 1 ? KEY_ESCAPE : KEY_NONE;
}

int screen_key(int timeout_ms)
{
    struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
    char keys[16];
    ssize_t size;

    if (resumed) {
        resumed = 0;
        enter();
        return KEY_NONE;
    }
    if (poll(&poll_fd, 1, changed ? 0 : timeout_ms) <= 0) {
        changed = 0;
        return KEY_NONE;
    }
    /* One key; a sequence comes as a whole. */
    size = read(STDIN_FILENO, keys, 1);
    if (size == 1 && keys[0] == KEY_ESCAPE && poll(&poll_fd, 1, 20) == 1) {
        ssize_t more = read(STDIN_FILENO, keys + 1, sizeof keys - 1);

        size += more > 0 ? more : 0;
    }
    if (size < 0)
        return errno == EINTR || errno == EAGAIN ? KEY_NONE : KEY_END;
    if (size == 0)
        return KEY_END;
    if (keys[0] == KEY_ESCAPE)
        return decode(keys, size);
    if (keys[0] == '\n')
        return KEY_ENTER;
    return keys[0] == '\b' ? KEY_BACKSPACE : (unsigned char)keys[0];
}

/* ---- drawing ---- */

static void add(const char *text, size_t size)
{
    if (size > sizeof frame - frame_size)
        size = sizeof frame - frame_size;
    memcpy(frame + frame_size, text, size);
    frame_size += size;
}

void screen_begin(void)
{
    screen_size(&frame_columns, &frame_room);
    frame_size = 0;
    frame_lines = 0;
    add("\x1b[H", 3);
}

void screen_line(bool inverse, const char *text)
{
    int at = 0;

    if (frame_lines >= frame_room)
        return;
    if (frame_lines++ > 0)
        add("\r\n", 2);
    if (inverse)
        add("\x1b[7m", 4);
    for (; at < frame_columns && text[at]; at++)
        add(text[at] >= 0x20 && text[at] < 0x7f ? &text[at] : "?", 1);
    for (; inverse && at < frame_columns; at++)
        add(" ", 1);
    if (inverse)
        add("\x1b[m", 3);
    else
        add("\x1b[K", 3);
}

int screen_end(void)
{
    if (frame_lines < frame_room)
        add("\r\n\x1b[J", 5);
    if (!entered)
        return 0;
    errno = 0;
    put(frame, frame_size);
    return errno == 0 || errno == EINTR ? 0 : -errno;
}
