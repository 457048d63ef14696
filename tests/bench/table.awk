# SPDX-License-Identifier: MIT
#
# The table of one cell, from the rounds that lib.sh collected: a line per variant, medians over its rounds.
#
# Input: tab-separated, each line of values behind its header line (columns are found by name, so builds with other
# columns mix). Variables: cell; variants, comma-separated, the first is what the others are compared with; metrics,
# the file to which "cell<TAB>variant<TAB>name<TAB>value" is appended for every column's median, and
#   NAME_ratio     the median over rounds of NAME divided by the first variant's NAME in the same round
#   spread         (max - min) / median of op/s
#   wait_ratio     the median of p99 / p50
#   fairness_min   of all rounds; errors_sum, likewise wrong_sum and hung_sum

BEGIN { FS = "\t" }

$1 == "#cell" {
    for (i = 1; i <= NF; i++)
        column[i] = $i
    next
}

$1 == cell {
    seen[$2]++
    for (i = 4; i <= NF; i++)
        value[$2, column[i], $3] = $i
    if ($3 > last)
        last = $3
    for (i = 4; i <= NF; i++)
        names[column[i]] = 1
}

# The median of list[1..count], which is sorted on the way.
function median(list, count,    i, j, held)
{
    for (i = 2; i <= count; i++) {
        held = list[i]
        for (j = i - 1; j >= 1 && list[j] > held; j--)
            list[j + 1] = list[j]
        list[j + 1] = held
    }
    if (count == 0)
        return 0
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}

# Fills list with a column of all rounds; returns how many.
function collect(variant, name, list,    round, count)
{
    split("", list)
    for (round = 1; round <= last; round++)
        if ((variant, name, round) in value)
            list[++count] = value[variant, name, round] + 0
    return count + 0
}

# Likewise, divided by another variant's or another column's value of the same round.
function collect_ratio(variant, name, base, base_name, list,    round, count, divisor)
{
    split("", list)
    for (round = 1; round <= last; round++)
        if ((variant, name, round) in value && (base, base_name, round) in value) {
            divisor = value[base, base_name, round] + 0
            if (divisor > 0)
                list[++count] = value[variant, name, round] / divisor
        }
    return count + 0
}

function emit(variant, name, figure)
{
    figures[variant, name] = figure
    printf "%s\t%s\t%s\t%.6g\n", cell, variant, name, figure >>metrics
}

function total(variant, name,    list, count, sum, i)
{
    count = collect(variant, name, list)
    for (i = 1; i <= count; i++)
        sum += list[i]
    return sum + 0
}

function summarize(variant,    name, list, count)
{
    for (name in names) {
        if (name == "mode")
            continue
        count = collect(variant, name, list)
        emit(variant, name, median(list, count))
        count = collect_ratio(variant, name, base, name, list)
        emit(variant, name "_ratio", median(list, count))
        if (name == "ops_per_s") {
            low[variant] = list[1]
            high[variant] = list[count]
        }
    }
    count = collect(variant, "ops_per_s", list)
    emit(variant, "spread", median(list, count) > 0 ? (list[count] - list[1]) / median(list, count) : 0)
    count = collect_ratio(variant, "p99_us", variant, "p50_us", list)
    emit(variant, "wait_ratio", median(list, count))
    count = collect(variant, "fairness", list)
    median(list, count)
    emit(variant, "fairness_min", list[1])
    emit(variant, "errors_sum", total(variant, "errors"))
    emit(variant, "wrong_sum", total(variant, "wrong"))
    emit(variant, "hung_sum", total(variant, "hung"))
}

function duration(us)
{
    if (us < 100)
        return sprintf("%.1f us", us)
    if (us < 1000)
        return sprintf("%.0f us", us)
    if (us < 100000)
        return sprintf("%.2f ms", us / 1000)
    return sprintf("%.0f ms", us / 1000)
}

# 12,345
function grouped(number,    text, out)
{
    text = sprintf("%.0f", number)
    while (length(text) > 3) {
        out = "," substr(text, length(text) - 2) out
        text = substr(text, 1, length(text) - 3)
    }
    return text out
}

# CPU microseconds per operation of one part.
function per_op(variant, name)
{
    return figures[variant, "ops"] > 0 ? figures[variant, name] * 1e6 / figures[variant, "ops"] : 0
}

function print_row(variant,    ratio, bad)
{
    if (variant == base)
        ratio = "1"
    else
        ratio = sprintf("%.2f (%.2f-%.2f)", figures[variant, "ops_per_s_ratio"], low[variant], high[variant])
    bad = figures[variant, "errors_sum"] + figures[variant, "wrong_sum"] + figures[variant, "hung_sum"]
    printf "  %-18s %9s %4.0f%%  %-17s %9s %9s %9s %9s  %5.2f  %6.1f = %5.1f %5.1f %5.1f %5.1f  %5d %6d  %5.2f\n", \
        variant, grouped(figures[variant, "ops_per_s"]), 100 * figures[variant, "spread"], ratio, \
        duration(figures[variant, "p50_us"]), duration(figures[variant, "p99_us"]), \
        duration(figures[variant, "p999_us"]), duration(figures[variant, "max_us"]), figures[variant, "fairness"], \
        figures[variant, "cpu_us_per_op"], per_op(variant, "cpu_workers"), per_op(variant, "cpu_broker"), \
        per_op(variant, "cpu_proxy"), per_op(variant, "cpu_redis"), figures[variant, "connections"], bad, \
        figures[variant, "other_load"]
}

END {
    count = split(variants, order, ",")
    base = order[1]
    printf "  %-18s %9s %5s  %-17s %9s %9s %9s %9s  %5s  %6s   %5s %5s %5s %5s  %5s %6s  %5s\n", "variant", "op/s", \
        "+-", "times the first", "p50", "p99", "p99.9", "max", "fair", "CPU us", "work", "brok", "prox", "redis", \
        "conns", "errors", "other"
    for (i = 1; i <= count; i++)
        if (order[i] in seen) {
            summarize(order[i])
            print_row(order[i])
        }
}
