"""The files of the runs' output: how much of it there is, and which of it goes first."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentd.core.jobs.model import Run

_PAGE = 50  # files or runs that are looked at in one step
_FREED = 1 << 20  # bytes that are freed at a time when the disk is full


class Output:
    """The folder of the output of runs. `total` is the size in bytes of the output of runs that have ended, once
    sweep() has counted it; `oldest` the number of the first run that may have any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A Path of each file would take ten times as long as looking at it, and intern the name. Python's table of such
        # names grows with each new one: by 0.5 MiB after 6,000 files that were removed, by 0.8 MiB after 28,000 more.
        self._prefix = f"{folder}/"
        self.total = 0
        self.oldest = 0
        self._counted: set[int] = set()  # the runs of the last batch, which may come again
        self._meanwhile: dict[int, int] | None = None  # by run, while sweep() counts: the size of what ended since

    def make(self) -> None:
        """Makes the folder where it is missing. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def set_aside(self, target: str) -> None:
        """Renames the folder and makes an empty one. Raises OSError."""
        with contextlib.suppress(OSError):  # as after a crash in between: set aside already
            self.folder.rename(target)
        self.make()
        self.total = 0

    def ended(self, runs: Iterable[Run]) -> None:
        """Counts the output of runs that have ended, once each: a batch that could not be stored comes again."""
        counted, self._counted = self._counted, set()
        for run in runs:
            self._counted.add(run.seq)
            size = _size(f"{self._prefix}{run.run_id}.log")
            if size:  # while the run was under way, its output was passed over
                self.oldest = min(self.oldest, run.seq)
            if run.seq in counted:
                continue
            self.total += size
            if self._meanwhile is not None:
                self._meanwhile[run.seq] = size

    def remove(self, run_id: str) -> int:
        """Removes the output of a run that has ended; returns its size in bytes, or 0."""
        file = f"{self._prefix}{run_id}.log"
        try:
            size = os.stat(file).st_size
            os.unlink(file)
        except OSError:
            return 0
        self.total = max(0, self.total - size)
        return size

    def sweep(self, db: sqlite3.Connection) -> Iterator[None]:
        """Counts what is there, in steps, and removes what belongs to no run any more."""
        self._meanwhile = {}
        total, oldest = 0, 1 << 62
        with os.scandir(self.folder) as entries:
            while page := [entry for entry, _ in zip(entries, range(_PAGE), strict=False)]:
                states = _states(db, [_number(entry.name) for entry in page])
                for entry in page:
                    number = _number(entry.name)
                    name, state = states.get(number, ("", ""))
                    with contextlib.suppress(OSError):  # removed meanwhile
                        if entry.name != name:
                            os.unlink(entry)
                        elif state == "ended" and number not in self._meanwhile:
                            total += entry.stat().st_size
                        oldest = min(oldest, number if entry.name == name else oldest)
                yield
        self.total = total + sum(self._meanwhile.values())
        oldest = min((oldest, *(number for number, size in self._meanwhile.items() if size)))
        self.oldest, self._meanwhile = (oldest if oldest < 1 << 62 else 0), None

    def trim(self, db: sqlite3.Connection, most: int) -> Iterator[None]:
        """Removes the output of the oldest ended runs, in steps, until there are no more than `most` bytes."""
        while self.total > most:
            rows = db.execute(
                "SELECT seq, job, state FROM runs WHERE seq >= ? ORDER BY seq LIMIT ?", (self.oldest, _PAGE)
            ).fetchall()
            if not rows:
                return
            for seq, job, state in rows:
                if self.total <= most:
                    break
                self.oldest = seq + 1
                if state == "ended":
                    self.remove(f"{job}.{seq}")
            yield

    def free(self, db: sqlite3.Connection) -> bool:
        """Removes the output of the oldest ended runs, some MiB of it; returns whether there was any."""
        freed = 0
        wanted = "SELECT seq, job FROM runs WHERE seq >= ? AND state = 'ended' ORDER BY seq"
        for seq, job in db.execute(wanted, (self.oldest,)):
            self.oldest = seq + 1
            freed += self.remove(f"{job}.{seq}")
            if freed >= _FREED:
                break
        return freed > 0


def _size(file: str) -> int:
    """Returns the size of a file in bytes, or 0: most jobs print nothing."""
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _number(name: str) -> int:
    """Returns the number of the run that a file of output belongs to by its name, or -1."""
    number = name.removesuffix(".log").rpartition(".")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 16 else -1


def _states(db: sqlite3.Connection, numbers: list[int]) -> dict[int, tuple[str, str]]:
    """Returns of the runs with these numbers the name of the file of output, and the state."""
    marks = ",".join("?" * len(numbers))
    rows = db.execute(f"SELECT seq, job, state FROM runs WHERE seq IN ({marks})", numbers)  # noqa: S608 - only marks
    return {seq: (f"{job}.{seq}.log", state) for seq, job, state in rows}
