"""The types of jobs beside their settings: runs and their ends, the memory of a job, and the effects."""

from msgspec import Struct

from agentd.core.jobs.settings import Job
from agentd.core.part import Beginning, Effect, Stored, Urgent

# The results that are worth another attempt. "stopped" and "cancelled" were somebody's wish.
FAILURES = frozenset({"exit-code", "signal", "core-dump", "timeout", "oom-kill", "start-failed", "interrupted"})


class Ending(Struct, frozen=True, kw_only=True):
    """The end of a run, as far as it is known. Instants are in microseconds since 1970 and 0 until they are known;
    `cpu_usec` is in microseconds of CPU time, `peak_memory` in bytes, `invocation` systemd's id of the unit's start."""

    started: int = 0
    ended: int = 0
    result: str = ""
    exit_code: int | None = None
    signal: str = ""
    cpu_usec: int = 0
    peak_memory: int = 0
    reason: str = ""
    tail: str = ""
    invocation: str = ""


class Outcome(Ending, frozen=True, kw_only=True):
    """The end of a run, as observed by the executor that ran it."""

    result: str


class Run(Ending, frozen=True, kw_only=True):
    """An attempt to carry out a due time of a job."""

    seq: int
    job: str
    due: int
    cause: str  # schedule | missed | manual | rule | retry | after
    attempt: int = 1
    state: str = "queued"  # queued | running | ended; as seen also starting: decided, and there is no process yet
    not_before: int = 0
    progress: str = ""

    @property
    def run_id(self) -> str:
        """The name people use; numbers are never used again within one store."""
        return f"{self.job}.{self.seq}"


class Watched(Struct, frozen=True, kw_only=True):
    """The memory of a job's expectations. Instants are in microseconds since 1970, and go along when the clock is
    set.

    `late`, `long` and `short` are sentences about what is not as expected and lasts: no run began in time, since
    `late_at`; runs take too long, by their numbers; the last success came too soon. `passed` is the earliest due time
    that was passed over since a run last began, for the run before was not over; 0: none was. `due` are the instants
    that the start of runs is expected after, where that is not their due time any more; `begun` those at which runs
    began, where the clock was set since, or where it was told that they began late.
    """

    late: str = ""
    late_at: int = 0
    long: dict[int, str] = {}
    short: str = ""
    passed: int = 0
    due: dict[int, int] = {}
    begun: dict[int, int] = {}

    @property
    def unmet(self) -> dict[str, str]:
        """The sentences about what is not as expected just now, by the names of events."""
        found = {"late": self.late, "too-long": next(iter(self.long.values()), ""), "too-short": self.short}
        return {event: sentence for event, sentence in found.items() if sentence}


class JobState(Struct, frozen=True, kw_only=True):
    """The memory of a job that agentd keeps across restarts.

    Every due time in [since, handled] and in the ranges of `past` has been dealt with and never starts a run
    again. `anchor` is an instant of the interval grid. `grids` are those from before the clock was set back: of each an
    instant, the last due time that was dealt with, and the interval. `schedule` tells whether the trigger is the same.
    An interval that is `fixed` was set by a person, and nothing but a person changes it. `watched` is there only where
    there is something to remember of the job's expectations.
    """

    schedule: str = ""
    anchor: int = 0
    since: int = 0
    handled: int = 0
    past: tuple[tuple[int, int], ...] = ()
    grids: tuple[tuple[int, int, int], ...] = ()
    interval: int | None = None
    fixed: bool = False
    enabled: bool | None = None
    preference: int = 0
    last_skip: str = ""
    last_skip_at: int = 0
    watched: Watched | None = None


class Saved(Struct, frozen=True, kw_only=True):
    """The past that the core of jobs takes up at its start: from the store, and from the executor by run id the ends
    that nobody stored and the runs that are still under way. `seen` is the last sign of life of the agentd before, 0
    where that is not known."""

    states: dict[str, JobState] = {}
    open_runs: tuple[Run, ...] = ()
    last_runs: dict[str, Run] = {}
    outcomes: dict[str, Outcome] = {}
    under_way: tuple[Run, ...] = ()
    next_seq: int = 1
    seen: int = 0


# Effects: what the core of jobs wants done, in order.


class RunSaved(Stored, frozen=True):
    """A run as it is now."""

    run: Run


class JobSaved(Stored, frozen=True):
    """The memory of a job is another."""

    job: str
    state: JobState


class RunStarts(Beginning, frozen=True):
    """A run is to be started: when it is due, where that is no farther ahead than the lead of the core; else at once,
    for then the clock was set back while the run waited."""

    run: Run
    job: Job

    @property
    def subject(self) -> str:
        return self.run.run_id


class RunStops(Urgent, frozen=True):
    """A run is to be stopped; `result` is what it counts as."""

    run_id: str
    result: str

    @property
    def subject(self) -> str:
        return self.run_id


class RunChanged(Effect, frozen=True):
    """Something for listeners: event is started | finished | progress | changed (the run found what it looked for)."""

    event: str
    run: Run


class Notified(Effect, frozen=True):
    """Something that people may want to be told of: event is start | success | failure | progress | tool. No attempt
    that is followed by another is a failure. `off`: the job does not run by itself any more."""

    event: str
    run: Run
    text: str
    job: Job
    off: bool = False

    @property
    def wanted(self) -> bool:
        """Whether the job's `notify` asks to be told of it."""
        return self.event in (self.job.notify or ())


class Unexpected(Effect, frozen=True):
    """A job is not as expected: event is late | too-long | too-short, `title` and `reason` are sentences. It `lasts`
    until AsExpected comes; else it is over as it is noticed."""

    event: str
    job: Job
    title: str
    reason: str
    run_id: str = ""
    lasts: bool = True

    @property
    def wanted(self) -> bool:
        """Whether the job's `notify` asks to be told of it."""
        return self.event in (self.job.notify or ())


class AsExpected(Effect, frozen=True):
    """A job is as expected again; without `title`, nothing is expected of it any more, and nobody is told."""

    event: str
    job: Job
    title: str = ""


class JobDisabled(Effect, frozen=True):
    """A person disabled a job: whatever is wrong with it is of no interest any more."""

    job: str
