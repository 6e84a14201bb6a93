"""The mark: a small file beside the database that tells how far storing had come.

A database whose -wal was lost, or that somebody brought back from a copy, is sound and yet older than what was carried
out. The mark is written in place after each commit and before the effects of that batch are carried out; it costs no
fsync, because it matters only where the files survive and their contents do not.
"""

import contextlib
import os
import zlib
from pathlib import Path

import msgspec

from agentd.core.part import AHEAD

FILE = "agentd.mark"
_LENGTH = 512  # bytes, at most a sector: written whole or not at all


class Mark(msgspec.Struct, frozen=True):
    """The point that storing had come to: the number of the last `batch`, the instant `at` which it was stored, and of
    each part the highest number that it had given away, such as that of its last run."""

    batch: int = 0
    at: int = 0
    numbers: dict[str, int] = {}

    @property
    def upto(self) -> int:
        """The instant up to which everything that was due may have been dealt with."""
        return self.at + AHEAD


class MarkFile:
    """The file of the mark in the state directory `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._descriptor = -1

    def open(self) -> Mark:
        """Opens the file and returns the mark; one of batch 0 where there is none that can be read."""
        self.close()
        with contextlib.suppress(OSError):  # without a mark, an older database goes unnoticed; all else is as usual
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            return _decoded(os.pread(self._descriptor, _LENGTH, 0))
        return Mark()

    def write(self, mark: Mark) -> None:
        """Writes the mark. One that cannot be written stays behind the database, which is no harm."""
        text = msgspec.json.encode(mark)
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, (b"%08x " % zlib.crc32(text) + text).ljust(_LENGTH - 1) + b"\n", 0)

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _decoded(data: bytes) -> Mark:
    """Returns the mark that stands in the file; where it cannot be read, one that no database is behind of."""
    check, _, text = data.rstrip().partition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        return Mark()
    try:
        return msgspec.json.decode(text, type=Mark)
    except msgspec.MsgspecError:
        return Mark()
