# SPDX-License-Identifier: MIT
# bash completion for lendis-report(1).

_lendis_report_names()
{
    ps -e -o comm= | sort -u
}

_lendis_report_units()
{
    systemctl list-units --type service --plain --no-legend 2>/dev/null | awk '{ print $1 }'
}

_lendis_report()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} list= i
@WORDS lendis-report both -@
@WORDS lendis-report compare compare@
@WORDS lendis-report watch watch@

    COMPREPLY=()
    case $before in
@CASES lendis-report@
    esac
    if [ -n "$list" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
        return
    fi
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
