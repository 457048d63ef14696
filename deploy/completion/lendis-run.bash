# SPDX-License-Identifier: MIT
# bash completion for lendis-run(1).

_lendis_run_units()
{
    systemctl list-unit-files --type service --plain --no-legend 2>/dev/null | awk '{ print $1 }'
}

_lendis_run()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} list="" i=1
@WORDS lendis-run options all@

    # Behind the command it is the command's.
    while [ "$i" -lt "$COMP_CWORD" ]; do
        case ${COMP_WORDS[i]} in
        -s | --socket | --wait | --library | --install) i=$((i + 2)) ;;
        -*) i=$((i + 1)) ;;
        *) break ;;
        esac
    done
    if [ "$i" -lt "$COMP_CWORD" ] && declare -F _command_offset >/dev/null; then
        _command_offset "$i"
        return
    fi
    COMPREPLY=()
    case $before in
@CASES lendis-run@
    esac
    if [ -n "$list" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$word")
    fi
}

complete -F _lendis_run lendis-run
