"""Facts of agentd itself: what it takes of the machine, and how late its loop was."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agentd.core.rules.kpis import Agent, Missing
from agentd.rules.facts.host import FOREIGN, Kept, foreign, number, trouble

_CGROUP = re.compile(rb"^0::(/.+)$", re.MULTILINE)  # of cgroup v2; "/" is the whole machine's or container's
_WHOLE = re.compile(rb"^(\d{1,20})$", re.MULTILINE)
_INACTIVE = re.compile(rb"^inactive_file (\d{1,20})$", re.MULTILINE)
_USAGE = re.compile(rb"^usage_usec (\d{1,20})$", re.MULTILINE)
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
_THREADS, _RESIDENT = 17, 21  # places in /proc/PID/stat, from 0, after the name of the program


class AgentFacts:
    """agentd as the kernel counts it: by its cgroup where it is the main process of a unit of systemd, whose cgroup has
    nobody else's processes; else by the process alone. In a terminal it shares the cgroup with a shell and a browser.

    `store` returns the bytes of the database, and raises OSError where its file is not to be seen. `clock` and `used`
    return seconds: of time, and of processors' time that this process took. `environment` is that of this process.
    """

    def __init__(
        self,
        store: Callable[[], float],
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._store = store
        self._root = str(root).rstrip("/")
        self._read = Kept(self._root).read
        self._clock = clock
        self._used = used
        self._main = environment.get("SYSTEMD_EXEC_PID") == str(os.getpid())
        self._start = clock()
        self._lag: float | None = None
        # The cgroup, when it was looked at, and the seconds of processors' time until then.
        self._before: tuple[str, float, float] | None = None

    def note_lag(self, seconds: float) -> None:
        """Takes note of how late the loop was."""
        self._lag = max(self._lag or 0.0, seconds)

    def agent(self, _: str) -> Agent:
        """Returns what agentd takes now; begins anew to count the lag and the processors' time.

        Raises Missing where /proc does not tell.
        """
        group = self._cgroup()
        seen = Agent(
            memory=self._memory(group),
            cpu=self._cpu(group),
            tasks=self._tasks(group),
            open_files=self._open_files(),
            lag=self._lag,
            store=self._stored(),
            uptime=self._clock() - self._start,
        )
        self._lag = None
        return seen

    def _stored(self) -> float | None:
        """Returns the bytes of the database; None where its file is not to be seen."""
        try:
            return self._store()
        except OSError:
            return None

    def _cgroup(self) -> str:
        """Returns the folder of the cgroup that is agentd's alone, or "" where there is none."""
        if not self._main:
            return ""
        found = _CGROUP.search(self._read(f"{self._root}/proc/self/cgroup"))
        return f"{self._root}/sys/fs/cgroup{os.fsdecode(found[1])}" if found else ""

    def _memory(self, group: str) -> float:
        """Returns the bytes of memory that are not to be had back without harm."""
        held, unused = self._found(_WHOLE, group, "memory.current"), self._found(_INACTIVE, group, "memory.stat")
        if held is not None and unused is not None:
            return max(0, held - unused)
        return self._process(_RESIDENT) * _PAGE

    def _cpu(self, group: str) -> float | None:
        """Returns the share of one processor since the look before, in percent; None at the first look."""
        usage = self._found(_USAGE, group, "cpu.stat")
        source, used = ("", self._used()) if usage is None else (group, usage / 1e6)
        before, self._before = self._before, (source, self._clock(), used)
        if before is None or before[0] != source or self._before[1] <= before[1]:
            return None
        return max(0.0, 100 * (used - before[2]) / (self._before[1] - before[1]))

    def _tasks(self, group: str) -> float:
        """Returns how many threads there are, of agentd and of the processes it started."""
        tasks = self._found(_WHOLE, group, "pids.current")
        return self._process(_THREADS) if tasks is None else tasks

    def _process(self, place: int) -> int:
        """Returns a number that /proc/self/stat has in a place. Raises Missing."""
        path = f"{self._root}/proc/self/stat"
        told = self._read(path)
        try:
            return number(told.rpartition(b") ")[2].split()[place])
        except FOREIGN as error:
            raise foreign(path) from error

    def _open_files(self) -> int:
        """Returns how many files are open. Raises Missing."""
        path = f"{self._root}/proc/self/fd"
        try:
            if not self._root and (count := os.stat(path).st_size):  # noqa: PTH116 - since Linux 6.2
                return count
            return len(os.listdir(path)) - 1  # noqa: PTH208 - the folder itself is open while it is listed
        except OSError as error:
            raise Missing(f"{path} cannot be read: {trouble(error)}") from error

    def _found(self, what: re.Pattern[bytes], group: str, name: str) -> int | None:
        """Returns the number in a file of a cgroup; None where that is not counted, or there is no cgroup."""
        if not group:
            return None
        try:
            found = what.search(self._read(f"{group}/{name}"))
        except Missing:  # a controller that is off has no file
            return None
        return int(found[1]) if found else None
