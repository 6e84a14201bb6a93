"""Processes as /proc shows them: who is below whom, in which group, and of which run."""

import ctypes
import os

from agentd.jobs.supervisor.lean import Iterable, suppress

RUN, STATE = b"AGENTD_RUN_ID", b"AGENTD_STATE"
"""The variables by which a process is known as one of a run, and of which state directory."""
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


class Snapshot:
    """The processes of a moment. Those that ended and wait to be reaped do not count."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._parents: dict[int, int] = {}
        self._groups: dict[int, int] = {}
        for pid in every():
            if len(fields := _stat(pid)) > 2 and fields[0] not in b"ZX":
                parent, self._groups[pid] = int(fields[1]), int(fields[2])
                self._parents[pid] = parent
                self._children.setdefault(parent, []).append(pid)

    def below(self, *of: int, but: Iterable[int] = ()) -> list[int]:
        """Returns the processes below these; of `but`, neither themselves nor what is below them."""
        spared = set(but)
        found: list[int] = []
        todo = list(of)
        while todo:
            children = [pid for pid in self._children.get(todo.pop(), ()) if pid not in spared]
            found += children
            todo += children
        return found

    def children(self, of: int) -> list[int]:
        """Returns the processes right below this one."""
        return self._children.get(of, [])

    def above(self, pid: int) -> list[int]:
        """Returns the parent, its parent, and so on."""
        found = []
        while (pid := self._parents.get(pid, 0)) and pid not in found:
            found.append(pid)
        return found

    def group(self, pid: int) -> int:
        """Returns the process group; 0 where there is no such process."""
        return self._groups.get(pid, 0)


class Below:
    """The children of this process, of its single thread. The file stays open: looking takes no descriptor."""

    def __init__(self) -> None:
        self._file = -1
        with suppress(OSError):  # a kernel without CONFIG_PROC_CHILDREN
            self._file = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """Returns the children, those adopted too, and those that ended and are not reaped yet."""
        if self._file < 0:
            return Snapshot().children(os.getpid())
        data = b""
        while found := os.pread(self._file, 65536, len(data)):
            data += found
        return [*map(int, data.split())]


def every() -> list[int]:
    """Returns all processes; none where /proc cannot be read, as without a free descriptor."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def is_stopped(pid: int) -> bool:
    """Tells whether somebody stopped the process (SIGSTOP, a debugger)."""
    return _stat(pid)[:1] in ([b"T"], [b"t"])


def variables(pid: int) -> dict[bytes, bytes]:
    """Returns what a process had in its environment when it began; nothing of one that ended or that is another
    user's, unless this process is root's."""
    entries = _read(f"/proc/{pid}/environ").split(b"\0")
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries)}


def run_of(pid: int, state: bytes) -> str:
    """Returns the run that a process belongs to, by its environment; "" where that is not of this state directory."""
    known = variables(pid)
    return os.fsdecode(known.get(RUN, b"")) if known.get(STATE) == state else ""


def send(pids: Iterable[int], *numbers: int) -> None:
    """Sends signals to processes that may have ended, or may not be this user's to signal, meanwhile."""
    for pid in pids:
        for number in numbers:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def adopt_orphans() -> None:
    """Makes this process the parent of whatever its children leave behind."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def on_death_of_parent(number: int) -> None:
    """Has the kernel send this process a signal when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, number, 0, 0, 0)


def _stat(pid: int) -> list[bytes]:
    """Returns the fields of a process from its state on: state, parent, group."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    with suppress(OSError), open(path, "rb") as file:
        return file.read()
    return b""
