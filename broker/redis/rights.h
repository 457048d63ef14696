/* SPDX-License-Identifier: MIT */
/*
 * Which commands of the broker's own a pool's server refuses, or answers by closing the connection
 * as some proxies do: learned by dialling, and remembered as long as the server is the same one.
 * Nothing of it is needed to lend connections; what is lost is reported once.
 *
 * A connection that ends at such a command may have ended for any other reason. So the next dial
 * goes without it, at once; if that one succeeds the command was to blame, and if it fails, too, it
 * was not. A command that this server has answered before is never blamed.
 */
#ifndef LENDIS_BROKER_RIGHTS_H
#define LENDIS_BROKER_RIGHTS_H

#include <stdbool.h>
#include <stdint.h>
#include "lendis/rights.h"

/* Of a pool; all zero at first. Rights are bits, RIGHT_BIT(name). */
struct rights {
    uint32_t refused; /* known to be refused */
    uint32_t costly;  /* those of them that cost the connection */
    uint32_t granted; /* known to be granted */
    uint32_t doubted; /* the next dial goes without, to see whether they cost the last one */
    uint32_t reported;
};

/* The server may be another one from now on. */
void rights_renew(struct rights *rights);

/* What a dial is to go without. */
static inline uint32_t rights_missing(const struct rights *rights)
{
    return rights->refused | rights->doubted;
}

/* A dial that went without `missing` has succeeded; `refused` were refused to it, the others
 * not. */
void rights_learn(struct rights *rights, uint32_t missing, uint32_t refused);

/*
 * A dial that went without `missing` lost its connection where `asked` had no answer yet. True:
 * dial again, at once; it goes without them.
 */
bool rights_doubt(struct rights *rights, uint32_t missing, uint32_t asked);

/* A dial failed in any other way: nothing is to blame. */
void rights_absolve(struct rights *rights);

/* One right is refused, learned elsewhere. */
void rights_refuse(struct rights *rights, uint32_t right);

/* Those that are refused and were not reported yet; they are now. */
uint32_t rights_report(struct rights *rights);

/* RIGHT_name and so on: the command, and what is lost without it. */
const char *right_command(enum right right);
const char *right_lost(enum right right);

#endif
