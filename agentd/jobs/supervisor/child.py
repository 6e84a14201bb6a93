"""A run's leading process: its group, its output, and how it ended."""

import errno
import os
import resource
import time

from agentd.jobs.supervisor.lean import Record, suppress
from agentd.jobs.supervisor.signals import name_of

Order = Record
TAIL_BYTES = 4096
UNKEPT = "[agentd keeps no more of this output: "
"""The beginning of the last line where the disk was too full to keep all of the output."""
FLOOR = 64 << 20
"""Bytes of the disk that output leaves free; a twentieth of a small disk, half a MiB of a tiny one."""


def usec() -> int:
    """Returns the wall clock's instant, in microseconds since 1970."""
    return time.time_ns() // 1000


def close(*descriptors: int) -> None:
    """Closes the descriptors that are open."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def is_short(disk: os.statvfs_result) -> bool:
    """Tells whether so little of a disk is free that no output is kept: what is decided must find room there."""
    floor = max(FLOOR // 128, min(FLOOR, disk.f_blocks * disk.f_frsize // 20))
    return disk.f_bavail * disk.f_frsize < floor


class Child:
    """A run's leading process, its process group and its output."""

    def __init__(self, order: Order, pid: int, pipe: int, errors: int) -> None:
        self.id: str = order["id"]
        self.pid = pid
        self.pipe = pipe
        self.started = usec()
        self.kill_after: float = order["kill_after"]
        self.verdict = ""  # why it was ended, where it did not end by itself
        self.asked: set[int] = set()  # the processes that had their SIGTERM: one each
        self.killed = False  # whether all had their SIGKILL
        self.outcome: Order | None = None  # once the leader is reaped
        self._is_empty = False  # the group, once the leader was reaped: its number may be another's from then on
        self._errors = errors
        self._path: str | None = order["output"]
        self._cap: int = order["cap"]
        self._file = -1
        self._written = 0
        self._tail = b""
        self._notice = ""

    def signal(self, number: int) -> bool:
        """Sends a signal to the whole group; False when there is nobody left."""
        if self._is_empty:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self.outcome is None:  # the leader was forked just now, and has no group of its own yet
                os.kill(self.pid, number)
                return True
            self._is_empty = True
            return False
        except PermissionError:  # a member changed its user: the others have it, this one is adopted and killed last
            return True
        return True

    def read(self) -> int:
        """Takes what the run wrote; returns 0 at its end, -1 when there is nothing yet. The file holds the beginning,
        the tail the end."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return -1
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        room = self._cap - self._written
        self._written += len(data)
        if data and self._path is not None and room >= 0:
            self._keep(data[:room], full=len(data) > room)
        return len(data)

    def _keep(self, data: bytes, *, full: bool) -> None:
        try:
            if self._file < 0:
                self._file = os.open(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            if is_short(os.fstatvfs(self._file)):
                raise OSError(errno.ENOSPC, "the disk is almost full")
            os.write(self._file, data)
            if full:
                os.write(self._file, b"\n[agentd keeps no more of this output; the last lines are in the history]\n")
        except OSError as error:  # a full disk must not stop the job
            self._path = None
            self._notice = f"\n{UNKEPT}{error.strerror}]\n"

    def ends(self, status: int, usage: resource.struct_rusage) -> None:
        """Takes note of how the leader ended."""
        self.outcome = {"started": self.started, "ended": usec(), **_outcome(status, usage)}

    def report(self) -> Order:
        """Returns the report of the run's end, once the leader is reaped."""
        outcome = self.outcome or {}
        if reason := self._why_not_started():
            outcome.update(result="start-failed", exit_code=None, reason=reason)
        elif self.verdict and (self.verdict, outcome["result"]) != ("interrupted", "success"):
            outcome["result"] = self.verdict
        return {"ev": "ended", "id": self.id, "tail": self._last_lines(), **outcome}

    def close(self) -> None:
        """Closes its files."""
        close(self.pipe, self._errors, self._file)

    def _last_lines(self) -> str:
        """Returns the last lines, whole ones where they fit, and why the file has no more of them."""
        text = self._tail.decode(errors="replace")
        whole = text.partition("\n")[2] if len(self._tail) == TAIL_BYTES and "\n" in text[:-1] else text
        return whole + self._notice

    def _why_not_started(self) -> str:
        if self._errors >= 0:
            with suppress(BlockingIOError):
                return os.read(self._errors, 4096).decode(errors="replace")
        return ""


def _own_peak() -> int:
    """Returns the most memory that this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _outcome(status: int, usage: resource.struct_rusage) -> Order:
    spent = {
        "cpu_usec": round((usage.ru_utime + usage.ru_stime) * 1_000_000),
        # Of the largest single process. Linux counts the process that it was forked from, which is this one: of a job
        # that takes less than that nothing is known.
        "peak_memory": usage.ru_maxrss * 1024 if usage.ru_maxrss > _own_peak() else 0,
    }
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return {**spent, "result": "exit-code" if code else "success", "exit_code": code}
    return {
        **spent,
        "result": "core-dump" if os.WCOREDUMP(status) else "signal",
        "signal": name_of(os.WTERMSIG(status)),
    }
