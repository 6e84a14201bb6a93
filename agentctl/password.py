"""polkit's agent for terminals, through which polkit asks the person at the keyboard for a password."""

import os
import shutil
import subprocess
from contextlib import suppress


def start() -> subprocess.Popen[bytes] | None:
    """Starts the agent for this process and waits until polkit knows it. Returns None where no agent is installed."""
    program = shutil.which("pkttyagent")
    if program is None:  # polkit then says no
        return None
    ready, told = os.pipe()
    # The agent asks on behalf of the process that started it, unless the session has one of its own (--fallback).
    process = subprocess.Popen([program, "--notify-fd", str(told), "--fallback"], pass_fds=[told])
    os.close(told)
    os.read(ready, 1)  # the agent closes its end when polkit knows it
    os.close(ready)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the agent, which puts the terminal back in order itself."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
