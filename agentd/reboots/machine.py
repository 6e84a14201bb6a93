"""Files that tell about a reboot: whether one is wanted, and whether packages are being installed."""

import contextlib
import re
from pathlib import Path

from agentd.core.reboots.model import Blocker

REQUIRED = Path("/run/reboot-required")
LOCKS = (Path("/var/lib/dpkg/lock-frontend"), Path("/var/lib/dpkg/lock"), Path("/var/lib/apt/lists/lock"))
PROC_LOCKS = Path("/proc/locks")
_HELD = re.compile(r"^\d+: \S+ +\S+ +WRITE +(-?\d+) +[0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)


def reboot_required() -> bool:
    """Tells whether an upgrade asks for a reboot."""
    return REQUIRED.exists()


def package_manager() -> list[Blocker]:
    """Returns the process that holds a lock of dpkg or apt. The files are root's, but everybody may read in /proc/locks
    which process holds them.

    An inode of another file system may have the same number; then a reboot waits for nothing, which is the safe side.
    """
    inodes: dict[int, str] = {}
    for file in LOCKS:
        with contextlib.suppress(OSError):
            inodes[file.stat().st_ino] = str(file)
    try:
        held = _HELD.findall(PROC_LOCKS.read_text())
    except OSError as error:
        return [Blocker("package-manager", "", f"{PROC_LOCKS} cannot be read: {(error.strerror or '').lower()}")]
    found = [(int(pid), inodes[int(inode)]) for pid, inode in held if int(inode) in inodes]
    return [
        Blocker("package-manager", _name(pid), f"{_name(pid)} is at work and holds {file}") for pid, file in found[:1]
    ]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (process {pid})"
    return f"process {pid}"
