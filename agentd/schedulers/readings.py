"""Readings of the kernel's counters for the monitor: /proc, pressure, the top of the control groups, and the events of
the scheduler. To read them takes milliseconds on a large machine: do so on a thread."""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agentd.core.schedulers.monitor import Reading
from agentd.schedulers import sysfs

_LONGEST = 8 << 20  # bytes of a file; /proc/schedstat has a kilobyte for each processor and more
_MOST_GROUPS = 64
_TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_RESOURCES = ("cpu", "memory", "io")
_OF_SCHEDSTAT = ("run_delay", "run_delay_mean", "slices", "slice_mean")


class _Collected:
    """The parts of a reading while it is taken."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.counters: dict[str, int] = {}
        self.levels: dict[str, float] = {}
        self.missing: dict[str, str] = {}

    def take(self, names: tuple[str, ...], path: str, read: Callable[[bytes], None]) -> None:
        """Reads a file; where that fails or the file is not as expected, the figures `names` are missing."""
        try:
            read(_bytes(f"{self.root}{path}"))
        except OSError as error:
            absent = error.errno in {errno.ENOENT, errno.EOPNOTSUPP}
            why = _ABSENT.get(path.rpartition("/")[0] if "pressure" in path else path, "") if absent else ""
            self.missing |= dict.fromkeys(names, why or f"{path} cannot be read: {error.strerror}")
        except (ValueError, IndexError, KeyError):
            self.missing |= dict.fromkeys(names, f"{path} is not written as the kernel writes it")


_ABSENT = {
    "/proc/schedstat": "this kernel keeps no /proc/schedstat (CONFIG_SCHEDSTATS)",
    "/proc/pressure": "the kernel keeps no /proc/pressure (psi=1 on its command line)",
}


def read(at: float, root: Path = Path("/"), groups: Sequence[str] = ()) -> Reading:
    """Returns the counters as they are now; `at` is now, in seconds of a clock that is never set. `groups` are the
    control groups to look at, by their paths below the top such as "system.slice/ssh.service"; without any it is the
    slices and scopes at the top.

    Raises Unreadable where the kernel does not tell which scheduler they are of.
    """
    observed, events = sysfs.observe(root), sysfs.events(root)
    collected = _Collected(str(root).rstrip("/"))
    names = ("cpu_busy", "cpu_iowait", "cpu_steal", "context_switches", "runnable")
    collected.take(names, "/proc/stat", partial(_stat, collected))
    collected.take(("memory_used",), "/proc/meminfo", partial(_memory, collected))
    for resource in _RESOURCES:
        both = (f"{resource}_some", f"{resource}_full")
        collected.take(both, f"/proc/pressure/{resource}", partial(_pressure, resource, collected))
    collected.take(_OF_SCHEDSTAT, "/proc/schedstat", partial(_schedstat, collected))
    return Reading(
        at=at,
        seq=observed.seq,
        ops=observed.ops,
        counters=collected.counters,
        levels=collected.levels,
        missing=collected.missing,
        groups=_groups(collected, groups),
        events=events,
    )


def _stat(collected: _Collected, text: bytes) -> None:
    """Takes the ticks of all processors, the context switches and the tasks that can run. Raises ValueError."""
    lines = {line.partition(b" ")[0]: line.split() for line in text.splitlines() if not line.startswith(b"intr ")}
    collected.counters |= dict(zip(_TICKS, map(int, lines[b"cpu"][1:9]), strict=True))
    collected.counters["ctxt"] = int(lines[b"ctxt"][1])
    collected.levels["runnable"] = float(lines[b"procs_running"][1])


def _memory(collected: _Collected, text: bytes) -> None:
    """Takes the share of memory that cannot be had without swapping. Raises ValueError."""
    sizes = {line.partition(b":")[0]: line.split()[1] for line in text.splitlines() if b":" in line}
    collected.levels["memory_used"] = 1 - int(sizes[b"MemAvailable"]) / int(sizes[b"MemTotal"])


def _pressure(resource: str, collected: _Collected, text: bytes) -> None:
    """Takes for how long some and all tasks waited for a resource, in microseconds. Raises ValueError."""
    totals = _totals(text)
    collected.counters[f"{resource}_some"] = totals["some"]
    if "full" in totals:
        collected.counters[f"{resource}_full"] = totals["full"]
    else:
        collected.missing[f"{resource}_full"] = f'this kernel tells no "full" of {resource}'


def _totals(text: bytes) -> dict[str, int]:
    lines = [line.decode() for line in text.splitlines()]
    return {line.partition(" ")[0]: int(line.rpartition("total=")[2]) for line in lines}


def _schedstat(collected: _Collected, text: bytes) -> None:
    """Takes the run time, the run delay (ns) and the slices of all processors: the seventh to the ninth field of their
    lines, which have the same meaning in all versions of the file and under every scheduler. Raises ValueError."""
    run = delay = slices = 0
    for line in text.splitlines():
        if line.startswith(b"cpu"):
            fields = line.split()
            run, delay, slices = run + int(fields[7]), delay + int(fields[8]), slices + int(fields[9])
    collected.counters |= {"run": run, "delay": delay, "slices": slices}


def _groups(collected: _Collected, wanted: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the counters of control groups (cgroup v2). Of those that are wanted one that is not there is missing."""
    top = f"{collected.root}/sys/fs/cgroup"
    found: dict[str, dict[str, int]] = {}
    for name in wanted or _top(top):
        folder = _folder(top, name)
        if counters := _group(folder) if folder else {}:
            found[name] = counters
        elif wanted:
            collected.missing[f"/{name}"] = "the kernel has no control group of that name"
    return found


def _top(top: str) -> list[str]:
    """Returns the slices and scopes at the top of the control groups."""
    return sorted(name for name in _listed(top) if name.endswith((".slice", ".scope")))[:_MOST_GROUPS]


def _folder(top: str, name: str) -> str:
    """Returns the folder of a control group, "" where there is none. Each step is one that the kernel lists, so that
    no name leads anywhere else."""
    folder = top
    for step in name.split("/"):
        if step not in _listed(folder):
            return ""
        folder = f"{folder}/{step}"
    return folder


def _listed(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def _group(folder: str) -> dict[str, int]:
    """Returns the counters of a control group, in microseconds. One that the group does not have (its controller is
    off) is left out."""
    counters: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, KeyError):  # a group that ended, or has no such file: the rest counts
        lines = [line.split() for line in _bytes(f"{folder}/cpu.stat").splitlines()]
        stat = {line[0]: int(line[1]) for line in lines if len(line) == 2}
        counters = {short: stat[key] for key, short in _OF_GROUP.items() if key in stat}
        counters["some"] = _totals(_bytes(f"{folder}/cpu.pressure"))["some"]
    return counters


_OF_GROUP = {b"usage_usec": "usage", b"throttled_usec": "throttled"}


def _bytes(path: str) -> bytes:
    """Returns what a file of the kernel holds, at most 8 MiB. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = []
        size = 0
        while size < _LONGEST and (more := os.read(file, 1 << 16)):
            found.append(more)
            size += len(more)
        return b"".join(found)
    finally:
        os.close(file)
