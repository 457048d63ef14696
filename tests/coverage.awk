#!/usr/bin/awk -f
# SPDX-License-Identifier: MIT
# Sums up what "gcov -n" says: a line for each source file, and the total.
/^File / { file = $2; gsub(/\047/, "", file) }
/^Lines executed:/ && file != "" {
    split($0, part, /[:% ]+/)
    lines = $NF
    hit_lines = lines * part[3] / 100
    if (file ~ /^(broker|libclient|include)\// && !(file in all) || all[file] < hit_lines) {
        all[file] = hit_lines
        count[file] = lines
    }
    file = ""
}
END {
    for (file in count) {
        share = 100 * all[file] / count[file]
        printf "%6.1f %% of %5d  %s\n", share, count[file], file | "sort -k5"
        hit += all[file]
        total += count[file]
    }
    close("sort -k5")
    if (total)
        printf "%6.1f %% of %5d  in all\n", 100 * hit / total, total
}
