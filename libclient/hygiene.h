/* SPDX-License-Identifier: MIT */
/* What state a lease's connection is in when it is given back. */
#ifndef LENDIS_HYGIENE_H
#define LENDIS_HYGIENE_H

#include "libclient/client.h"

enum verdict {
    VERDICT_CLEAN,   /* proven: for the next one */
    VERDICT_UNCLEAN, /* its session is changed or unknown: the broker resets it */
    VERDICT_BROKEN,  /* its stream is no good any more: the broker replaces it */
};

/* The caller gets hold of the connection's descriptor or of a copy: from now on we do not see what is
 * done with it. It blocks as others do. */
void lease_expose(struct lendis_lease *lease);

/* The end of that: the context is gone. True: as far as can be seen from here, the stream is at a
 * command's boundary, and the descriptor is still ours. */
bool lease_conceal(struct lendis_lease *lease);

/* Ends the exposure and judges; tells the broker what was left behind (connection.left). */
enum verdict lease_judge(struct lendis_lease *lease);

#endif
