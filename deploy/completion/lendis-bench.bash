# SPDX-License-Identifier: MIT
# bash completion for lendis-bench(1).

_lendis_bench()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} begin="" list=""
    local variants="direct lendis: exec: lease: acquire: transaction: direct-transaction twemproxy haproxy"

    COMPREPLY=()
    case $before in
    -r | --rows)
        list=$(lendis-bench --list-rows 2>/dev/null | awk '{ print $1 }')
        ;;
    -t | --transport)
        list="tcp unix"
        ;;
    -v | --variants)
        list=$variants
        ;;
    --think-kind)
        list="exponential fixed"
        ;;
    --plot)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    -w | --workers | --think | --value | --mix | --rate | --leasers | --hold | -s | --seconds | -n | --rounds | --ramp | \
        --quiet | --broker-set | --pool-set)
        return
        ;;
    esac
    if [ -n "$list" ]; then
        # A list goes on behind its last comma.
        case $word in *,*) begin=${word%,*}, ;; esac
        mapfile -t COMPREPLY < <(compgen -P "$begin" -W "$list" -- "${word#"$begin"}")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--full --rows --list-rows --transport --variants --workers --think --think-kind \
            --value --mix --rate --leasers --hold --seconds --rounds --ramp --awake --quiet --broker-set --pool-set --json \
            --csv --plot --strict --help --version" -- "$word")
    elif [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W load -- "$word")
    fi
}

complete -o nospace -F _lendis_bench lendis-bench
