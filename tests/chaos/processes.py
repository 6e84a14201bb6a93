"""The processes of a world as /proc shows them. Whatever belongs to a world has its folder in its environment."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

MARK = "CHAOS_WORLD"


class Process(NamedTuple):
    """A process: `began` is its start in ticks since the boot, which tells it from another with its number."""

    pid: int
    parent: int
    began: int
    name: str
    command: str
    run_id: str

    def alive(self) -> bool:
        """Tells whether this very process still runs; one that waits to be reaped does not."""
        now = _stat(self.pid)
        return now is not None and now[2] == self.began

    def __str__(self) -> str:
        return f"{self.pid} ({self.command or self.name}{f', run {self.run_id}' * bool(self.run_id)})"


def _stat(pid: int) -> tuple[str, int, int] | None:
    """Returns name, parent and start of a process; None where there is none, or only what is left to reap."""
    try:
        head, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    return None if fields[0] in "ZX" else (head.partition("(")[2], int(fields[1]), int(fields[19]))


def look(pid: int, mark: bytes = b"") -> Process | None:
    """Returns a process as /proc has it; None where it is gone, not ours, or without `mark` in its environment."""
    try:
        environment = b"\0" + Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        if mark not in environment:
            return None
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    stat = _stat(pid)
    if stat is None:
        return None
    run_id = environment.partition(b"\0AGENTD_RUN_ID=")[2].partition(b"\0")[0].decode()
    return Process(pid, stat[1], stat[2], stat[0], command, run_id)


def of_world(folder: Path) -> list[Process]:
    """Returns the processes that belong to the world in a folder, and those below them."""
    mark = f"\0{MARK}={folder}\0".encode()
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = {pid: process for pid in numbers if (process := look(pid, mark)) is not None}
    below = [pid for parent in found for pid in _children(parent) if pid not in found]  # with another environment
    return [*found.values(), *(process for pid in below if (process := look(pid)) is not None)]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def send(number: int, pids: Iterable[int]) -> list[int]:
    """Sends a signal to processes; returns those that had it. 0, the whole group of this process, is none of them."""
    reached = []
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            reached.append(pid)
    return reached


def end_all(folder: Path) -> list[Process]:
    """Ends whatever belongs to a world, stopped or not; returns what had to be ended."""
    ended: list[Process] = []
    for _ in range(50):
        alive = of_world(folder)
        if not alive:
            break
        ended += [one for one in alive if one not in ended]
        send(signal.SIGKILL, (one.pid for one in alive))
    return ended


def resident(pid: int) -> int:
    """Returns the memory of a process that is in RAM, in bytes; 0 where it is gone."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def files(pid: int) -> int:
    """Returns how many file descriptors a process has open; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0
