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
#
# A marker that it does not know is an error, and so is one that yields nothing.
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
        value[substr(pairs[i], 1, index(pairs[i], "=") - 1)] = substr(pairs[i], index(pairs[i], "=") + 1)
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

/^@[A-Z]+.*@$/ {
    words = substr($0, 2, length($0) - 2)
    name = words
    sub(/ .*/, "", name)
    sub(/^[A-Z]+ ?/, "", words)
    section = words
    sub(/ .*/, "", section)
    given = words
    sub(/^[^ ]* ?/, "", given)
    found = 0
    if (name == "KEYS")
        found = keys(section)
    else if (name == "EXAMPLE")
        found = example(section, given)
    else if (name == "METRICS")
        found = metrics()
    else if (name == "COUNTERS")
        found = counters(words)
    if (found > 0)
        next
    print "generate.sh: " FILENAME ":" FNR ": nothing is known about " $0 | "cat >&2"
    failed = 1
    exit
}
{ print }
END { exit failed }
' "$2"
