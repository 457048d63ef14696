/* SPDX-License-Identifier: MIT */
/* What a server refuses: see rights.h. */
#include "broker/redis/rights.h"

void rights_renew(struct rights *rights)
{
    rights->refused = rights->costly = rights->granted = rights->doubted = 0;
}

void rights_learn(struct rights *rights, uint32_t missing, uint32_t refused)
{
    uint32_t asked = (RIGHT_BIT(name) | RIGHT_BIT(ping)) & ~missing;

    /* It went without, and lives: they were to blame. */
    rights->costly |= rights->doubted & missing;
    rights->refused |= refused | (rights->doubted & missing);
    rights->doubted = 0;
    rights->granted |= asked & ~refused;
    rights->refused &= ~(asked & ~refused);
    rights->reported &= rights->refused | ~asked;
}

bool rights_doubt(struct rights *rights, uint32_t missing, uint32_t asked)
{
    uint32_t suspects = asked & ~missing & ~rights->granted;

    rights->doubted = suspects;
    return suspects != 0;
}

void rights_absolve(struct rights *rights)
{
    rights->doubted = 0;
}

void rights_refuse(struct rights *rights, uint32_t right)
{
    rights->refused |= right;
    rights->granted &= ~right;
}

uint32_t rights_report(struct rights *rights)
{
    uint32_t fresh = rights->refused & ~rights->reported;

    rights->reported |= fresh;
    return fresh;
}

const char *right_command(enum right right)
{
    static const char *const commands[] = {
#define RIGHT_TEXT(name, command, lost) command,
        RIGHTS(RIGHT_TEXT)
#undef RIGHT_TEXT
    };

    return commands[right];
}

const char *right_lost(enum right right)
{
    static const char *const losses[] = {
#define RIGHT_TEXT(name, command, lost) lost,
        RIGHTS(RIGHT_TEXT)
#undef RIGHT_TEXT
    };

    return losses[right];
}
