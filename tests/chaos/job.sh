#!/bin/sh
# A job that writes the truth: job.sh KIND [ARGUMENT]. Each line is one write to $CHAOS_TRUTH, which lies outside of
# agentd's state: WORD RUN_ID DUE ATTEMPT PID UPTIME [MORE].
#   S  began        O RUN_ID  began while that run of the same job was alive    C PID  has a child in another session
#   E CODE  came to its end      T  ended by SIGTERM
# The times are the kernel's uptime in seconds: no clock that is set or faked moves them.
note() {
    read -r up _ </proc/uptime
    echo "$1 $AGENTD_RUN_ID $AGENTD_DUE $AGENTD_ATTEMPT $$ $up $2" >>"$CHAOS_TRUTH"
}

# stands PID: sets $state and $began (in ticks since the boot) of a process; fails where there is none.
stands() {
    { read -r line </proc/"$1"/stat; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 -- a list of fields
    set -- ${line##*) }
    state=$1
    began=${20}
}

finish() {
    trap '' TERM # from its last line on SIGTERM cannot keep it from the result that it wrote
    note E "$1"
    exit "$1"
}

trap 'note T; exit 143' TERM
note S
alive=$CHAOS_ALIVE/$AGENTD_JOB
if { read -r pid since run <"$alive"; } 2>/dev/null && stands "$pid" && [ "$began" = "$since" ] && [ "$state" != Z ]; then
    note O "$run"
fi
stands $$ && echo "$$ $began $AGENTD_RUN_ID" >"$alive"

case $1 in
quick) ;;
sleep) sleep "$2" ;;
varied) sleep "0.$((${AGENTD_RUN_ID##*.} % 8 + 1))" ;;
fails)
    sleep "0.$((${AGENTD_RUN_ID##*.} % 5 + 1))"
    finish 3
    ;;
twice) [ "$AGENTD_ATTEMPT" -gt 1 ] || finish 1 ;; # succeeds at its second attempt
prints)
    sleep 0.1
    head -c "$2" /dev/zero | tr '\0' y
    echo
    ;;
hides) # a child with a session of its own that SIGTERM does not end
    setsid sh -c 'trap "" TERM; echo $$ >"$1"; sleep 3600 & wait; wait' hidden "$alive.child.$$" &
    sleep 0.3
    read -r child <"$alive.child.$$" && rm -f "$alive.child.$$" && note C "$child"
    sleep 3600
    ;;
stubborn)
    trap '' TERM
    sleep "$2" &
    wait
    ;;
esac
finish 0
