/* SPDX-License-Identifier: MIT */
/*
 * Text that another process, a server or shared memory has a say in, made fit to be shown: it can
 * neither reach the terminal (control characters), nor break what is printed (invalid UTF-8), nor
 * look like other text than it is (characters that are not seen, or turn the direction of what
 * follows: Unicode's Bidi_Control and Default_Ignorable_Code_Point).
 */
#ifndef LENDIS_TEXT_H
#define LENDIS_TEXT_H

#include <stddef.h>

/* How long a character can become: as \U000e0041. */
#define TEXT_CHARACTER_MAX 10u

/*
 * Copies at most `size` bytes of `text`, or up to its zero, into `clean`, of `room` bytes with the
 * zero that is put at the end. Control characters and what is no UTF-8 become "?", what is not seen
 * as in \u202e. What does not fit is left out from a whole character on.
 */
void text_clean(char *clean, size_t room, const char *text, size_t size);

#endif
