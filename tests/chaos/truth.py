"""The judgement: what the jobs wrote themselves, beside what agentd recorded. Pure: times are arguments, in seconds of
the kernel's uptime, and nothing is read here.

A judge is told of every deed of the harness, so that it never takes a fault's own consequence for agentd's mistake.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

LEAD = 0.4
"""Seconds before a due time from which on its run may be decided."""
UNSEEN = 1.0
"""Seconds for which an end may be known to the supervisor alone. One that dies within them takes the end along."""
LATE = 0.6
"""Seconds after a run's end from which on nothing may call that run still under way."""
AFTERMATH = 3.0
"""Seconds after a deed in which a reason may still speak of what the deed did."""
DEATHS = frozenset({"daemon", "supervisor", "bus", "term"})
"""The kinds of deeds that end runs: SIGKILL of a process by its role, SIGTERM of the daemon."""


@dataclass
class Start:
    """A process of a run, as it wrote of itself. `end` is 0 where it wrote of none; `word` is then empty, else E or
    T; `code` is the exit code that it announced."""

    run_id: str
    due: str
    attempt: int
    pid: int
    at: float
    end: float = 0.0
    word: str = ""
    code: int = 0
    beside: str = ""
    children: list[int] = field(default_factory=list)

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.run_id.rpartition(".")[0]


@dataclass(frozen=True)
class Recorded:
    """A run as agentd recorded it. `began` is the later of its due time and its start; times are 0 where unknown."""

    run_id: str
    due: str
    due_at: float
    attempt: int
    cause: str
    state: str
    began: float
    result: str
    exit_code: int | None
    reason: str

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.run_id.rpartition(".")[0]


@dataclass(frozen=True)
class Decision:
    """A decision as agentd recorded it."""

    at: float
    kind: str
    job: str
    run_id: str
    reason: str


@dataclass(frozen=True)
class Deed:
    """A deed of the harness from `begin` to `end`, of some kinds: daemon, supervisor, bus, term, stopped, full, hand,
    files (there were no more descriptors), and job with the processes `pids`."""

    number: int
    begin: float
    end: float
    kinds: frozenset[str]
    pids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Known:
    """The facts about a job that judging needs: its interval and time-out in seconds (0: none), whether its runs may go
    on for a while after their leading process, and how many of them may be under way at once."""

    interval: int = 0
    timeout: float = 0.0
    lingers: bool = False
    abreast: int = 1


@dataclass(frozen=True)
class Finding:
    """A violation: its kind, a key by which the same one is known again, and a sentence."""

    kind: str
    key: str
    sentence: str


@dataclass
class Counts:
    """The ends that cannot be held against agentd: runs cut off by a death, ends during a stop that a death followed,
    ends that only a killed supervisor knew with their distances to its death in seconds, and runs cut off before they
    could write a word."""

    cut_off: int = 0
    frozen: int = 0
    unseen: list[float] = field(default_factory=list)
    wordless: int = 0


Lag = Callable[[float, float], float]
"""Returns the longest time, in seconds, by which the machine kept the harness waiting between two times: too long a
sleep (lag), or what it takes to start a process (cost)."""


def read(text: str) -> tuple[list[Start], list[Finding]]:
    """Returns the starts that the jobs wrote of, and what is odd about the writing itself."""
    starts: list[Start] = []
    by_process: dict[tuple[str, int], Start] = {}
    odd: list[Finding] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 6:
            odd.append(Finding("truth", line, f'the jobs wrote a line that cannot be read: "{line}"'))
            continue
        word, run_id, due, attempt, pid, at = words[:6]
        if word == "S":
            start = by_process[run_id, int(pid)] = Start(run_id, due, int(attempt), int(pid), float(at))
            starts.append(start)
            continue
        known = by_process.get((run_id, int(pid)))
        if known is None:
            odd.append(Finding("truth", line, f'{run_id} wrote "{word}" without a beginning'))
        elif word == "O":
            known.beside = words[6]
        elif word == "C":
            known.children.append(int(words[6]))
        else:
            known.word, known.end, known.code = word, float(at), int(words[6]) if word == "E" else 143
    return starts, odd


def runs_doubled(starts: Iterable[Start]) -> list[Finding]:
    """Finds runs that started twice."""
    found = []
    runs: dict[str, Start] = {}
    for start in starts:
        if (before := runs.setdefault(start.run_id, start)) is not start:
            gap = start.at - before.at
            text = f"the run {start.run_id} started twice, {gap:.1f} s apart (processes {before.pid}, {start.pid})"
            found.append(Finding("a run started twice", start.run_id, text))
    return found


def dues_doubled(starts: Iterable[Start]) -> list[Finding]:
    """Finds due times that led to two runs of the same attempt."""
    found = []
    dues: dict[tuple[str, str, int], Start] = {}
    for start in starts:
        before = dues.setdefault((start.job, start.due, start.attempt), start)
        if before.run_id != start.run_id:
            which = f"{before.run_id} and {start.run_id}, attempt {start.attempt}"
            text = f"{start.job} started twice for {start.due}: {which}"
            found.append(Finding("a due time ran twice", start.run_id, text))
    return found


def beside_themselves(starts: Iterable[Start], known: Mapping[str, Known]) -> list[Finding]:
    """Finds runs of a job that began while another of the same job was alive, where only one may be."""
    return [
        Finding("twice at once", start.run_id, f"{start.run_id} began while {start.beside} was alive")
        for start in starts
        if start.beside and known.get(start.job, Known()).abreast == 1
    ]


def unrecorded(starts: Iterable[Start], rows: Mapping[str, Recorded]) -> list[Finding]:
    """Finds starts that agentd did not record before they began."""
    return [
        Finding("a start unrecorded", start.run_id, f"{start.run_id} began (process {start.pid}) and is not recorded")
        for start in starts
        if start.run_id not in rows
    ]


def untrue_ends(
    starts: Sequence[Start],
    rows: Mapping[str, Recorded],
    deeds: Sequence[Deed],
    stopped: frozenset[str],
    known: Mapping[str, Known],
    lag: Lag,
) -> tuple[list[Finding], Counts]:
    """Compares the recorded ends with what the jobs wrote. `stopped` are the runs with a decision to stop them."""
    found: list[Finding] = []
    counts = Counts()
    by_run = {start.run_id: start for start in starts}
    for row in rows.values():
        if row.state != "ended":
            continue
        start = by_run.get(row.run_id)
        about = known.get(row.job, Known())
        if start is None:
            why = _never_began(row, deeds, counts, lag, taken_back=row.run_id in stopped)
        elif row.result == "interrupted":
            why = _interrupted(start, deeds, counts, lag)
        else:
            slack = 0.2 + 4 * lag(start.at - 1, start.end)
            why = _untrue(start, row, deeds, row.run_id in stopped, about, slack)
        if why:
            found.append(Finding("an end untrue", row.run_id, f"{row.run_id} is recorded as {row.result}, but {why}"))
    return found, counts


def _untrue(start: Start, row: Recorded, deeds: Sequence[Deed], was_stopped: bool, about: Known, slack: float) -> str:
    """Returns why the recorded end cannot be true, or "". A process may write `slack` seconds late."""
    lasted = start.end - start.at
    if row.result == "timeout":
        early = start.word and lasted < about.timeout - slack
        return "it has no time-out" if not about.timeout else f"it ended by itself after {lasted:.2f} s" * bool(early)
    if row.result == "stopped":
        return "" if was_stopped else "nobody stopped it"
    if row.result in {"signal", "core-dump"}:
        return "" if any(start.pid in deed.pids for deed in deeds) else "nobody sent it a signal"
    if not start.word:
        return "" if _without_files(deeds, start.at) else "it wrote of no end"
    wanted = 0 if row.result == "success" else row.exit_code
    if row.result not in {"success", "exit-code"} or wanted != start.code:
        return f"it ended with exit code {start.code} (recorded: {row.exit_code})"
    return ""


def _without_files(deeds: Sequence[Deed], at: float) -> bool:
    """Returns whether a process that started then may have had no files left: a job has those of its supervisor."""
    return any("files" in deed.kinds and deed.begin - 1 <= at <= deed.end + 1 for deed in deeds)


def _interrupted(start: Start, deeds: Sequence[Deed], counts: Counts, lag: Lag) -> str:
    """Returns why a run that began cannot have been interrupted, or "". Counts those that were."""
    deaths = [deed for deed in deeds if deed.kinds & DEATHS and deed.end >= start.at]
    if not deaths:
        return "nothing ended agentd, its supervisor or its bus after it began"
    first = min(deaths, key=lambda deed: deed.begin)
    if start.word != "E" or start.end >= first.begin - 0.1:  # asked to end, in its last moment perhaps
        counts.cut_off += 1
        return ""
    for deed in deaths:
        gap = max(0.0, deed.begin - start.end)
        frozen = any("stopped" in other.kinds and other.begin - UNSEEN <= start.end <= other.end for other in deeds)
        if "supervisor" in deed.kinds and frozen:
            counts.frozen += 1
            return ""
        if "supervisor" in deed.kinds and (gap <= UNSEEN + 4 * lag(start.end - 1, deed.begin)):
            counts.unseen.append(gap)
            return ""
    before = first.begin - start.end
    cause = f"{abs(before):.2f} s {'before' if before > 0 else 'after'} fault {first.number}"
    return f"it came to its end by itself with exit code {start.code}, {cause}, and a supervisor saw that"


def _never_began(row: Recorded, deeds: Sequence[Deed], counts: Counts, lag: Lag, *, taken_back: bool) -> str:
    """Returns why the end of a run that wrote nothing cannot be true, or "". `taken_back`: somebody stopped it."""
    if row.result == "cancelled" or (row.result == "stopped" and taken_back):
        return ""
    if row.result == "start-failed" and _without_files(deeds, row.began):
        return ""
    if row.result == "signal" and any(
        "job" in deed.kinds and deed.begin - 1 <= row.began <= deed.end + 1 for deed in deeds
    ):
        counts.wordless += 1  # a job was killed before its first word
        return ""
    if row.result != "interrupted":
        return f"it never began (reason: {row.reason or 'none'})"
    if not row.began:  # the clock was moved: nothing can be said of times
        counts.wordless += 1
        return ""
    frozen = any("stopped" in deed.kinds and deed.begin - 1 <= row.began <= deed.end for deed in deeds)
    for deed in deeds:
        wait = 2.0 + 4 * lag(row.began - 1, row.began + 2) + (60 if frozen else 0)
        early = LEAD if "supervisor" in deed.kinds else 0.1
        if deed.kinds & DEATHS and deed.begin - wait <= row.began <= deed.end + early:
            counts.wordless += 1
            return ""
    return "it never began, and was not due when anything ended agentd"


def skipped_silently(
    rows: Iterable[Recorded], decisions: Sequence[Decision], known: Mapping[str, Known]
) -> list[Finding]:
    """Finds due times of interval jobs that led neither to a run nor to a reason."""
    found = []
    dues: dict[str, list[Recorded]] = defaultdict(list)
    for row in rows:
        if row.cause in {"schedule", "missed"} and known.get(row.job, Known()).interval:
            dues[row.job].append(row)
    for job, runs in dues.items():
        interval = known[job].interval
        about = [one for one in decisions if one.job == job and one.kind != "start"]  # by hand: no due time's reason
        for one, other in pairwise(sorted(runs, key=lambda row: row.due_at)):
            missing = round((other.due_at - one.due_at) / interval) - 1
            told = other.reason or any(one.due_at < said.at < other.due_at + LEAD + 2 for said in about)
            if missing > 0 and not told:
                text = f"{job} was due {missing} times between {one.run_id} and {other.run_id}; nothing says why not"
                found.append(Finding("a due time silent", other.run_id, text))
    return found


def untrue_reasons(
    decisions: Iterable[Decision],
    starts: Iterable[Start],
    deeds: Sequence[Deed],
    rows: Mapping[str, Recorded],
    known: Mapping[str, Known],
    lag: Lag,
    cost: Lag,
) -> list[Finding]:
    """Finds due times that were skipped because of a run before, while none was under way, nor late at its start."""
    found = []
    starts = list(starts)
    by_job: dict[str, list[Start]] = defaultdict(list)
    for start in starts:
        by_job[start.job].append(start)
    disturbing = [deed for deed in deeds if deed.kinds - {"full", "hand"}]
    for said in decisions:
        if said.kind != "skip" or "still under way" not in said.reason or known.get(said.job, Known()).lingers:
            continue
        if any(deed.begin - 1 <= said.at <= deed.end + AFTERMATH for deed in disturbing):
            continue
        crowd = sum(said.at - 1.5 <= start.at <= said.at for start in starts)  # two processors have as many to start
        late = LATE + 4 * lag(said.at - 2, said.at) + crowd * cost(said.at - 2, said.at) / 2
        before = [start for start in by_job[said.job] if start.at <= said.at]
        tardy = [rows[start.run_id].due_at for start in by_job[said.job] if start.at > said.at and start.run_id in rows]
        if (
            before
            and not any(said.at <= (start.end or said.at) + late for start in before[-3:])
            and not any(0 < due <= said.at + LEAD for due in tardy)
        ):
            last = before[-1]
            text = (
                f'{said.job} was skipped with "{said.reason}", {said.at - last.end:.2f} s after {last.run_id} had ended'
            )
            found.append(Finding("a reason untrue", last.run_id, text))
    return found
