#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes command_table.h from what a running Redis says of its commands (COMMAND, https://redis.io/commands/command/):
#     libclient/command_table.sh redis-cli -s /path/to/redis.sock > libclient/command_table.h
# "readonly" and "blocking" are the server's own flags. Which commands change the connection's state is not among
# them; the list below is from the commands' manual pages.
set -eu
session="AUTH HELLO SELECT RESET QUIT SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR
SYNC PSYNC REPLCONF READONLY READWRITE ASKING CLIENT"
version=$("$@" INFO server | tr -d '\r' | sed -n 's/^redis_version://p')
cat <<END
/* SPDX-License-Identifier: MIT */
/* Made by command_table.sh from COMMAND of Redis $version: sorted by name, only commands with a flag. */
END
"$@" EVAL '
local session = {}
for name in string.gmatch(ARGV[1], "%S+") do session[name] = true end
local lines = {}
for _, command in ipairs(redis.call("COMMAND")) do
    local name, flags = string.upper(command[1]), {}
    for _, flag in ipairs(command[3]) do
        local text = flag.ok or flag
        if text == "readonly" then flags[#flags + 1] = "COMMAND_READ_ONLY" end
        if text == "blocking" then flags[#flags + 1] = "COMMAND_BLOCKING" end
    end
    if name == "WAIT" then flags[#flags + 1] = "COMMAND_BLOCKING" end
    if session[name] then flags[#flags + 1] = "COMMAND_SESSION" end
    local kind = "COMMAND_OTHER"
    for _, k in ipairs({"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"}) do
        if name == k then kind = "COMMAND_" .. k end
    end
    if #flags > 0 or kind ~= "COMMAND_OTHER" then
        if #flags == 0 then flags[1] = "0" end
        lines[#lines + 1] = "    {\"" .. name .. "\", " .. table.concat(flags, " | ") .. ", " .. kind .. "},"
    end
end
table.sort(lines)
return lines' 0 "$(echo $session)"
