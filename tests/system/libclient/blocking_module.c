/* SPDX-License-Identifier: MIT */
/*
 * A module for redis-server with commands that wait: LENDIS.PARK MS answers DONE after that time,
 * and the server says of it that it may block; LENDIS.SLOW MS does the same, and the server does
 * not know. And with a family, LENDIS.KEEP PUT and TAKE, which keeps something on the connection
 * for all that anybody knows.
 *
 * Debian has no redismodule.h. What is used of it is declared here, by the modules API reference
 * (https://redis.io/docs/reference/modules/modules-api-ref/).
 */
#include <stddef.h>

struct context;
struct string;
struct blocked;
struct command;
typedef int command_function(struct context *context, struct string **argv, int argc);

#define MODULE_OK      0
#define MODULE_ERR     1
#define MODULE_API     1
#define MODULE_EXPORT  __attribute__((visibility("default")))
#define MODULE_VERSION 1

static void (*set_module_attributes)(struct context *, const char *name, int version, int api);
static int (*create_command)(struct context *, const char *name, command_function *, const char *,
                             int first_key, int last_key, int step);
static struct command *(*get_command)(struct context *, const char *name);
static int (*create_subcommand)(struct command *, const char *name, command_function *,
                                const char *, int first_key, int last_key, int step);
static int (*string_to_number)(const struct string *, long long *);
static struct blocked *(*block_client)(struct context *, command_function *reply,
                                       command_function *timeout,
                                       void (*free_data)(struct context *, void *),
                                       long long timeout_ms);
static int (*reply_with_status)(struct context *, const char *);
static int (*reply_with_error)(struct context *, const char *);

static int answer(struct context *context, struct string **argv, int argc)
{
    (void)argv;
    (void)argc;
    return reply_with_status(context, "DONE");
}

static int park(struct context *context, struct string **argv, int argc)
{
    long long ms;

    if (argc != 2 || string_to_number(argv[1], &ms) != MODULE_OK || ms < 1)
        return reply_with_error(context, "ERR a number of milliseconds is expected");
    return block_client(context, NULL, answer, NULL, ms) ? MODULE_OK : MODULE_ERR;
}

static int create_family(struct context *context)
{
    struct command *family;

    if (create_command(context, "lendis.keep", NULL, "", 0, 0, 0) != MODULE_OK)
        return MODULE_ERR;
    family = get_command(context, "lendis.keep");
    if (!family || create_subcommand(family, "put", answer, "", 0, 0, 0) != MODULE_OK)
        return MODULE_ERR;
    return create_subcommand(family, "take", answer, "", 0, 0, 0);
}

MODULE_EXPORT int RedisModule_OnLoad(struct context *context, struct string **argv, int argc);

int RedisModule_OnLoad(struct context *context, struct string **argv, int argc)
{
    /* The first thing in the context is the function that finds all others. */
    int (*find)(const char *, void *) = *(int (**)(const char *, void *))context;

    (void)argv;
    (void)argc;
    if (find("RedisModule_SetModuleAttribs", &set_module_attributes) != MODULE_OK ||
        find("RedisModule_CreateCommand", &create_command) != MODULE_OK ||
        find("RedisModule_GetCommand", &get_command) != MODULE_OK ||
        find("RedisModule_CreateSubcommand", &create_subcommand) != MODULE_OK ||
        find("RedisModule_StringToLongLong", &string_to_number) != MODULE_OK ||
        find("RedisModule_BlockClient", &block_client) != MODULE_OK ||
        find("RedisModule_ReplyWithSimpleString", &reply_with_status) != MODULE_OK ||
        find("RedisModule_ReplyWithError", &reply_with_error) != MODULE_OK)
        return MODULE_ERR;
    set_module_attributes(context, "lendis", MODULE_VERSION, MODULE_API);
    if (create_command(context, "lendis.park", park, "blocking", 0, 0, 0) != MODULE_OK ||
        create_command(context, "lendis.slow", park, "", 0, 0, 0) != MODULE_OK)
        return MODULE_ERR;
    return create_family(context);
}
