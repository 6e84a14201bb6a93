"""Messages of agentd to the service manager that runs it (sd_notify(3))."""

import os
import time

from systemd import daemon


def notify(*lines: str) -> None:
    """Sends the service manager some assignments, such as READY=1; does nothing where no service manager listens."""
    daemon.notify("\n".join(lines))


def reloading() -> None:
    """Tells that a reload has begun; READY=1 ends the reload."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog() -> int | None:
    """Returns after how many microseconds the service manager takes a silent agentd for hung, or None for never."""
    text, mine = os.environ.get("WATCHDOG_USEC", ""), str(os.getpid())
    return int(text) if text.isdecimal() and os.environ.get("WATCHDOG_PID", mine) == mine else None
