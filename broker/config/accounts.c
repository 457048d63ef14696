/* SPDX-License-Identifier: MIT */
/* Users and groups by name: see accounts.h. */
#include "broker/config/accounts.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

/* Answers of the user database are this large at most; root with every group is far below. */
#define ACCOUNT_ROOM 65536u

/*
 * Looks up user or group `name`. Results: 0 and *id; -ENOENT, there is none of that name; -errno,
 * the database could not be asked.
 */
static int look_up_account(bool group, const char *name, char *room, uint32_t *id)
{
    struct passwd user, *found_user = NULL;
    struct group members, *found_group = NULL;
    int error;

    if (group) {
        error = getgrnam_r(name, &members, room, ACCOUNT_ROOM, &found_group);
        if (found_group)
            *id = found_group->gr_gid;
    } else {
        error = getpwnam_r(name, &user, room, ACCOUNT_ROOM, &found_user);
        if (found_user)
            *id = found_user->pw_uid;
    }
    if (found_user || found_group)
        return 0;
    /* What databases say of a name that they do not have: getpwnam_r(3), "ERRORS". */
    return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM
               ? -ENOENT
               : -error;
}

static void complain_account(const struct place *place, const char *name, int result)
{
    const char *kind = place->key->type == KEY_GROUPS ? "group" : "user";

    if (result == -ENOENT)
        config_complain(place,
                        "there is no %s \"%.80s\" on this host; a number goes into allow_%cids",
                        kind, name, kind[0]);
    else
        config_complain(place, "%s \"%.80s\" cannot be looked up: %s", kind, name,
                        strerror(-result));
}

/* Adds the account `name`. False: it was complained of, or there is no memory. */
static bool add_account(const struct place *place, const char *name, struct id_list *ids)
{
    struct id_range *grown = realloc(ids->ranges, (ids->count + 1) * sizeof *grown);
    char *room = malloc(ACCOUNT_ROOM);
    uint32_t id = 0;
    int result;

    if (grown)
        ids->ranges = grown;
    if (!grown || !room) {
        place->loader->no_memory = true;
        free(room);
        return false;
    }
    result = look_up_account(place->key->type == KEY_GROUPS, name, room, &id);
    free(room);
    if (result != 0) {
        complain_account(place, name, result);
        return false;
    }
    ids->ranges[ids->count++] = (struct id_range){.first = id, .last = id};
    return true;
}

void id_names_free(struct id_names *names)
{
    free(names->text);
    free(names->ids.ranges);
    *names = (struct id_names){0};
}

void config_parse_accounts(const struct place *place, const char *text, struct id_names *field)
{
    struct id_names names = {0};
    char *copy = config_keep(place->loader, text), *rest = NULL;
    bool good = copy != NULL;
    size_t used = 0;

    names.text = good ? calloc(1, strlen(text) + 1) : NULL;
    if (good && !names.text)
        place->loader->no_memory = true;
    good = names.text != NULL;
    for (char *name = good ? strtok_r(copy, ", \t", &rest) : NULL; name;
         name = strtok_r(NULL, ", \t", &rest)) {
        /* All that are unknown are reported. */
        good = add_account(place, name, &names.ids) && good;
        used += (size_t)sprintf(names.text + used, "%s%s", used ? " " : "", name);
    }
    if (good && names.ids.count == 0) {
        config_complain(place, "there is no value");
        good = false;
    }
    free(copy);
    if (!good) {
        id_names_free(&names);
        return;
    }
    id_names_free(field);
    *field = names;
}
