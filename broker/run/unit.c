/* SPDX-License-Identifier: MIT */
/* Drop-ins: see unit.h. */
#include "broker/run/unit.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

void unit_print(const char *library, const char *socket_path, FILE *out)
{
    fprintf(out,
            "# Made by lendis-run --install: the service's Redis connections are lent by lendisd.\n"
            "[Unit]\n"
            "Wants=lendis.socket\n"
            "After=lendis.socket\n"
            "\n"
            "[Service]\n"
            "Environment=LD_PRELOAD=%s\n"
            "Environment=LENDIS_SOCKET=%s\n"
            "SupplementaryGroups=lendis\n"
            "# php-fpm and apache2 leave that group when their workers become another user: make\n"
            "# that user a member, usermod -aG lendis www-data.\n"
            "# Where the unit has RestrictAddressFamilies= without AF_UNIX:\n"
            "#RestrictAddressFamilies=AF_UNIX\n"
            "# Where it has a root or a /run of its own (RootDirectory=, TemporaryFileSystem=):\n"
            "#BindReadOnlyPaths=%s\n"
            "#BindPaths=%.*s\n",
            library, socket_path, library, (int)(strrchr(socket_path, '/') - socket_path),
            socket_path);
}

static int make_folder(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return 0;
    fprintf(stderr, "lendis-run: %s: %s\n", path, strerror(errno));
    return -errno;
}

/* With its type; php8.2-fpm is none. */
static bool is_whole(const char *unit)
{
    const char *type = strrchr(unit, '.');

    return type && strcmp(type, ".service") == 0;
}

int unit_write(const char *folder, const char *unit, const char *library, const char *socket_path,
               FILE *out)
{
    const char *suffix = is_whole(unit) ? "" : ".service";
    char path[PATH_MAX];
    FILE *file;
    int result;

    snprintf(path, sizeof path, "%s/%s%s.d", folder, unit, suffix);
    result = make_folder(path);
    if (result != 0)
        return result;
    snprintf(path, sizeof path, "%s/%s%s.d/lendis.conf", folder, unit, suffix);
    file = fopen(path, "we");
    if (file) {
        unit_print(library, socket_path, file);
        if (fclose(file) == 0) {
            fprintf(out,
                    "%s\nnow: systemctl daemon-reload && systemctl restart %s%s\n"
                    "before, where workers become another user (php-fpm, apache2): "
                    "usermod -aG lendis www-data\n",
                    path, unit, suffix);
            return 0;
        }
    }
    result = -errno;
    fprintf(stderr, "lendis-run: %s: %s\n", path, strerror(errno));
    return result;
}
