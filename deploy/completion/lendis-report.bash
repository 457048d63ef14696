# SPDX-License-Identifier: MIT
# bash completion for lendis-report(1).

_lendis_report()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} list= i
    local both="--connections-per-worker --idle --busy --costs --json --csv --help --version"
    local compare="--workers --pool-size --values --transport --reference --sweep --strict --plot"
    local watch="--match --unit --cgroup --socket --interval"

    COMPREPLY=()
    case $before in
    --transport)
        mapfile -t COMPREPLY < <(compgen -W "tcp unix" -- "$word")
        return
        ;;
    --plot | --costs | -s | --socket)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --unit)
        mapfile -t COMPREPLY < <(compgen -W "$(systemctl list-units --type service --plain --no-legend 2>/dev/null |
            awk '{ print $1 }')" -- "$word")
        return
        ;;
    --match)
        mapfile -t COMPREPLY < <(compgen -W "$(ps -e -o comm= | sort -u)" -- "$word")
        return
        ;;
    --workers | --connections-per-worker | --pool-size | --values | --sweep | --cgroup | --interval)
        return
        ;;
    esac
    list="$both $compare $watch"
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        compare) list="$both $compare" ;;
        watch) list="$both $watch" ;;
        esac
    done
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
    elif [ "$list" = "$both $compare $watch" ]; then
        mapfile -t COMPREPLY < <(compgen -W "compare watch" -- "$word")
    fi
}

complete -F _lendis_report lendis-report
