/* SPDX-License-Identifier: MIT */
/*
 * The numbers of the library's own descriptors. A process may have closed 0, 1 and 2, and the kernel gives the lowest
 * free number (open(2)): what the program prints would then go to Redis, on a connection that all workers share. So every
 * descriptor is born through this file, which gives it a number from DESCRIPTOR_FLOOR on; tests/descriptors.sh, of make
 * lint, looks for others.
 */
#ifndef LENDIS_DESCRIPTOR_H
#define LENDIS_DESCRIPTOR_H

/* A library that lives in a program that knows nothing of it is built with a high one: numbers below stay as the program
 * expects them. Where RLIMIT_NOFILE does not allow it, 3 has to do. */
#ifndef DESCRIPTOR_FLOOR
#define DESCRIPTOR_FLOOR 3
#endif

/* `fd`, just made, or a copy of it from the floor on in its place. Results: as of what made it: -1 and errno, also for -1. */
int descriptor_lift(int fd);

/* Another descriptor for the same, numbered from `above` or the floor on, closed on exec. Results: -1 and errno; EMFILE where
 * the limit is below `above`. */
int descriptor_copy(int fd, int above);

/*
 * While something is born, for it would do harm under a low number even for a moment (other threads print and read): numbers below 3 that are free have a placeholder, on which they fail with EBADF as before (O_PATH, open(2)).
 */
struct descriptor_gap {
    int count;
    int held[3];
};

void descriptor_fill_gap(struct descriptor_gap *gap);
void descriptor_free_gap(const struct descriptor_gap *gap);

/* Births, all closed on exec. Results: -1 and errno. open(2) for reading; socket(2), non-blocking; timerfd_create(2) on
 * CLOCK_MONOTONIC, non-blocking; epoll_create1(2). */
int descriptor_open(const char *path, int flags);
int descriptor_socket(int family, int type);
int descriptor_timer(void);
int descriptor_epoll(void);

#endif
