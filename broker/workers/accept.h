/* SPDX-License-Identifier: MIT */
/*
 * Accepting those who connect: how many may be without HELLO, for how long, and what if descriptors
 * are short (I8).
 */
#ifndef LENDIS_BROKER_ACCEPT_H
#define LENDIS_BROKER_ACCEPT_H

/* A descriptor to give up when there are no others. -1: there is none. */
int accept_spare(void);

#endif
