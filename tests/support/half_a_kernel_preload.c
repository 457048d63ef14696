/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a broker: a kernel that takes the keys of TLS for sending and not for receiving,
 * and does nothing with what it takes. For a test of what comes after that.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define SOL_TLS_LEVEL 282 /* <linux/socket.h> */

typedef int set_option(int fd, int level, int option, const void *value, socklen_t size);

/* Hides the one of the C library: setsockopt(2). */
__attribute__((visibility("default"))) int setsockopt(int fd, int level, int option,
                                                      const void *value, socklen_t size)
{
    set_option *real = (set_option *)dlsym(RTLD_NEXT, "setsockopt");

    if (level == SOL_TLS_LEVEL && option == TLS_RX) {
        errno = EINVAL;
        return -1;
    }
    if (level == SOL_TLS_LEVEL || (level == IPPROTO_TCP && option == TCP_ULP))
        return 0;
    return real(fd, level, option, value, size);
}
