"""The counts and the violations of all worlds, and the measure of how late the machine lets anybody be."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path


def uptime() -> float:
    """Returns the kernel's uptime in seconds: the time of the jobs' own notes, which nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Violation:
    """A promise that agentd broke, with what it takes to look for it again."""

    seed: str
    world: int
    profile: str
    fault: int
    during: str
    kind: str
    sentence: str
    folder: str

    def __str__(self) -> str:
        where = f"world {self.world} ({self.profile}), fault {self.fault} ({self.during})"
        again = f"make chaos SEED={self.seed} WORLD={self.world}"
        return f"{self.kind}: {self.sentence}; {where}; again: {again}; evidence: {self.folder}"


@dataclass
class Report:
    """The results of all worlds, which run in a thread each."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    unseen: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        """Counts something that was seen."""
        with self.lock:
            self.counts[what] += number

    def fault(self, name: str) -> None:
        """Counts a fault."""
        with self.lock:
            self.faults[name] += 1

    def violated(self, violation: Violation) -> None:
        """Takes note of a violation, and tells it: a long run need not be awaited."""
        with self.lock:
            self.violations.append(violation)
        print(f"\nVIOLATED {violation}", file=sys.stderr, flush=True)

    def skip(self, what: str, why: str) -> None:
        """Takes note of what cannot be tried on this machine."""
        with self.lock:
            self.skipped[what] = why

    def as_json(self) -> dict[str, object]:
        """Returns everything for a program."""
        return {
            "counts": dict(self.counts),
            "faults": dict(self.faults),
            "skipped": self.skipped,
            "violations": [asdict(one) for one in self.violations],
            "ends_unseen_seconds": sorted(self.unseen),
            "answers_under_attack_seconds": sorted(self.answers),
        }

    def table(self) -> str:
        """Returns what was counted, for people."""
        rows = [*sorted(self.counts.items()), *((f"fault: {name}", n) for name, n in sorted(self.faults.items()))]
        lines = [f"{number:>9,}  {name}" for name, number in rows]
        for name, values in (
            ("ends that only a killed supervisor knew", self.unseen),
            ("answers under attack", self.answers),
        ):
            if values:
                ordered = sorted(values)
                middle, last = ordered[len(ordered) // 2], ordered[-1]
                lines.append(f"{len(values):>9,}  {name}: median {middle:.3f} s, longest {last:.3f} s")
        lines += [f"  skipped  {what}: {why}" for what, why in self.skipped.items()]
        return "\n".join(lines)

    def told(self) -> str:
        """Returns each violation as a sentence, at most five of a kind."""
        by_kind: dict[str, list[Violation]] = {}
        for one in self.violations:
            by_kind.setdefault(one.kind, []).append(one)
        lines = []
        for kind, found in sorted(by_kind.items()):
            lines += [f"VIOLATED {one}" for one in found[:5]]
            if len(found) > 5:
                lines.append(f"VIOLATED {kind}: {len(found) - 5} more")
        return "\n".join(lines)


class Lag(threading.Thread):
    """Measures how late the machine lets anybody be: by how much a sleeper oversleeps, how long a byte takes to the
    disk of `folder`, and what starting a process takes. On a busy one nothing can be expected in time."""

    PAUSE = 0.05

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._file = folder / "probe"
        self._overslept: dict[int, float] = {}  # by second
        self._starting: dict[int, float] = {}

    def run(self) -> None:
        """Measures for ever."""
        for number in itertools.count():
            begin = uptime()
            time.sleep(self.PAUSE)
            _note(self._overslept, begin, uptime() - begin - self.PAUSE)
            if number % 10 == 0:
                begin = uptime()
                with contextlib.suppress(OSError), self._file.open("wb", buffering=0) as file:
                    file.write(b"x")
                    os.fsync(file.fileno())
                _note(self._overslept, begin, uptime() - begin)
                begin = uptime()
                subprocess.run(["/bin/true"], check=True)
                _note(self._starting, begin, uptime() - begin)

    def worst(self, begin: float, end: float) -> float:
        """Returns the longest delay of a sleeper or a disk between two times, in seconds."""
        return _worst(self._overslept, begin, end)

    def cost(self, begin: float, end: float) -> float:
        """Returns the longest time that starting a process took between two times, in seconds."""
        return _worst(self._starting, begin, end)


def _note(seconds: dict[int, float], begin: float, late: float) -> None:
    for second in range(int(begin), int(begin + late) + 1):
        seconds[second] = max(seconds.get(second, 0.0), late)


def _worst(seconds: dict[int, float], begin: float, end: float) -> float:
    return max((late for second, late in seconds.copy().items() if begin - 1 < second <= end), default=0.0)
