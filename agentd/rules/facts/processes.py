"""The processes that take most of the machine: evidence of what was going on when a rule fired."""

import contextlib
import heapq
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.rules.kpis import Missing
from agentd.rules.facts.host import FOREIGN, foreign, number, read, trouble

_MOST = 10_000  # processes that are looked at
_LONGEST = 64  # characters of a name
_YOUNGEST = 1.0  # seconds; a tick of the processor in a process's first hundredth of a second tells nothing
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
_UTIME, _STIME, _STARTED, _RESIDENT = 11, 12, 19, 21  # fields of /proc/PID/stat from the state on


class Process(Struct, frozen=True):
    """A process: its name, which it chose itself, the number of its user, bytes of memory that it has resident, and
    its use of processors since its start, in percent of one."""

    pid: int
    name: str
    user: int
    memory: int
    cpu: float


class Top(Struct, frozen=True):
    """The processes with most memory, those with most use of processors, each with the first in front, and how many
    others agentd may not look at, as with ProtectProc= of its unit or hidepid= of /proc."""

    memory: tuple[Process, ...]
    cpu: tuple[Process, ...]
    unseen: int


def top(count: int = 5, root: Path = Path("/")) -> Top:
    """Returns the `count` processes that take most, of at most 10,000. Raises Missing where there is no /proc.

    A thousand processes take some hundredths of a second: whoever has a loop calls this in a thread.
    """
    proc = f"{str(root).rstrip('/')}/proc"
    uptime = _uptime(proc)
    seen: list[Process] = []
    unseen = 0
    for pid in _pids(proc):
        try:
            seen.append(_process(proc, pid, uptime))
        except Missing as error:
            unseen += isinstance(error.__cause__, PermissionError)  # any other process has ended meanwhile
    return Top(
        _with_users(proc, heapq.nlargest(count, seen, key=lambda process: process.memory)),
        _with_users(proc, heapq.nlargest(count, seen, key=lambda process: process.cpu)),
        unseen,
    )


def _uptime(proc: str) -> float:
    """Returns the seconds since the boot, on the clock by which the kernel tells when a process started."""
    told = read(path := f"{proc}/uptime")
    try:
        seconds = float(told.split()[0])
        if not math.isfinite(seconds):
            raise ValueError("no time")
    except FOREIGN as error:
        raise foreign(path) from error
    return seconds


def _pids(proc: str) -> Iterator[int]:
    """Returns the first processes that /proc lists. Raises Missing."""
    try:
        with os.scandir(proc) as entries:
            pids = (int(entry.name) for entry in entries if entry.name.isdecimal())
            yield from itertools.islice(pids, _MOST)
    except OSError as error:
        raise Missing(f"{proc} cannot be read: {trouble(error)}") from error


def _process(proc: str, pid: int, uptime: float) -> Process:
    """Returns a process but for its user. Raises Missing where the process has ended, or is not to be looked at."""
    # The file has what statm tells of memory as well. A name may have spaces and brackets in it.
    start, _, rest = read(path := f"{proc}/{pid}/stat").rpartition(b")")
    try:
        fields = rest.split()
        used = (number(fields[_UTIME]) + number(fields[_STIME])) * _TICK
        life = max(_YOUNGEST, uptime - number(fields[_STARTED]) * _TICK)
        return Process(pid, _name(start), -1, number(fields[_RESIDENT]) * _PAGE, 100 * used / life)
    except FOREIGN as error:
        raise foreign(path) from error


def _name(start: bytes) -> str:
    """Returns the name in the beginning of a line such as "12 (cron", of at most 64 printable characters."""
    name = start.partition(b"(")[2].decode(errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:_LONGEST]


def _with_users(proc: str, processes: list[Process]) -> tuple[Process, ...]:
    """Returns the processes with their users; without those that have ended meanwhile."""
    found = []
    for process in processes:
        # The folder is its user's also where what is in there is root's: of a process that is closed to debuggers.
        with contextlib.suppress(OSError):
            found.append(replace(process, user=Path(proc, str(process.pid)).stat().st_uid))
    return tuple(found)
