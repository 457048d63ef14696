/* SPDX-License-Identifier: MIT */
/* The C library's functions, decided: see functions.h. */
#include "broker/run/functions.h"

#include <string.h>

struct function_group {
    enum function_kind kind;
    const char *text;  /* why */
    const char *names; /* with a space between two; NULL ends the table */
};

static const struct function_group function_groups[] = {
    {FUNCTION_FOLLOWED, "connects, sends, receives",
     "connect __connect send __send sendto sendmsg sendmmsg write __write writev pwritev2 "
     "pwritev64v2 recv __recv_chk recvfrom __recvfrom_chk recvmsg recvmmsg read __read __read_chk "
     "readv preadv2 preadv64v2"},
    {FUNCTION_FOLLOWED, "waits for it",
     "poll __poll __poll_chk ppoll __ppoll_chk select __select pselect epoll_ctl"},
    {FUNCTION_FOLLOWED, "ends it", "close __close close_range closefrom shutdown"},
    {FUNCTION_FOLLOWED, "its flags, options and names, which are its own",
     "fcntl fcntl64 __fcntl ioctl getsockopt setsockopt getpeername getsockname"},
    {FUNCTION_FOLLOWED, "calls one of these by its number", "syscall"},

    {FUNCTION_REAL, "makes a copy of it", "dup dup2 __dup2 dup3 posix_spawn_file_actions_adddup2"},
    {FUNCTION_REAL, "reads and writes inside the kernel", "sendfile sendfile64 splice"},
    {FUNCTION_REAL, "reads and writes inside the C library",
     "fdopen _IO_fdopen dprintf vdprintf __dprintf_chk __vdprintf_chk aio_read aio_read64 "
     "aio_write aio_write64 lio_listio lio_listio64"},

    {FUNCTION_SAFE, "refuses what is a connected socket",
     "accept accept4 bind bindresvport listen tee vmsplice copy_file_range"},
    {FUNCTION_SAFE, "asks and changes the socket that is there, and no connection",
     "sockatmark isfdtype getsourcefilter setsourcefilter getipv4sourcefilter "
     "setipv4sourcefilter aio_cancel aio_cancel64 aio_fsync aio_fsync64 aio_error aio_error64 "
     "aio_return aio_return64 aio_suspend aio_suspend64 fstat fstat64 __fxstat __fxstat64 fchmod "
     "fchown flock fsync fdatasync fpathconf fstatfs fstatfs64 fstatvfs fstatvfs64 fgetxattr "
     "flistxattr fremovexattr fsetxattr futimens futimes lockf lockf64 syncfs "
     "posix_spawn_file_actions_addclose"},
    {FUNCTION_SAFE, "refuses what has no places to read and write at",
     "lseek __lseek lseek64 llseek pread pread64 __pread64 __pread_chk __pread64_chk preadv "
     "preadv64 "
     "pwrite pwrite64 __pwrite64 pwritev pwritev64 fallocate fallocate64 posix_fadvise "
     "posix_fadvise64 posix_fallocate posix_fallocate64 ftruncate ftruncate64 mmap mmap64 "
     "readahead sync_file_range fexecve"},
    {FUNCTION_SAFE, "refuses what is no folder",
     "execveat faccessat fchdir fchmodat fchownat fdopendir fstatat fstatat64 __fxstatat "
     "__fxstatat64 futimesat getdents64 getdirentries getdirentries64 linkat mkdirat mkfifoat "
     "mknodat __xmknodat name_to_handle_at open_by_handle_at openat openat64 __openat_2 "
     "__openat64_2 readlinkat __readlinkat_chk renameat renameat2 scandirat scandirat64 statx "
     "symlinkat unlinkat utimensat posix_spawn_file_actions_addfchdir_np"},
    {FUNCTION_SAFE, "refuses what is no terminal",
     "grantpt gtty stty isatty login_tty ptsname ptsname_r __ptsname_r_chk tcdrain tcflow tcflush "
     "tcgetattr tcgetpgrp tcgetsid tcsendbreak tcsetattr tcsetpgrp ttyname ttyname_r "
     "__ttyname_r_chk unlockpt posix_spawn_file_actions_addtcsetpgrp_np"},
    {FUNCTION_SAFE, "takes descriptors of another kind",
     "epoll_wait epoll_pwait epoll_pwait2 eventfd_read eventfd_write fanotify_mark fsconfig "
     "fsmount "
     "fspick inotify_add_watch inotify_rm_watch mount_setattr move_mount open_tree pidfd_getfd "
     "pidfd_send_signal process_madvise process_mrelease setns signalfd timerfd_gettime "
     "timerfd_settime"},
    {FUNCTION_SAFE, "puts another file behind it: a child's, or nothing that was asked for",
     "posix_spawn_file_actions_addopen"},
    {FUNCTION_SAFE, "writes to the private socket, which is a broken pipe",
     "backtrace_symbols_fd __backtrace_symbols_fd"},
    {0},
};

int function_kind_of(const char *name, size_t size)
{
    for (const struct function_group *group = function_groups; group->names; group++)
        for (const char *at = group->names; *at; at += strspn(at, " ")) {
            size_t length = strcspn(at, " ");

            if (length == size && memcmp(at, name, size) == 0)
                return group->kind;
            at += length;
        }
    return -1;
}

/* What a kind is called. */
static const char *function_kind_name(enum function_kind kind)
{
    static const char *const names[] = {"followed", "real", "private"};

    return names[kind];
}

void functions_print(FILE *out)
{
    for (const struct function_group *group = function_groups; group->names; group++)
        for (const char *at = group->names; *at; at += strspn(at, " ")) {
            size_t length = strcspn(at, " ");

            fprintf(out, "%-32.*s  %-8s  %s\n", (int)length, at, function_kind_name(group->kind),
                    group->text);
            at += length;
        }
}
