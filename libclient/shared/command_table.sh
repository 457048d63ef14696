#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes command_table.h from commands.txt, what servers say of their commands, and the lists below,
# what no COMMAND says:
#     libclient/shared/command_table.sh > libclient/shared/command_table.h
# To see what another server has that commands.txt does not know (its form is the same):
#     libclient/shared/command_table.sh ask redis-cli -s /path/to/redis.sock |
#         diff libclient/shared/commands.txt -
# The lists are from the commands' manual pages. A command that is in one of them need not be in
# commands.txt.
set -eu

if [ "${1:-}" = ask ]; then
    shift
    exec "$@" EVAL '
local lines = {}
for _, command in ipairs(redis.call("COMMAND")) do
    local text, flags, inner = string.upper(command[1]), {}, command[10] or {}
    local function note(list)
        for _, flag in ipairs(list) do flags[flag.ok or flag] = true end
    end
    note(command[3])
    for _, each in ipairs(inner) do note(each[3]) end
    if #inner > 0 then text = text .. " container" end
    for _, flag in ipairs({"readonly", "write", "blocking"}) do
        if flags[flag] and not (flag == "readonly" and #inner > 0) then
            text = text .. " " .. flag
        end
    end
    lines[#lines + 1] = text
end
table.sort(lines)
return lines' 0
fi

# The connection is another one afterwards.
session="AUTH HELLO SELECT RESET QUIT SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE
SUNSUBSCRIBE MONITOR SYNC PSYNC REPLCONF READONLY READWRITE ASKING CLIENT SCRIPT CLUSTER HIMPORT"
# They have not one reply of their own, or end the connection: of use, if at all, to whoever has the
# connection.
lease="SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SYNC PSYNC
REPLCONF QUIT"
# What they do is for the commands behind them, or follows from what was before them, on the same
# connection.
not_alone="MULTI WATCH SELECT READONLY READWRITE ASKING HIMPORT"
# They report what the connection that they come over has written: of use behind that.
after_write="WAIT WAITAOF"
# They wait, and no COMMAND (up to Redis 7.0 at least) says so.
waiting="WAIT WAITAOF"
# They hold the server, or end the connection: nobody else's command is to stand behind them.
exclusive="DEBUG FAILOVER SHUTDOWN"
# What they answer, or what they do, belongs to the node that they come to: a cursor is a place in
# that node's own tables, and TOUCH is for its eviction.
node="SCAN SSCAN HSCAN ZSCAN CLUSTERSCAN TOUCH"
# They may write, and are not flagged so: what they do is up to a script, or to what was queued, or
# is sent to replicas as well.
writing="EVAL EVALSHA FCALL EXEC PUBLISH SPUBLISH"
# Their arguments say more; command.c reads these.
arguments="CLIENT SCRIPT CLUSTER XREAD XREADGROUP"
kinds="MULTI EXEC DISCARD WATCH UNWATCH SELECT"

cat <<END
/* SPDX-License-Identifier: MIT */
/* Made by command_table.sh from commands.txt, which names servers and versions. Sorted by name. */
/* clang-format off */
END
# A list of two lines is one for awk.
session=$(echo $session) lease=$(echo $lease)
grep -v '^#' "$(dirname "$0")/commands.txt" | LC_ALL=C awk -v session="$session" -v lease="$lease" \
    -v not_alone="$not_alone" -v after_write="$after_write" -v waiting="$waiting" \
    -v exclusive="$exclusive" -v node="$node" -v writing="$writing" -v arguments="$arguments" \
    -v kinds="$kinds" '
function add(name, flag)
{
    flags[name] = (name in flags) && flags[name] != "" ? flags[name] " | " flag : flag
}

function add_list(list, flag,    names, count, i) {
    count = split(list, names)
    for (i = 1; i <= count; i++)
        add(names[i], flag)
}
function has(list, name) { return index(" " list " ", " " name " ") > 0 }
BEGIN {
    gsub("\n", " ", session)
    gsub("\n", " ", node)
}
{
    add($1, "")
    for (i = 2; i <= NF; i++) {
        if ($i == "readonly")
            add($1, "COMMAND_READ_ONLY")
        else if ($i == "write")
            add($1, "COMMAND_WRITES")
        else if ($i == "blocking" && !has(waiting, $1))
            add($1, "COMMAND_BLOCKING")
    }
}
END {
    add_list(session, "COMMAND_SESSION")
    add_list(lease, "COMMAND_LEASE")
    add_list(not_alone, "COMMAND_NOT_ALONE")
    add_list(after_write, "COMMAND_AFTER_WRITE")
    add_list(waiting, "COMMAND_BLOCKING | COMMAND_FIXED")
    add_list(exclusive, "COMMAND_EXCLUSIVE")
    add_list(node, "COMMAND_OF_NODE")
    add_list(writing, "COMMAND_WRITES")
    add_list(arguments, "COMMAND_ARGUMENTS")
    for (name in flags)
        printf "{\"%s\", %s, %s},\n", name, flags[name] == "" ? "0" : flags[name],
            has(kinds, name) ? "COMMAND_" name : "COMMAND_OTHER"
}' | LC_ALL=C sort -t'"' -k2,2
