# SPDX-License-Identifier: MIT
#
# Judges the arrows between files that layers.sh computes, by what tests/lint/layers allows and
# tests/lint/known-circles excuses. A circle is a largest set of files each of which reaches every
# other one; it is named by its files in their order.

# The room that a file is in: the nearest folder above it that the table has. A folder that it has
# not is a part of the one around it.
function folder_of(file,    folder)
{
    sub(/\/[^\/]*$/, "", file)
    for (folder = file; folder ~ /\// && !(folder in layer);)
        sub(/\/[^\/]*$/, "", folder)
    return folder in layer ? folder : file
}

function fail(text)
{
    print text | "cat >&2"
    bad = 1
}

function know(kind, file)
{
    if (!((kind, file) in known))
        files[kind] = files[kind] " " file
    known[kind, file] = 1
}

function add(kind, from, to)
{
    know(kind, from)
    know(kind, to)
    if (from != to)
        next_of[kind, from] = next_of[kind, from] " " to
}

# Everything that `start` reaches: reach[kind, start, file].
function walk(kind, start,    todo, first, to, i, n)
{
    for (todo = start; todo != "";) {
        first = todo
        sub(/ .*/, "", first)
        todo = index(todo, " ") ? substr(todo, index(todo, " ") + 1) : ""
        n = split(next_of[kind, first], to, " ")
        for (i = 1; i <= n; i++)
            if (!((kind, start, to[i]) in reach)) {
                reach[kind, start, to[i]] = 1
                todo = todo == "" ? to[i] : todo " " to[i]
            }
    }
}

# The circle that `file` is in, or "".
function circle_of(kind, file, list, n,    i, j, all, in_it, count)
{
    for (i = 1; i <= n; i++)
        if (((kind, file, list[i]) in reach) && ((kind, list[i], file) in reach)) {
            for (j = count++; j > 0 && in_it[j] > list[i]; j--)
                in_it[j + 1] = in_it[j]
            in_it[j + 1] = list[i]
        }
    for (i = 1; i <= count; i++)
        all = all (i > 1 ? " " : "") in_it[i]
    return all
}

function find_circles(kind, found,    list, n, i, circle)
{
    n = split(files[kind], list, " ")
    for (i = 1; i <= n; i++)
        walk(kind, list[i])
    for (i = 1; i <= n; i++)
        if ((circle = circle_of(kind, list[i], list, n)) != "")
            found[circle] = 1
}

/^#|^ *$/ { next }

FILENAME == "tests/lint/layers" {
    name = $1
    sub(/:$/, "", name)
    for (i = 2; i <= NF; i++) {
        if (!($i in layer))
            fail("tests/lint/layers: " name " may not use " $i ", which does not stand above it")
        may[name, $i] = 1
    }
    layer[name] = may[name, name] = may[name, "include"] = may[name, "include/lendis"] = 1
    may[name, "libclient/shared"] = name != "include/lendis"
    next
}

FILENAME == "tests/lint/known-circles" {
    listed[$0] = 1
    next
}

{
    from = folder_of($2)
    to = folder_of($3)
    if (from != "include" && !may[from, to] && !(($2, $3) in said)) {
        fail($2 " uses " $3 ($4 == "" ? "" : " (" $4 ")") ": " from " may not use " to)
        said[$2, $3] = 1
    }
    if ($1 == "symbol" || ($2 ~ /\.h$/ && $3 ~ /\.h$/))
        add($1, $2, $3)
}

END {
    find_circles("include", included)
    for (circle in included)
        fail("headers include each other: " circle)
    find_circles("symbol", found)
    for (circle in found)
        if (!(circle in listed))
            fail("files use each other, and tests/lint/known-circles has not this line:\n" circle)
    for (circle in listed)
        if (!(circle in found))
            fail("no circle by now, take it out of tests/lint/known-circles:\n" circle)
    exit bad
}
