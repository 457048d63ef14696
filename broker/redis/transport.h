/* SPDX-License-Identifier: MIT */
/* How what is written to a lent descriptor gets to the server, as the descriptor itself shows. */
#ifndef LENDIS_BROKER_TRANSPORT_H
#define LENDIS_BROKER_TRANSPORT_H

#include "lendis/segment.h"

enum transport transport_of(int fd);

#endif
