"""The jobs, as KPIs have them: heard from their runs, and remembered across restarts."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from agentd.core.jobs.model import FAILURES, Run
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.kpis import JobFacts, Work

FEWEST = 5
"""Runs that must have ended for a share of failures to mean anything."""
LEAST = 5 * MINUTE
"""Microseconds for which agentd must have watched for a number per hour to mean anything."""


class JobsSeen(Protocol):
    """The core of jobs: looked at by KPIs, and what rules do with jobs. Raises Refused where it cannot."""

    def run(self, name: str, now: int, cause: str = "manual") -> Run:
        """Starts a run of a job."""

    def stop(self, target: str, now: int) -> object:
        """Stops the runs of a job."""

    def hold(self, who: str, why: str, *, pause: bool = False) -> None:
        """Starts nothing new until `who` releases it; `why` is a sentence."""

    def release(self, who: str, now: int) -> None:
        """Starts things again unless somebody else holds them."""

    def is_running(self, name: str) -> bool:
        """Returns whether a run of that job is under way."""

    def waiting(self, now: int) -> Sequence[Run]:
        """Returns the runs that wait for nothing but a place."""

    def all_seen(self) -> list[Run]:
        """Returns the runs that have not ended, and the last one of each job."""


class JobMemory(Struct, frozen=True):
    """A job's failures in a row, the instant of its last success, and of the end of the last run that was counted; 0:
    none is known."""

    failures: int = 0
    success: int = 0
    latest: int = 0

    def moved(self, by: int, most: int) -> "JobMemory":
        """Returns the same by a wall clock that shows so many microseconds more, and no instant after `most`."""
        success, latest = (min(at + by, most) if at else 0 for at in (self.success, self.latest))
        return JobMemory(self.failures, success, latest)


class WorkMemory(Struct, frozen=True, kw_only=True):
    """The memory of the jobs: since when agentd watches, for each minute (by its number since 1970) how many runs ended
    and how many of them failed, and the jobs."""

    since: int = 0
    minutes: dict[int, tuple[int, int]] = {}
    jobs: dict[str, JobMemory] = {}

    def moved(self, by: int, now: int) -> "WorkMemory":
        """Returns the same by a wall clock that shows so many microseconds more, without what a clock noted that was
        ahead of `now`."""
        minutes = {minute + round(by / MINUTE): counts for minute, counts in self.minutes.items()}
        return WorkMemory(
            since=min(self.since + by, now),
            minutes={minute: counts for minute, counts in minutes.items() if minute <= now // MINUTE},
            jobs={name: job.moved(by, now) for name, job in self.jobs.items()},
        )


class Watch:
    """Counts what becomes of runs."""

    def __init__(self, jobs: JobsSeen, memory: WorkMemory, now: int) -> None:
        self._jobs = jobs
        self.ends = 0
        """How many runs have ended."""
        memory = memory.moved(0, now)
        # Time in which nobody watched is no time without runs, where it is long.
        self._since = memory.since if memory.since and _newest(memory, now) > now - 2 * LEAST else now
        self._minutes = dict(memory.minutes)
        self._memory = dict(memory.jobs)
        for run in jobs.all_seen():
            # The last one may have ended as agentd died, before what was counted was stored.
            if run.state == "ended" and run.ended > self._memory.get(run.job, JobMemory()).latest:
                self._note(run)

    def ended(self, run: Run, now: int) -> None:
        """Takes note of a run that ended. What somebody stopped or cancelled counts as neither success nor failure."""
        self.ends += 1
        if run.result in FAILURES or run.result == "success":
            ended, failed = self._minutes.get(now // MINUTE, (0, 0))
            self._minutes[now // MINUTE] = (ended + 1, failed + (run.result in FAILURES))
        self._note(run)

    def work(self, now: int) -> Work:
        """Returns how the jobs do, by the runs of the last hour."""
        self._forget(now)
        ended = failed = 0
        for of_minute, failed_of_minute in self._minutes.values():
            ended += of_minute
            failed += failed_of_minute
        watched = min(HOUR, now - self._since)
        waiting = self._jobs.waiting(now)
        return Work(
            per_hour=ended * HOUR / watched if watched >= LEAST else None,
            failed=100 * failed / ended if ended >= FEWEST else None,
            queued=len(waiting),
            oldest=max(0, now - min([run.due for run in waiting])) / SECOND if waiting else 0.0,
        )

    def job(self, name: str, now: int) -> JobFacts:
        """Returns how one job does."""
        known = self._memory.get(name, JobMemory())
        return JobFacts(known.failures, max(0, now - known.success) / SECOND if known.success else None)

    def running(self, names: Iterable[str]) -> frozenset[str]:
        """Returns those of these jobs that run."""
        return frozenset(filter(self._jobs.is_running, names))

    def memory(self, now: int) -> WorkMemory:
        """Returns what to remember."""
        self._forget(now)
        return WorkMemory(since=self._since, minutes=dict(self._minutes), jobs=dict(self._memory))

    def clock_stepped(self, delta: int, now: int) -> None:
        """Has the past stand where it would had the clock been right."""
        moved = self.memory(now - delta).moved(delta, now)
        self._since, self._minutes, self._memory = moved.since, dict(moved.minutes), dict(moved.jobs)

    def keep(self, names: Iterable[str]) -> None:
        """Forgets the jobs that are no more."""
        kept = set(names)
        self._memory = {name: known for name, known in self._memory.items() if name in kept}

    def _note(self, run: Run) -> None:
        known = self._memory.get(run.job, JobMemory())
        if run.result == "success":
            self._memory[run.job] = JobMemory(0, run.ended, run.ended)
        elif run.result in FAILURES:
            self._memory[run.job] = JobMemory(known.failures + 1, known.success, run.ended)

    def _forget(self, now: int) -> None:
        first = (now - HOUR) // MINUTE
        if self._minutes and min(self._minutes) <= first:
            self._minutes = {minute: counts for minute, counts in self._minutes.items() if first < minute}


def _newest(memory: WorkMemory, now: int) -> int:
    """Returns the end of the latest minute in which agentd watched, by the runs that ended; `now` at the latest."""
    return min(now, (max(memory.minutes, default=0) + 1) * MINUTE)
