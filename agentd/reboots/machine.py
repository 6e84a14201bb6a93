"""Files that tell about a reboot: whether one is wanted, and whether packages are being installed."""

import contextlib
import os
import re
from pathlib import Path

from agentd.core.reboots import policy
from agentd.core.reboots.model import Blocker
from agentd.reboots import mounts

REQUIRED = Path(policy.REQUIRED)
LOCKS: tuple[Path, ...] = (
    Path("/var/lib/dpkg/lock-frontend"),
    Path("/var/lib/dpkg/lock"),
    Path("/var/lib/apt/lists/lock"),
    Path("/run/unattended-upgrades.lock"),  # held for all of an upgrade, also between two steps that dpkg does
)
WRITERS = policy.WRITERS
SCHEDULED = Path("/run/systemd/shutdown/scheduled")
PROC = Path("/proc")
ROOT = 0
"""The user of package managers."""
_HELD = re.compile(r"^\d+: (\S+) +\S+ +WRITE +(-?\d+) +([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)
_BY = re.compile(r"^UID=(\d{1,10})$", re.MULTILINE)
_Key = tuple[int, int, int]  # of a file, as /proc/locks names it: the major and minor number of its device, the inode


def reboot_required(file: str = policy.REQUIRED) -> bool:
    """Tells whether the machine asks for a reboot, by a file that exists."""
    return os.path.exists(REQUIRED if file == policy.REQUIRED else file)  # noqa: PTH110 - what may not be seen is absent


def unwritten(file: str) -> str:
    """Returns why that file may never say that the machine asks for a reboot, as a sentence; "" where it may."""
    if file == policy.REQUIRED:
        written = REQUIRED.exists() or any(map(os.path.exists, WRITERS))
        return "" if written else f"nothing on this machine would write {file} (unattended-upgrades does)"
    try:
        Path(file).lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"agentd cannot see {file} ({(error.strerror or '').lower()})"
    return ""


def scheduler() -> int | None:
    """Returns the number of the user who scheduled the shutdown that logind waits for; None where logind did not write
    that down, as older ones do not."""
    with contextlib.suppress(OSError):
        found = _BY.search(SCHEDULED.read_text(errors="replace"))
        return None if found is None else int(found[1])
    return None


def package_manager() -> list[Blocker]:
    """Returns the process that holds a lock of dpkg, apt or unattended-upgrades. The files are root's, but everybody
    may read in /proc/locks which process holds them.

    Inodes of other file systems have the same numbers, and everybody can have one made with a certain number: a lock
    counts only on the device of the file, and only where root holds it. A process that is gone counts as root's, and
    so does one that nobody names.

    Where many subvolumes share a device, as with btrfs, the inode may be that of anybody's file. There only POSIX locks
    count, as dpkg and apt take them: those of other kinds name no holder, or one that is long gone.
    """
    own = {key: file for file in LOCKS if (key := _key(file)) is not None}
    files = {**{_key_of_mount(key, file): file for key, file in own.items()}, **own}
    try:
        held = _HELD.findall((PROC / "locks").read_text(errors="replace"))
    except OSError as error:
        return [Blocker("package-manager", "", f"{PROC / 'locks'} cannot be read: {(error.strerror or '').lower()}")]
    for kind, pid, major, minor, inode in held:
        key = (int(major, 16), int(minor, 16), int(inode))
        file = files.get(key)
        if file is not None and (kind == "POSIX" or key in own) and _may_be_root(pid):
            return [Blocker("package-manager", _name(pid), f"{_name(pid)} is at work and holds {file}")]
    return []


def _key(file: Path) -> _Key | None:
    """Returns the key of a file that is no other file's; None where the file cannot be seen."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return os.major(found.st_dev), os.minor(found.st_dev), found.st_ino
    return None


def _key_of_mount(key: _Key, file: Path) -> _Key:
    """Returns the key with the device of the mount, which is what /proc/locks has: another one than the file's where
    each subvolume has its own, as with btrfs."""
    mount = mounts.holding(file, PROC)
    return key if mount is None else (*mount.device, key[2])


def _may_be_root(pid: str) -> bool:
    try:
        return (PROC / pid).stat().st_uid == ROOT
    except OSError:  # gone meanwhile, or no process at all; the next look tells. agentd sees everybody's processes
        return True


def _name(pid: str) -> str:
    """Returns the name of a process, of at most 15 bytes: the kernel cuts a longer one, also within a letter."""
    with contextlib.suppress(OSError):
        return f"{(PROC / pid / 'comm').read_text(errors='replace').strip()} (process {pid})"
    return f"process {pid}"
