"""Facts of the host: what /proc, /sys and /run tell, as the KPIs of `agentd/core/rules/kpis.py` want them."""

import ctypes
import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agentd.core.reboots.policy import REQUIRED, WRITERS
from agentd.core.rules.kpis import RESOURCES, Disk, Memory, Missing, Swap
from agentd.core.rules.model import Source

NO_LOOK = "no look before this one"
"""Why a share of the time since the look before is missing at the first look."""
_NO_TIME = "no time has passed since the look before"
_MOST = 65536  # bytes of a file
_SHORT = 2048  # bytes: the kernel gives a long file by whole lines, as many as a page holds, or all of it
_TICKS = 8  # counters of /proc/stat; those of guests, which follow, are in user and nice already
_IDLE, _IOWAIT = 3, 4
_COLDEST, _HOTTEST = -50.0, 126.0  # degrees Celsius; an input without a sensor reads 127 or more, or far below zero
_HIDDEN = "/run/systemd/inaccessible/dir"  # what systemd puts in the place of a folder that a unit must not see
_UNKEPT = 16_000_000  # microseconds of error, from which on timedatectl calls the clock not synchronised
_STALE = 32_000  # seconds after which the kernel, which adds 500 us of error a second, would say so too
_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The beginning of struct timex of adjtimex(2), and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def boot_clock() -> float:
    """Returns the seconds since the boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def clock_error() -> int:
    """Returns by how many microseconds the wall clock may be wrong, as the kernel reckons. Raises OSError where the
    kernel is not to be asked, as within a unit that has ProtectClock=."""
    timex = _Timex()
    if _libc.adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(timex.maxerror)


def read(path: str) -> bytes:
    """Returns what a file of the kernel holds, at most 64 KiB of it. Raises Missing with the file's trouble."""
    found = b""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The kernel gives a long file a page at a time.
            while len(found) < _MOST and (more := os.read(file, _MOST - len(found))):
                found += more
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise Missing(f"{path} cannot be read: {trouble(error)}") from error
    return found


class Kept:
    """Files of the kernel that stay open: to open and to close one takes as long as to read it. Those of another `root`
    do not: they may be others at the next look."""

    def __init__(self, root: str) -> None:
        self._files: dict[str, int] = {}
        self._keeps = not root

    def read(self, path: str) -> bytes:
        """Returns what a file holds now, as read() does. Raises Missing with the file's trouble."""
        if not self._keeps:
            return read(path)
        try:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = more = os.pread(file, _MOST, 0)
            while len(more) > _SHORT and len(found) < _MOST:
                more = os.pread(file, _MOST - len(found), len(found))
                found += more
        except (OSError, ValueError) as error:
            if (file := self._files.pop(path, None)) is not None:
                os.close(file)
            raise Missing(f"{path} cannot be read: {trouble(error)}") from error
        return found


def trouble(error: OSError | ValueError) -> str:
    """Returns what went wrong with a path, as a part of a sentence."""
    return (error.strerror or "").lower() if isinstance(error, OSError) else "there can be no such path"


def number(text: bytes) -> int:
    """Reads a count of the kernel, of at most 64 bits and without a sign. Raises ValueError."""
    if not text.isdigit() or len(text) > 20:
        raise ValueError("no count")
    return int(text)


def numbers(texts: Sequence[bytes]) -> list[int]:
    """Reads several counts as number() does one, without a call for each. Raises ValueError."""
    if not all(map(bytes.isdigit, texts)) or max(map(len, texts), default=0) > 20:
        raise ValueError("no counts")
    return [*map(int, texts)]


FOREIGN = ValueError, IndexError, KeyError
"""The errors of reading what is not written as the kernel writes it."""


def foreign(path: str) -> Missing:
    """Returns what to raise where a file turns out not to be written as the kernel writes it. A context manager for
    that was 15 of the 210 calls of a look."""
    return Missing(f"{path} is not written as the kernel writes it")


class Host:
    """The machine below `root`.

    A method is a source of facts. Each is given the instance, which is what stands after the colon of a KPI's name, and
    raises Missing where the machine has nothing to tell. Shares of time count from the look before of the same source,
    by `clock`, in seconds. `boot` tells the seconds since the boot, `error` what `clock_error` does.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        boot: Callable[[], float] = boot_clock,
        error: Callable[[], int] = clock_error,
    ) -> None:
        self._root = str(root).rstrip("/")
        self._read = Kept(self._root).read
        self._clock = clock
        self._boot = boot
        self._error = error
        self._ticks: list[int] | None = None
        self._stalls: dict[str, tuple[float, int]] = {}  # when each was looked at, and the microseconds until then
        self._near = False  # whether the root of the file systems is known to be on a disk
        self._online = b"", 1  # the processors that are online, as the kernel tells them, and how many that are

    def memory(self, _: str) -> Memory:
        """Returns the size of the memory, and what could be had of it without swapping."""
        lines = self._meminfo()
        try:
            total = _size(lines, b"MemTotal")
            if b"\nMemAvailable:" in lines:
                available = _size(lines, b"MemAvailable")
            else:  # before Linux 3.14; what is in a tmpfs counts as cached, and cannot be had
                cached = max(0, _size(lines, b"Cached") - _size(lines, b"Shmem"))
                available = _size(lines, b"MemFree") + _size(lines, b"Buffers") + cached
        except FOREIGN as error:
            raise foreign("/proc/meminfo") from error
        if not total:
            raise Missing("/proc/meminfo tells of no memory")
        return Memory(total, min(available, total))

    def swap(self, _: str) -> Swap:
        """Returns the size of the swap, and what is in use of it."""
        lines = self._meminfo()
        try:
            total, free = _size(lines, b"SwapTotal"), _size(lines, b"SwapFree")
        except FOREIGN as error:
            raise foreign("/proc/meminfo") from error
        if not total:
            raise Missing("there is no swap")
        return Swap(total, max(0, total - free))

    def cpu(self, _: str) -> float:
        """Returns the time of all processors since the look before that was not idle, in percent.

        A processor is idle while tasks wait for a disk; a processor that the hypervisor gave to others is not.
        """
        name, *fields = self._read(f"{self._root}/proc/stat").partition(b"\n")[0].split()[: _TICKS + 1] or [b""]
        try:
            ticks = numbers(fields)
            if name != b"cpu" or len(ticks) != _TICKS:
                raise ValueError("no counters of all processors")
        except FOREIGN as error:
            raise foreign("/proc/stat") from error
        before, self._ticks = self._ticks, ticks
        if before is None:
            raise Missing(NO_LOOK)
        # Some kernels count idle time and iowait backwards now and then.
        passed = [max(0, now - then) for then, now in zip(before, ticks, strict=True)]
        if not sum(passed):
            raise Missing(_NO_TIME)
        return 100 * (1 - (passed[_IDLE] + passed[_IOWAIT]) / sum(passed))

    def load(self, _: str) -> float:
        """Returns the load of the last minute for each processor that is online."""
        told = self._read(f"{self._root}/proc/loadavg")
        try:
            load = float(told.split()[0])
            if not 0 <= load < math.inf:
                raise ValueError("no load")
        except FOREIGN as error:
            raise foreign("/proc/loadavg") from error
        return load / self._processors()

    def disk(self, instance: str) -> Disk:
        """Returns the file system that the path `instance` is on.

        Takes for ever where a server of NFS is gone: whoever has other work to do calls this in a thread.
        """
        path = f"{self._root}/{instance.lstrip('/')}"
        try:
            if instance == "/" and not self._near:
                self._near = os.major(os.stat(path).st_dev) != 0  # noqa: PTH116 - what is on no disk has none
            seen = os.statvfs(path)
            hidden = self._is_hidden(path)
        except (OSError, ValueError) as error:
            raise Missing(f"{instance} cannot be looked at: {trouble(error)}") from error
        if hidden:
            raise Missing(f"systemd hides {instance} from agentd (ProtectHome= or InaccessiblePaths= of its unit)")
        block = seen.f_frsize or seen.f_bsize
        # Some file systems tell a number below zero, without its sign, where blocks kept for root are in use.
        free = seen.f_bavail if seen.f_bavail <= seen.f_blocks else 0
        used = max(0, seen.f_blocks - seen.f_bfree)
        return Disk(used * block, free * block, seen.f_files, min(seen.f_favail, seen.f_files))

    def is_near(self, source: Source) -> bool:
        """Returns whether a source is known never to keep anybody waiting: the root of the file systems where it is on
        a disk, and not on a server. Nothing is mounted over it any more, and how full it is the kernel has in memory.

        For a thread to look, every five seconds, took 60 us a second.
        """
        return self._near and source.name == "disk" and source.instance == "/"

    def temperature(self, _: str) -> float:
        """Returns what the hottest sensor reads, in degrees Celsius."""
        try:
            import psutil  # noqa: PLC0415 - who never asks does without its memory

            found = psutil.sensors_temperatures()
        except (ImportError, OSError, ValueError) as error:
            raise Missing(f"psutil cannot read the sensors: {error}") from error
        reads = [one.current for sensors in found.values() for one in sensors if _COLDEST <= one.current <= _HOTTEST]
        if not reads:
            raise Missing("the machine shows no sensor")
        return float(max(reads))

    def pressure(self, instance: str) -> float:
        """Returns the time since the look before in which tasks waited for a resource, one of RESOURCES, in percent."""
        if instance not in RESOURCES:
            raise Missing(f"the kernel tells no pressure of {instance}: expected {', '.join(RESOURCES)}")
        resource, _, full = instance.partition("-")
        total = self._stalled(resource, full or "some")
        now = self._clock()
        before, self._stalls[instance] = self._stalls.get(instance), (now, total)
        if before is None:
            raise Missing(NO_LOOK)
        if now <= before[0]:
            raise Missing(_NO_TIME)
        return min(100.0, max(0.0, (total - before[1]) / (now - before[0]) / 10_000))

    def oom(self, _: str) -> float:
        """Returns how many processes the kernel killed for want of memory since the boot."""
        found = self._read(f"{self._root}/proc/vmstat").partition(b"\noom_kill ")[2]
        if not found:
            raise Missing("the kernel does not count them (before Linux 4.13)")
        try:
            return float(number(found.partition(b"\n")[0]))
        except FOREIGN as error:
            raise foreign("/proc/vmstat") from error

    def reboot_required(self, _: str) -> float:
        """Returns 1 where an upgrade wants a reboot, else 0."""
        if self._is_there(REQUIRED):
            return 1.0
        if not any(self._is_there(writer) for writer in WRITERS):
            raise Missing(f"nothing on this machine would write {REQUIRED} (unattended-upgrades does)")
        return 0.0

    def clock(self, _: str) -> float:
        """Returns 1 while a server keeps the clock, else 0: as timedatectl does, whichever program asks the server."""
        try:
            return float(self._error() < _UNKEPT)
        except OSError as error:
            why = trouble(error)
        # Within agentd's own unit the kernel is not to be asked; systemd-timesyncd leaves word of each answer it gets.
        folder = "/run/systemd/timesync"
        if not self._is_there(folder):
            raise Missing(f"the kernel may not be asked (adjtimex: {why}), and systemd-timesyncd does not run")
        try:
            age = time.time() - Path(f"{self._root}{folder}/synchronized").stat().st_mtime
        except OSError:  # there was no answer yet
            return 0.0
        return float(abs(age) < _STALE)

    def uptime(self, _: str) -> float:
        """Returns the seconds since the boot, suspend included."""
        return self._boot()

    def _meminfo(self) -> bytes:
        """Returns /proc/meminfo, with the end of a line before each line."""
        return b"\n" + self._read(f"{self._root}/proc/meminfo")

    def _processors(self) -> int:
        """Returns how many processors are online, which the kernel tells as "0-3,5"."""
        path = "/sys/devices/system/cpu/online"
        told = self._read(self._root + path)
        if told != self._online[0]:
            spans = [span.partition(b"-") for span in told.strip().split(b",")]
            try:
                if (count := sum(number(last or first) - number(first) + 1 for first, _, last in spans)) < 1:
                    raise ValueError("no processor")
            except FOREIGN as error:
                raise foreign(path) from error
            self._online = told, count
        return self._online[1]

    def _stalled(self, resource: str, kind: str) -> int:
        """Returns for how many microseconds since the boot `some` or `full` of the tasks waited for a resource."""
        path = f"/proc/pressure/{resource}"
        try:
            lines = b"\n" + self._read(self._root + path)
        except Missing as error:
            if isinstance(cause := error.__cause__, OSError) and cause.errno in {errno.ENOENT, errno.EOPNOTSUPP}:
                raise Missing("the kernel keeps no /proc/pressure (psi=0)") from error
            raise
        line = lines.partition(b"\n%b " % kind.encode())[2].partition(b"\n")[0]
        if not line:
            raise Missing(f'the kernel tells no "{kind}" in {path}')
        try:
            return number(line.rpartition(b"total=")[2])
        except FOREIGN as error:
            raise foreign(path) from error

    def _is_there(self, path: str) -> bool:
        """Tells whether a path exists. Raises Missing where that cannot be told."""
        try:
            os.stat(self._root + path)  # noqa: PTH116 - four Paths at each look are dear
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise Missing(f"{path} cannot be looked at: {trouble(error)}") from error
        return True

    def _is_hidden(self, path: str) -> bool:
        """Tells whether a path is in truth the empty folder that systemd shows in its place. Raises OSError."""
        return self._is_there(_HIDDEN) and Path(path).samefile(self._root + _HIDDEN)


def _size(lines: bytes, name: bytes) -> int:
    """Returns a size that /proc/meminfo tells, in bytes. Raises ValueError."""
    size, unit = lines.partition(b"\n" + name + b":")[2].partition(b"\n")[0].split()
    if unit != b"kB":
        raise ValueError("another unit")
    return number(size) * 1024
