"""Standalone mode: the lock of the state directory, the private bus and where agentctl finds it."""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

_BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <!-- a session bus: only the user that runs agentd may connect -->
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""


class Unusable(Exception):
    """Standalone mode cannot start here; the text is a sentence."""


def default_state() -> Path:
    """Where the state goes when nobody says: the user's state directory (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "agentd"


def runtime() -> Path:
    """Where the bus's socket and its address are; agentctl looks there."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "agentd" if given else Path.home() / ".cache/agentd"


async def lock(state: Path, patience: float = 15.0) -> int:
    """Takes the state directory for this daemon and its supervisor; waits while the jobs of a killed one end.

    Returns the locked file's descriptor. Raises Unusable when another agentd lives there.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"the state directory {state} cannot be used: {(error.strerror or '').lower()}") from None
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            alive = holder.isdigit() and _is_agentd(int(holder))
            if alive or asyncio.get_running_loop().time() > deadline:
                os.close(descriptor)
                who = f"another agentd (process {holder})" if alive else "the jobs of an agentd that was killed"
                raise Unusable(f"{who} uses the state directory {state}; choose another with --state-dir") from None
            await asyncio.sleep(0.02)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor


def _is_agentd(pid: int) -> bool:
    """Whether the process lives (a zombie does not, and has no command line) and is an agentd."""
    with contextlib.suppress(OSError):
        return b"agentd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
