"""Names of signals, for all that runs jobs. Nothing but the standard library: the supervisor has no more."""

from agentd.jobs.supervisor.lean import signal

# Of two names of a signal the first in the alphabet counts, as in signal.Signals, which would bring enum: SIGCHLD.
_NAMES = {
    number: name
    for name, number in sorted(vars(signal).items(), reverse=True)
    if name.startswith("SIG") and not name.startswith("SIG_")
}


def name_of(number: int) -> str:
    """Returns the name of a signal as systemd has it: SIGKILL, SIGRTMIN+6."""
    if number in _NAMES:
        return _NAMES[number]
    return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"SIG{number}"
