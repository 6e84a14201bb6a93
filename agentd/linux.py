"""System calls that Python 3.11 does not wrap: a wall clock timer that notices clock steps, and inotify."""

import asyncio
import ctypes
import errno
import os
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

umask_before = -1
"""The umask of who started agentd, for jobs; -1: the process still has it."""

_libc = ctypes.CDLL(None, use_errno=True)
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
_IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_IN_Q_OVERFLOW = 0x4000
_IN_CHANGES = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_STEP = 5_000_000  # microseconds; slewing moves the clock by less between two looks
_MOST_LINKS = 40  # on the way to a file, as the kernel has it
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # of mallopt(3)
_LARGE = 128 << 10  # bytes; glibc's own threshold, as long as nothing larger was freed
_LEAST = 100_000  # microseconds between two due times that are left to the kernel
_FAR = 1 << 61  # seconds; a timer that is armed only to notice clock steps


def now() -> int:
    """Returns the wall clock's instant, in microseconds since 1970."""
    return time.time_ns() // 1000


def boot_time() -> int:
    """Returns the instant at which the machine booted, by the wall clock as it stands now, in microseconds."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000


def give_memory_back() -> None:
    """Has all threads of this process take memory from one heap, and what is large from the system itself, to which it
    returns when it is of no use any more. To be called before there are threads.

    Otherwise glibc gives each thread a heap of its own, which keeps what was once needed there: with the storing thread
    alone, 0.3 MiB of an idle daemon. And after a large piece was freed it takes all others up to that size from the
    heaps as well: 0.9 MiB stayed where Python made its table of interned names anew.
    """
    _libc.mallopt(_M_ARENA_MAX, 1)
    _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)


class WallTimer:
    """Calls `on_time` at an instant of the wall clock, and `on_step` whenever somebody sets the clock.

    `on_step` is given by how many microseconds the clock moved against the time that went by (suspend included).
    """

    def __init__(self, on_time: Callable[[], None], on_step: Callable[[int], None]) -> None:
        self._on_time = on_time
        self._on_step = on_step
        self._offset = boot_time()
        self._file = _check(_libc.timerfd_create(time.CLOCK_REALTIME, os.O_CLOEXEC | os.O_NONBLOCK))
        self._spec = (ctypes.c_int64 * 4)()  # struct itimerspec: an interval, then the instant
        self._armed: int | None = None
        self._step = 0  # from the due time before to this one, in microseconds; 0: it was not waited for
        self._every = 0  # the interval after which the kernel itself has the timer come again; 0: it does not
        self._spent = True  # whether the timer has to be armed, even for the same instant
        self.set(None)
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def set(self, when: int | None) -> None:
        """Arms the timer for that instant (one in the past is due at once), or for clock steps alone (None); a closed
        one stays as it is."""
        if self._file < 0 or (when == self._armed and not self._spent):  # the last reports come while agentd ends
            return
        step = when - self._armed if self._spent and when is not None and self._armed is not None else 0
        # Due times that follow each other at one distance, as looks do, are left to the kernel: to arm the timer for
        # each took 30 us of the 1200 of a look.
        self._every = step if step == self._step and step >= _LEAST else 0
        self._step = step
        self._armed, self._spent = when, False
        seconds, rest = (_FAR, 0) if when is None else divmod(max(when, 1), 1_000_000)
        self._spec[2], self._spec[3] = seconds, rest * 1000
        seconds, rest = divmod(self._every, 1_000_000)
        self._spec[0], self._spec[1] = seconds, rest * 1000
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if _libc.timerfd_settime(self._file, flags, self._spec, None) < 0:
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
            came = os.read(self._file, 8)
        except BlockingIOError:
            return
        except OSError as error:
            self._spent = True
            if error.errno != errno.ECANCELED:
                raise
            self._report(told=True)
        else:
            if self._every and self._armed is not None:
                self._armed += self._every * int.from_bytes(came, sys.byteorder)
            else:
                self._spent = True
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
    """Calls `on_change` once something was changed in what is followed and nothing more changes for `settle` seconds,
    or after ten times that.

    What was seen is never dropped: who follows something and reads it then has read it as it is, or is called back.
    `blind` says of what cannot be watched why, by its folder.
    """

    def __init__(self, on_change: Callable[[], None], settle: float = 0.3) -> None:
        self.blind: dict[str, str] = {}
        self._on_change = on_change
        self._settle = settle
        self._pending: asyncio.TimerHandle | None = None
        self._latest = 0.0  # on the loop's clock
        self._names: dict[int, set[bytes] | None] = {}  # what counts in each folder; None: all
        self._file = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        asyncio.get_running_loop().add_reader(self._file, self._ready)

    def follow(self, paths: Iterable[Path]) -> None:
        """Watches these files, all that is in those that are folders, and the links that lead to them; nothing else
        from here on. A path that is missing is noticed once it is there."""
        before, self._names, self.blind = self._names, {}, {}
        for path in paths:
            end = self._way(str(path.absolute()))
            if _is_folder(end):
                self._add(end, None)
        for unwanted in before.keys() - self._names.keys():
            _libc.inotify_rm_watch(self._file, unwanted)

    def close(self) -> None:
        """Calls back no more."""
        if self._pending is not None:
            self._pending.cancel()
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    def _way(self, path: str) -> str:
        """Watches the names on the way to a path that decide where it ends; returns where that is."""
        here, links = "/", 0
        todo = path.split("/")[::-1]
        while todo:
            name = todo.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                here = str(Path(here).parent)
                continue
            step = f"{here.rstrip('/')}/{name}"
            if not any(todo) or not _is_folder(step):
                self._add(here, name)  # before a look at where it leads: what comes later is told
            try:
                target = str(Path(step).readlink())
            except OSError:  # no link
                here = step
                continue
            links += 1
            if links > _MOST_LINKS:
                break
            todo += target.split("/")[::-1]
            here = "/" if target.startswith("/") else here
        return here

    def _add(self, folder: str, name: str | None) -> None:
        watch = _libc.inotify_add_watch(self._file, os.fsencode(folder), _IN_CHANGES)
        if watch >= 0:
            names = self._names.setdefault(watch, set())
            self._names[watch] = None if name is None or names is None else names | {os.fsencode(name)}
        elif (number := ctypes.get_errno()) not in {errno.ENOENT, errno.ENOTDIR}:
            self.blind[folder] = os.strerror(number).lower()

    def _ready(self) -> None:
        if any(mask & _IN_Q_OVERFLOW or self._counts(watch, name) for watch, mask, name in _events(self._file)):
            loop = asyncio.get_running_loop()
            if self._pending is None:
                self._latest = loop.time() + 10 * self._settle
            else:
                self._pending.cancel()
            self._pending = loop.call_at(min(loop.time() + self._settle, self._latest), self._settled)

    def _settled(self) -> None:
        self._pending = None
        self._on_change()

    def _counts(self, watch: int, name: bytes) -> bool:
        names = self._names.get(watch, set())
        return names is None or name in names


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
        for _, mask, name in _events(self._file):
            self._on_file("" if mask & _IN_Q_OVERFLOW else os.fsdecode(name))


def _is_folder(path: str) -> bool:
    """Tells whether a path is a folder and no link to one."""
    try:
        return stat.S_ISDIR(Path(path).lstat().st_mode)
    except OSError:
        return False


def _events(file: int) -> Iterator[tuple[int, int, bytes]]:
    """Returns the watch, the mask and the name of each event that waits to be read."""
    data = os.read(file, 65536)
    while data:
        watch, mask, _, length = struct.unpack_from("iIII", data)
        yield watch, mask, data[16 : 16 + length].rstrip(b"\0")
        data = data[16 + length :]


def _check(descriptor: int) -> int:
    """Returns a descriptor that libc gave. Raises OSError where libc gave none."""
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor
