"""Mounts, as /proc/self/mountinfo tells of them: on which a file lies, and whether that forgets at a boot."""

import contextlib
import os
import re
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")
_IN_MEMORY = {"tmpfs", "ramfs", "rootfs"}
_DEPTH = 8  # overlays over overlays


class Mount(Struct, frozen=True):
    """A mount: its device as major and minor number, where it is, the type of its file system, and the file system's
    own options."""

    device: tuple[int, int]
    point: Path
    kind: str
    options: str


def holding(file: Path, proc: Path = PROC) -> Mount | None:
    """Returns the mount on which a file or folder lies; None where that cannot be told."""
    with contextlib.suppress(OSError, RuntimeError):
        path = file.resolve()
        # Names are bytes to the kernel, and anybody may mount something in a folder of any name: as Path has them.
        lines = os.fsdecode((proc / "self" / "mountinfo").read_bytes()).split("\n")
        mounts = [mount for line in lines if (mount := _parse(line)) is not None and path.is_relative_to(mount.point)]
        # The deepest; of several in one place, the last lies over the others.
        return max(reversed(mounts), key=lambda mount: len(mount.point.parts), default=None)
    return None


def forgets(folder: Path, proc: Path = PROC) -> str:
    """Returns why what is stored in a folder does not outlive a boot, as a sentence; "" where it does, or where that
    cannot be told."""
    found = holding(folder, proc)
    for _ in range(_DEPTH):
        if found is None or found.kind not in {*_IN_MEMORY, "overlay"}:
            return ""
        if found.kind != "overlay":
            where = f"{found.kind} on {_shown(found.point)}"
            return f"{_shown(folder)} lies in memory ({where}), and is empty after each boot"
        upper = re.search(r"(?:^|,)upperdir=((?:\\.|[^,\\])*)", found.options)
        found = None if upper is None else holding(Path(_plain(upper[1])), proc)
    return ""


def _parse(line: str) -> Mount | None:
    """Returns the mount of a line of mountinfo (see proc_pid_mountinfo(5))."""
    with contextlib.suppress(ValueError, IndexError):
        before, after = line.split(" - ", 1)
        fields, (kind, _source, options) = before.split(" "), after.split(" ", 2)
        major, minor = fields[2].split(":")
        return Mount((int(major), int(minor)), Path(_plain(fields[4])), kind, options)
    return None


def _plain(text: str) -> str:
    """Returns a path without the escapes that the kernel writes: for white space, backslashes, # and, among options,
    commas and =. Bytes beyond ASCII stand as they are, never as escapes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _shown(path: Path) -> str:
    """Returns a path as text that can be written and sent: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")
