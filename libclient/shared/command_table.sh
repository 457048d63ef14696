#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes command_table.h from what a running Redis says of its commands (COMMAND, https://redis.io/commands/command/):
#     libclient/shared/command_table.sh redis-cli -s /path/to/redis.sock > libclient/shared/command_table.h
# "readonly" and "blocking" are the server's own flags. What else there is to know about a command is not among them; the
# lists below are from the commands' manual pages. A command that is in one of them need not be known to this server.
set -eu
# The connection is another one afterwards.
session="AUTH HELLO SELECT RESET QUIT SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR
SYNC PSYNC REPLCONF READONLY READWRITE ASKING CLIENT SCRIPT"
# Without one reply of their own, or the end of the connection: of use to who has the connection, if at all.
lease="SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC REPLCONF QUIT"
# What they do is for the commands behind them.
not_alone="MULTI WATCH SELECT"
# They wait, and no COMMAND (up to Redis 7.0 at least) says so.
waiting="WAIT WAITAOF"
# They hold the server, or end the connection: nobody else's command is to stand behind them.
exclusive="DEBUG FAILOVER SHUTDOWN"
# Their arguments tell more; command.c looks at these.
arguments="CLIENT SCRIPT XREAD XREADGROUP"
version=$("$@" INFO server | tr -d '\r' | sed -n 's/^redis_version://p')
cat <<END
/* SPDX-License-Identifier: MIT */
/* Made by command_table.sh from COMMAND of Redis $version: sorted by name, only commands with a flag. */
/* clang-format off */
END
"$@" EVAL '
local lists = {{"COMMAND_SESSION", ARGV[1]}, {"COMMAND_LEASE", ARGV[2]}, {"COMMAND_NOT_ALONE", ARGV[3]},
    {"COMMAND_BLOCKING | COMMAND_FIXED", ARGV[4]}, {"COMMAND_EXCLUSIVE", ARGV[5]}, {"COMMAND_ARGUMENTS", ARGV[6]}}
local kinds = {MULTI = true, EXEC = true, DISCARD = true, WATCH = true, UNWATCH = true, SELECT = true}
local flags = {}
local function add(name, flag)
    flags[name] = flags[name] and flags[name] .. " | " .. flag or flag
end
for _, command in ipairs(redis.call("COMMAND")) do
    for _, flag in ipairs(command[3]) do
        local text = flag.ok or flag
        if text == "readonly" then add(string.upper(command[1]), "COMMAND_READ_ONLY") end
    end
    for _, flag in ipairs(command[3]) do
        local text = flag.ok or flag
        if text == "blocking" and not string.find(" " .. ARGV[4] .. " ", " " .. string.upper(command[1]) .. " ", 1, true) then
            add(string.upper(command[1]), "COMMAND_BLOCKING")
        end
    end
end
for _, list in ipairs(lists) do
    for name in string.gmatch(list[2], "%S+") do add(name, list[1]) end
end
for name in pairs(kinds) do flags[name] = flags[name] or "0" end
local lines = {}
for name, text in pairs(flags) do
    lines[#lines + 1] = "{\"" .. name .. "\", " .. text .. ", " .. (kinds[name] and "COMMAND_" .. name or "COMMAND_OTHER") .. "},"
end
table.sort(lines)
return lines' 0 "$(echo $session)" "$(echo $lease)" "$(echo $not_alone)" "$(echo $waiting)" "$(echo $exclusive)" \
    "$(echo $arguments)"
