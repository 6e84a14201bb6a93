"""System calls that Python 3.11 does not wrap: a wall clock timer that notices clock steps, and inotify."""

import asyncio
import ctypes
import errno
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
_IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_IN_Q_OVERFLOW = 0x4000
_IN_CHANGES = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_STEP = 5_000_000  # microseconds; slewing moves the clock by less between two looks
_FAR = 1 << 61  # seconds; a timer that is armed only to notice clock steps


def now() -> int:
    """Returns the wall clock's instant, in microseconds since 1970."""
    return time.time_ns() // 1000


def boot_time() -> int:
    """Returns the instant at which the machine booted, by the wall clock as it stands now, in microseconds."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000


class WallTimer:
    """Calls `on_time` at an instant of the wall clock, and `on_step` whenever somebody sets the clock.

    `on_step` is given by how many microseconds the clock moved against the time that went by (suspend included).
    """

    def __init__(self, on_time: Callable[[], None], on_step: Callable[[int], None]) -> None:
        self._on_time = on_time
        self._on_step = on_step
        self._offset = boot_time()
        self._file = _check(_libc.timerfd_create(time.CLOCK_REALTIME, os.O_CLOEXEC | os.O_NONBLOCK))
        self._armed: int | None = None
        self.set(None)
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def set(self, when: int | None) -> None:
        """Arms the timer for that instant (one in the past is due at once), or for clock steps alone (None); a closed
        one stays as it is."""
        if self._file < 0:  # the last reports of runs come while agentd ends
            return
        self._armed = when
        seconds, rest = (_FAR, 0) if when is None else divmod(max(when, 1), 1_000_000)
        # struct itimerspec: an interval of zero, then the instant
        spec = ctypes.create_string_buffer(struct.pack("qqqq", 0, 0, seconds, rest * 1000))
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if _libc.timerfd_settime(self._file, flags, spec, None) < 0:
            if ctypes.get_errno() != errno.ECANCELED:
                raise OSError(ctypes.get_errno(), "timerfd_settime")
            # The timer is armed; but the clock was set meanwhile, and the kernel tells that only once: here.
            asyncio.get_running_loop().call_soon(lambda: self._report(told=True))

    def close(self) -> None:
        """Calls back no more."""
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)
        self._file = -1

    def _ready(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            self._report(told=True)
        else:
            self._report(told=False)

    def _report(self, *, told: bool) -> None:
        """Calls back for the instant, or for a step of the clock, which the kernel `told` or the clocks show."""
        offset = boot_time()
        delta, self._offset = offset - self._offset, offset  # the offset drifts as the clock is slewed
        if told or abs(delta) >= _STEP:
            self.set(self._armed)
            self._on_step(delta)
        else:
            self._on_time()


class Watch:
    """Calls `on_change` once files in the folders were changed and nothing more changes for `settle` seconds."""

    def __init__(self, folders: Iterable[Path], on_change: Callable[[], None], settle: float = 0.3) -> None:
        self._on_change = on_change
        self._settle = settle
        self._pending: asyncio.TimerHandle | None = None
        self._file = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        for folder in folders:
            # A missing folder cannot be watched; when it is made later, a reload by hand sees it.
            _libc.inotify_add_watch(self._file, os.fsencode(folder), _IN_CHANGES)
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def close(self) -> None:
        """Calls back no more."""
        if self._pending is not None:
            self._pending.cancel()
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    def _ready(self) -> None:
        os.read(self._file, 65536)
        if self._pending is not None:
            self._pending.cancel()
        self._pending = asyncio.get_running_loop().call_later(self._settle, self._on_change)


class Arrivals:
    """Calls `on_file` with the name of each file that was written in a folder, or with "" when names were lost."""

    def __init__(self, folder: Path, on_file: Callable[[str], None]) -> None:
        self._on_file = on_file
        self._file = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        _check(_libc.inotify_add_watch(self._file, os.fsencode(folder), _IN_CLOSE_WRITE))
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def close(self) -> None:
        """Calls back no more."""
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    def _ready(self) -> None:
        data = os.read(self._file, 65536)
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0")
            data = data[16 + length :]
            self._on_file("" if mask & _IN_Q_OVERFLOW else os.fsdecode(name))


def _check(descriptor: int) -> int:
    """Returns a descriptor that libc gave. Raises OSError where libc gave none."""
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor
