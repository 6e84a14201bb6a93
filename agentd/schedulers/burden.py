"""A small load for the trial of a scheduler: processes that compute, and pairs that wake each other.

Each counts how far it has come, in memory that is shared with the trial. They end with the process that started them.
"""

import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LEAST, _MOST = 2, 16
_libc = ctypes.CDLL(None, use_errno=True)


class Burden:
    """A load that runs until it is ended."""

    def __init__(self, processors: int) -> None:
        computing = min(max(processors + 1, _LEAST), _MOST)
        self._count = computing + 2
        self._counts = mmap.mmap(-1, 8 * self._count)
        self._children: list[int] = []
        (reads, writes), (reads_back, writes_back) = os.pipe(), os.pipe()
        try:
            for at in range(computing):
                self._begin(at, lambda: None)
            self._begin(computing, lambda: _turn(writes, reads_back))
            self._begin(computing + 1, lambda: _turn(writes_back, reads))
        except OSError:
            self.end()
            raise
        finally:
            for one in (reads, writes, reads_back, writes_back):
                os.close(one)

    def progress(self) -> tuple[int, ...]:
        """Returns how far each process has come."""
        return struct.unpack(f"{self._count}Q", self._counts[: 8 * self._count])

    def end(self) -> None:
        """Ends all processes, and waits for that."""
        for child in self._children:
            os.kill(child, signal.SIGKILL)
        for child in self._children:
            os.waitpid(child, 0)
        self._children = []

    def _begin(self, at: int, between: Callable[[], None]) -> None:
        parent = os.getpid()
        child = os.fork()
        if child:
            self._children.append(child)
            return
        try:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            count = 0
            while os.getppid() == parent:
                for _ in range(1000):
                    count += 1
                struct.pack_into("Q", self._counts, 8 * at, count)
                between()
        finally:
            os._exit(0)  # nothing of the parent's is to be done here


def _turn(writes: int, reads: int) -> None:
    """Wakes the other of a pair, rests a little and waits to be woken."""
    os.write(writes, b".")
    time.sleep(0.001)
    os.read(reads, 1)
