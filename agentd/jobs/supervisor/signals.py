"""Names of signals, for all that runs jobs. Nothing but the standard library: the supervisor has no more."""

import signal


def name_of(number: int) -> str:
    """Returns the name of a signal as systemd has it: SIGKILL, SIGRTMIN+6."""
    if number in signal.Signals._value2member_map_:
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"SIG{number}"
