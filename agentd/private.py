"""Standalone mode: the lock of the state directory, the private bus and where agentctl finds it."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
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


class PrivateBus:
    """The bus of a standalone agentd, which only its user may use. `state` is the state directory."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = runtime()
        self._socket = self._folder / f"bus-{os.getpid()}"
        self.address = f"unix:path={self._socket}"

    def start(self, keep: Callable[[str, str, Sequence[str], Path], None]) -> None:
        """Has the bus started by `keep`, as Children.keep. Raises Unusable where there is no dbus-daemon."""
        import shutil  # noqa: PLC0415 - with its compressions half a MiB, for one look

        program = shutil.which("dbus-daemon")
        if program is None:
            raise Unusable("dbus-daemon is not installed (apt install dbus-daemon)")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        config = self._state / "bus.conf"
        config.write_text(_BUS_CONFIG.format(socket=self._socket))
        argv = [program, f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog"]
        keep("bus", "the private bus", argv, self._state / "bus.log")

    def publish(self) -> None:
        """Tells agentctl where the bus is, once agentd answers there."""
        new = self._folder / f"address.{os.getpid()}"
        new.write_text(f"{self.address}\n{os.getpid()}\n")
        new.rename(self._folder / "address")

    def close(self) -> None:
        """Takes back what tells of the bus."""
        published = self._folder / "address"
        if published.exists() and published.read_text().startswith(f"{self.address}\n"):
            published.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)


class Unusable(Exception):
    """Standalone mode cannot start here; the text is a sentence."""


def default_state() -> Path:
    """Returns where the state goes when nobody says: the user's state directory (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "agentd"


def runtime() -> Path:
    """Returns the folder of the bus's socket and its address; agentctl looks there."""
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
            alive = holder.isdecimal() and _is_agentd(int(holder))
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
    """Tells whether the process lives (a zombie does not, and has no command line) and is an agentd."""
    with contextlib.suppress(OSError):
        return b"agentd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
