# bash completion for agentctl(1): commands, options, and the names of jobs, which agentctl asks the daemon for.
#
# This is what `agentctl completion bash` prints; it only calls agentctl, which knows what can follow.
# Installed as /usr/share/bash-completion/completions/agentctl it is loaded when it is first needed.

_agentctl_completion() {
    local IFS=$'\n'
    local response

    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _AGENTCTL_COMPLETE=bash_complete $1)

    for completion in $response; do
        IFS=',' read type value <<< "$completion"

        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=($value)
        fi
    done

    return 0
}

_agentctl_completion_setup() {
    complete -o nosort -F _agentctl_completion agentctl
}

_agentctl_completion_setup;
