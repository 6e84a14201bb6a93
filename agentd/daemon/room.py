"""Room on the disk of the state: whether there is any, and a reserve that is given up in need."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

RESERVE = "reserve"
"""The file in the state directory that holds room: whoever must write there and finds the disk full may remove it.
The store does, to be opened at all."""
_MOST = 1 << 20
_PROBE = 64 << 10


def is_full(error: Exception, folder: Path) -> bool:
    """Returns whether an error of SQLite came of a disk or a quota that is used up."""
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return True
    probe = folder / f"{RESERVE}.probe"  # of a quota, SQLite says no more than that it could not write
    found = _allocate(probe, _PROBE)
    with contextlib.suppress(OSError):
        probe.unlink()
    return found in (errno.ENOSPC, errno.EDQUOT)


def keep_reserve(folder: Path) -> None:
    """Makes the reserve, of a twentieth of the disk and at most 1 MiB, where it is missing and there is room for it
    and as much again."""
    reserve = folder / RESERVE
    with contextlib.suppress(OSError):  # without a reserve, all else goes on
        disk = os.statvfs(folder)
        size = min(_MOST, disk.f_blocks * disk.f_frsize // 20)
        if not reserve.exists() and disk.f_bavail * disk.f_frsize > 2 * size and _allocate(reserve, size):
            reserve.unlink()


def give_reserve_up(folder: Path) -> bool:
    """Frees the reserve; returns whether there was one."""
    try:
        (folder / RESERVE).unlink()
    except OSError:
        return False
    return True


def _allocate(file: Path, size: int) -> int:
    """Makes a file of that many bytes of the disk; returns the number of the error that came, or 0."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
