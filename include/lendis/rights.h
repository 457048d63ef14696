/* SPDX-License-Identifier: MIT */
/*
 * What a pool's Redis user may lack, or its server or proxy not have, with the pool working all the
 * same: each declared once, RIGHT(name, command, what is lost). The broker reports a right that is
 * refused, and has it in the catalog (`refused`); tools have the names from here.
 */
#ifndef LENDIS_RIGHTS_H
#define LENDIS_RIGHTS_H

#include <stdint.h>

/* clang-format off */
#define RIGHTS(RIGHT) \
    RIGHT(name,    "CLIENT SETNAME", "connections have no name in CLIENT LIST") \
    RIGHT(ping,    "PING",           "idle connections are checked by a command that does not exist") \
    RIGHT(command, "COMMAND",        "what the server says of its commands stays unknown") \
    RIGHT(role,    "ROLE and INFO",  "services do not notice when this one has no link or another role") \
    RIGHT(reset,   "RESET",          "unclean connections are replaced unless it is known how to undo what was left")
/* clang-format on */

enum right {
#define RIGHT_ENUM(name, command, lost) RIGHT_##name,
    RIGHTS(RIGHT_ENUM)
#undef RIGHT_ENUM
        RIGHT_COUNT
};

/* Rights are kept as a bit each. */
#define RIGHT_BIT(name) (UINT32_C(1) << RIGHT_##name)

#endif
