# SPDX-License-Identifier: MIT
# bash completion for lendisctl(1). Pools are asked of the broker, if it may be inspected.

_lendisctl_pools()
{
    lendisctl ${1:+--socket "$1"} --json show pools 2>/dev/null |
        sed -n 's/.*"pool": *"\([^"]*\)".*/\1/p'
}

_lendisctl()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} socket= list= i
    local -a words=()
@SHOWN shown words@
@COMMANDS commands words@
@WORDS lendisctl options all@

    COMPREPLY=()
    case $before in
@CASES lendisctl@
    esac
    if [ -n "$list" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
        return
    fi
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        return
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -s | --socket)
            socket=${COMP_WORDS[++i]}
            ;;
        -p | --pid | -t | --timeout | --connection | --worker | --format)
            i=$((i + 1))
            ;;
        -*) ;;
        *)
            words+=("${COMP_WORDS[i]}")
            ;;
        esac
    done
    if [ ${#words[@]} -eq 0 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    elif [ "${words[0]}" = show ] && [ ${#words[@]} -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$shown" -- "$word")
    elif [ "${words[0]}" = metrics ] || [ "${words[0]}" = top ]; then
        :
    elif [ "${words[0]}" = show ] && [ ${#words[@]} -eq 2 ] || [ ${#words[@]} -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_lendisctl_pools "$socket")" -- "$word")
    fi
}

complete -F _lendisctl lendisctl
