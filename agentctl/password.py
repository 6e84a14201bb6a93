"""polkit's agent for terminals: lets it ask the person at the keyboard for a password, as systemctl does."""

import os
import shutil
import subprocess
from contextlib import suppress


def start() -> subprocess.Popen[bytes] | None:
    """Starts the agent for this process; returns once it is registered. None where there is none to start."""
    program = shutil.which("pkttyagent")
    if program is None:  # polkit then says no
        return None
    ready, told = os.pipe()
    # It asks on behalf of the process that started it, unless the session has an agent of its own (--fallback).
    process = subprocess.Popen([program, "--notify-fd", str(told), "--fallback"], pass_fds=[told])
    os.close(told)
    os.read(ready, 1)  # it closes its end when it is registered
    os.close(ready)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the agent; it puts the terminal back in order itself."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
