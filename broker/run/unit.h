/* SPDX-License-Identifier: MIT */
/* A drop-in for a unit of systemd: systemd.unit(5), systemd.exec(5). */
#ifndef LENDIS_RUN_UNIT_H
#define LENDIS_RUN_UNIT_H

#include <stdio.h>

/* Writes the drop-in's text. */
void unit_print(const char *library, const char *socket_path, FILE *out);

/* Writes it to FOLDER/UNIT.d/lendis.conf and says what is to be done next on `out`. Results: 0;
 * -errno, which was reported. */
int unit_write(const char *folder, const char *unit, const char *library, const char *socket_path,
               FILE *out);

#endif
