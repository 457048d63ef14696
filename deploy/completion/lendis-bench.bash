# SPDX-License-Identifier: MIT
# bash completion for lendis-bench(1).

_lendis_bench_rows()
{
    lendis-bench --list-rows 2>/dev/null | awk '{ print $1 }'
}

_lendis_bench_variants()
{
    echo direct lendis: exec: lease: acquire: transaction: direct-transaction twemproxy haproxy
}

_lendis_bench()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} begin="" list=""
@WORDS lendis-bench options all@
@WORDS lendis-bench/load load all@

    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ] && [ "${COMP_WORDS[1]}" = load ]; then
        options=$load
        case $before in
@CASES lendis-bench/load@
        esac
    else
        case $before in
@CASES lendis-bench@
        esac
    fi
    if [ -n "$list" ]; then
        # A list goes on behind its last comma.
        case $word in *,*) begin=${word%,*}, ;; esac
        mapfile -t COMPREPLY < <(compgen -P "$begin" -W "$list" -- "${word#"$begin"}")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    elif [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W load -- "$word")
    fi
}

complete -o nospace -F _lendis_bench lendis-bench
