#!/bin/sh
# SPDX-License-Identifier: MIT
#
# generate.sh BUILD FILE: prints FILE with each marker, a line of its own, replaced by what the
# programs in folder BUILD say of themselves, so that each fact is written down once, in the code:
#
#   @KEYS SECTION@                   for the manual: keys of the configuration
#   @EXAMPLE SECTION KEY=VALUE...@   for the example: the same, commented out but for those given
#   @METRICS@                        for the manual: metrics
#   @COUNTERS KIND...@               for the manual: counters and reasons of these kinds
#   @OPTIONS PROGRAM SCOPE@          for the manual: options of a command of the program, "-" for
#                                    those of none, or "all"
#   @COMMANDS@                       for the manual: commands of lendisctl
#   @ZSH PROGRAM@                    for completions of zsh: arguments of _arguments
#   @WORDS PROGRAM VARIABLE SCOPE@   for those of bash: options, with SCOPE as above
#   @CASES PROGRAM@                  for those of bash: what list is offered behind an option
#   @COMMANDS VARIABLE FORM@         of lendisctl: commands, for bash (words) or zsh (described), or
#   @SHOWN VARIABLE FORM@            what can be shown
#
# PROGRAM is a name, or a name and a word, as in lendis-bench/load. A marker that is not known is an
# error, and so is one that yields nothing.
set -eu

[ $# -eq 2 ] || { echo "usage: generate.sh BUILD FILE" >&2; exit 64; }

awk -v build="$1" '
function escaped(text)
{
    gsub(/_/, "\\_", text)
    return text
}

function plain(text)
{
    gsub(/\*/, "", text)
    gsub(/ _/, " ", text)
    gsub(/\(_/, "(", text)
    sub(/^_/, "", text)
    gsub(/_[ ]/, " ", text)
    gsub(/_,/, ",", text)
    gsub(/_;/, ";", text)
    gsub(/_\./, ".", text)
    sub(/_$/, "", text)
    return text
}

# Prints `text` as comments of 100 columns at most.
function comment(text,    words, count, i, line)
{
    count = split(plain(text), words, " ")
    line = "#"
    for (i = 1; i <= count; i++) {
        if (length(line) + 1 + length(words[i]) > 100) {
            print line
            line = "#"
        }
        line = line " " words[i]
    }
    print line
}

# "a, b or c" with each value in bold.
function choices(range)
{
    gsub(/[a-z_]+/, "*&*", range)
    gsub(/\*or\*/, "or", range)
    return range
}

function key_type(type, range)
{
    if (type == "choice")
        return choices(range)
    if (type == "yes-or-no")
        return "*yes* or *no*"
    return "_" type "_" (range == "" ? "" : ", " range)
}

function keys(section,    command, part, found)
{
    command = build "/lendisd --list-keys"
    while ((command | getline line) > 0) {
        split(line, part, "\t")
        if (part[1] != section)
            continue
        if (found++)
            print ""
        printf "*%s* (%s", part[2], key_type(part[3], part[5])
        printf "%s)\n", part[4] == "" ? "" : ", default *" part[4] "*"
        printf "\t%s%s\n", part[6], part[7] == "" ? "" : " " part[7]
    }
    close(command)
    return found
}

function example(section, given,    command, part, found, count, pairs, i, value)
{
    count = split(given, pairs, " ")
    for (i = 1; i <= count; i++)
        value[substr(pairs[i], 1, index(pairs[i], "=") - 1)] = \
            substr(pairs[i], index(pairs[i], "=") + 1)
    command = build "/lendisd --list-keys"
    while ((command | getline line) > 0) {
        split(line, part, "\t")
        if (part[1] != section)
            continue
        if (found++)
            print ""
        comment(part[6] (part[3] == "choice" && part[6] !~ /\*/ ? " One of " part[5] "." : ""))
        if (part[2] in value)
            print part[2] " = " value[part[2]]
        else
            print "#" part[2] " =" (part[4] == "" ? "" : " " part[4])
    }
    close(command)
    return found
}

# All but the first few metrics have the label pool: the page says so.
function metrics(    command, part, found, labels)
{
    command = build "/lendisctl --list-metrics"
    while ((command | getline line) > 0) {
        split(line, part, "\t")
        labels = part[3]
        sub(/^(-|pool),?/, "", labels)
        if (found++)
            print ""
        printf "*%s* (%s%s)\n", part[1], part[2], labels == "" ? "" : ", label *" labels "*"
        printf "\t%s\n", escaped(part[4])
    }
    close(command)
    return found
}

function counters(kinds,    command, part, found)
{
    command = build "/lendisctl --list-counters"
    while ((command | getline line) > 0) {
        split(line, part, "\t")
        if (index(" " kinds " ", " " part[1] " ") == 0)
            continue
        if (found++)
            print ""
        printf "*%s* (%s)\n", part[2], part[3]
        printf "\t%s\n", escaped(part[4])
    }
    close(command)
    return found
}

# The lines that `command` prints, into line[1...]. Returns how many.
function read_lines(command, lines,    count)
{
    count = 0
    while ((command | getline line) > 0)
        lines[++count] = line
    close(command)
    return count
}

function listed(program, lines)
{
    sub("/", " ", program)
    return read_lines(build "/" program " --list-options", lines)
}

# Whether an option that belongs to command `own` ("": to none) is of `scope`.
function in_scope(own, scope)
{
    return scope == "all" || own == scope || (scope == "-" && own == "")
}

# ---- the manual ----

# A sentence of what the help says: with a capital letter, options and `values` (separated by
# spaces) in bold, and a stop.
function sentence(text, values,    count, words, i, core)
{
    text = escaped(text)
    gsub(/--[a-z][a-z-]+/, "*&*", text)
    if (values != "" && values !~ /^@/) {
        count = split(text, words, " ")
        text = ""
        for (i = 1; i <= count; i++) {
            core = words[i]
            gsub(/[(),;:]/, "", core)
            if (core != "" && index(" " values " ", " " core " "))
                sub(core, "*&*", words[i])
            text = text (i == 1 ? "" : " ") words[i]
        }
    }
    return capital(text) "."
}

function capital(text,    at)
{
    at = substr(text, 1, 1) == "*" ? 2 : 1
    return substr(text, 1, at - 1) toupper(substr(text, at, 1)) substr(text, at + 1)
}

# "[_POOL_] _KEY_=_VALUE_"
function placeholders(text)
{
    gsub(/[A-Z]+/, "_&_", text)
    return text
}

# What is said of option or command: `text` may begin with the command it belongs to, "kill: ...".
function described(text, own, values, more,    command)
{
    command = own == "" ? "" : text
    if (command != "" && index(command, own) == 1 && match(command, /^[a-z ]+: /)) {
        command = substr(text, 1, RLENGTH - 2)
        text = "for *" command "*: " substr(text, RLENGTH + 1)
    }
    return sentence(text, values) (more == "" ? "" : " " more)
}

function options(program, scope,    lines, count, i, part, found, own, argument)
{
    count = listed(program, lines)
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        if (part[2] == "" && scope != "all" || part[2] != "" && !in_scope(part[5], scope))
            continue
        if (found++)
            print ""
        if (part[2] == "") {
            print "## " part[6]
            continue
        }
        argument = part[3] ~ /^[A-Z]+=?[A-Z]*$/ ? placeholders(part[3]) : "_" part[3] "_"
        printf "%s*--%s*%s\n", part[1] == "" ? "" : "*-" part[1] "*, ", part[2],
            part[3] == "" ? "" : " " argument
        printf "\t%s\n", described(part[6], part[5], part[4], part[7])
    }
    return found
}

# Commands of lendisctl.
function described_commands(    lines, count, i, part)
{
    count = read_lines(build "/lendisctl --list-commands", lines)
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        printf "%s*%s*%s\n", i == 1 ? "" : "\n", part[1],
            part[2] == "" ? "" : " " placeholders(part[2])
        printf "\t%s\n", described(part[3], "", "", part[4])
    }
    return count
}

# ---- completions ----

# What completes an argument: "@rows" of lendis-bench is the function _lendis_bench_rows.
function function_of(program, values)
{
    gsub(/-/, "_", program)
    return "_" program "_" substr(values, 2)
}

# For zsh, between single quotes; and between brackets, too.
function quoted(text)
{
    gsub(/:/, "\\:", text)
    gsub(/\047/, "\047\\\047\047", text)
    return text
}

function zsh_escaped(text)
{
    gsub(/\[/, "\\[", text)
    gsub(/\]/, "\\]", text)
    return quoted(text)
}

function zsh_action(program, values)
{
    if (values == "@files")
        return "_files"
    if (values == "@pids")
        return "_pids"
    if (values ~ /^@/)
        return function_of(program, values)
    return values == "" ? "" : "(" values ")"
}

function zsh(program,    lines, count, i, part, names, argument)
{
    count = listed(program, lines)
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        if (part[2] == "")
            continue
        names = "\047--" part[2]
        if (part[1] != "")
            names = "\047(-" part[1] " --" part[2] ")\047{-" part[1] ",--" part[2] "}\047"
        argument = ""
        if (part[3] != "")
            argument = ":" tolower(part[3]) ":" zsh_action(program, part[4])
        printf "    %s[%s]%s\047 \\\n", names, zsh_escaped(part[6]), argument
    }
    return count
}

function words(program, variable, scope,    lines, count, i, part, list)
{
    count = listed(program, lines)
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        if (part[2] != "" && in_scope(part[5], scope))
            list = list (list == "" ? "" : " ") "--" part[2]
    }
    print "    local " variable "=\"" list "\""
    return list != ""
}

function cases(program,    lines, count, i, part, label, free)
{
    count = listed(program, lines)
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        if (part[3] == "")
            continue
        label = (part[1] == "" ? "" : "-" part[1] " | ") "--" part[2]
        if (part[4] == "") {
            free = free (free == "" ? "" : " | ") label
            continue
        }
        print "    " label ")"
        if (part[4] == "@files")
            print "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n        return"
        else if (part[4] == "@pids")
            print "        list=$(ps -e -o pid=)"
        else if (part[4] ~ /^@/)
            print "        list=$(" function_of(program, part[4]) ")"
        else
            print "        list=\"" part[4] "\""
        print "        ;;"
    }
    if (free != "")
        print "    " free ")\n        return\n        ;;"
    return count
}

# Commands of lendisctl, or, if `shown`, what it can show.
function commands(variable, form, shown,    lines, count, i, part, list, found, seen, name, text)
{
    count = read_lines(build "/lendisctl --list-commands", lines)
    list = form == "zsh" ? "    " variable "=(\n" : ""
    for (i = 1; i <= count; i++) {
        split(lines[i], part, "\t")
        name = part[1]
        text = part[3]
        if (name ~ /^show /) {
            name = shown ? substr(name, 6) : "show"
            text = shown ? text : "what a broker and its workers do"
        } else if (shown)
            continue
        if (seen[name]++)
            continue
        found++
        if (form == "zsh")
            list = list "        \047" name ":" quoted(text) "\047\n"
        else
            list = list (list == "" ? "" : " ") name
    }
    print form == "zsh" ? list "    )" : "    local " variable "=\"" list "\""
    return found
}

/^@[A-Z]+.*@$/ {
    rest = substr($0, 2, length($0) - 2)
    split(rest, field, " ")
    name = field[1]
    sub(/^[A-Z]+ ?/, "", rest)
    given = rest
    sub(/^[^ ]* ?/, "", given)
    found = 0
    if (name == "KEYS")
        found = keys(field[2])
    else if (name == "EXAMPLE")
        found = example(field[2], given)
    else if (name == "METRICS")
        found = metrics()
    else if (name == "COUNTERS")
        found = counters(rest)
    else if (name == "ZSH")
        found = zsh(field[2])
    else if (name == "WORDS")
        found = words(field[2], field[3], field[4])
    else if (name == "CASES")
        found = cases(field[2])
    else if (name == "OPTIONS")
        found = options(field[2], field[3])
    else if (name == "COMMANDS" && rest == "")
        found = described_commands()
    else if (name == "COMMANDS" || name == "SHOWN")
        found = commands(field[2], field[3], name == "SHOWN")
    if (found > 0)
        next
    print "generate.sh: " FILENAME ":" FNR ": nothing is known about " $0 | "cat >&2"
    failed = 1
    exit
}
{ print }
END { exit failed }
' "$2"
