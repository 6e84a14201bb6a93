"""What agentd tells the service manager that runs it (sd_notify(3))."""

import os
import time

from systemd import daemon


def notify(*lines: str) -> None:
    """Tells it something; nothing happens where there is none."""
    daemon.notify("\n".join(lines))


def reloading() -> None:
    """A reload that it asked for begins; READY=1 ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog() -> int | None:
    """Microseconds after which it takes a silent agentd for hung, or None."""
    text, mine = os.environ.get("WATCHDOG_USEC", ""), str(os.getpid())
    return int(text) if text.isdigit() and os.environ.get("WATCHDOG_PID", mine) == mine else None
