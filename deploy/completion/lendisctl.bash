# SPDX-License-Identifier: MIT
# bash completion for lendisctl(1). Pools are asked of the broker, if it may be looked at.

_lendisctl_pools()
{
    lendisctl ${1:+--socket "$1"} --json show pools 2>/dev/null |
        sed -n 's/.*"pool": *"\([^"]*\)".*/\1/p'
}

_lendisctl()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} socket= i
    local -a words=()
    local shown="pools connections workers stats latency leases waiters config"
    local commands="show top metrics pause resume drain kill reconnect set reload"

    COMPREPLY=()
    case $before in
    -s | --socket)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    -p | --pid | --worker)
        mapfile -t COMPREPLY < <(compgen -W "$(ps -e -o pid=)" -- "$word")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W "openmetrics prometheus" -- "$word")
        return
        ;;
    -t | --timeout | --connection)
        return
        ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--timeout --connection --worker --socket --pid --json --all \
            --format --list-metrics --list-counters --list-commands --help --version" -- "$word")
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
