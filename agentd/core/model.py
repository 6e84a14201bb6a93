"""The types that everything else speaks of: jobs, runs, events' outcomes and effects.

They are msgspec structs: the configuration decoder reads their fields, constraints and defaults, so that a
setting is written down in one place. The "kind" of a field names the parser for its text (config.KINDS).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agentd.core.ledger import GuardsSaved, RebootEffect, RebootSaved
from agentd.core.policy import RebootPolicy
from agentd.core.triggers import Manual, Trigger
from agentd.core.units import MINUTE, SECOND

type_kind = "kind"
Duration = Annotated[int, Meta(ge=0, extra={type_kind: "duration"})]
PositiveDuration = Annotated[int, Meta(ge=1000, extra={type_kind: "duration"})]
Size = Annotated[int, Meta(ge=1, extra={type_kind: "size"})]
Command = Annotated[tuple[str, ...], Meta(extra={type_kind: "command"})]
When = Annotated[Any, Meta(extra={type_kind: "when"})]
ZoneName = Annotated[str, Meta(extra={type_kind: "timezone"})]
AbsolutePath = Annotated[str, Meta(extra={type_kind: "path"})]
UserName = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?\Z")]
Event = Literal["start", "success", "failure", "progress"]


class Refused(Exception):
    """What was asked for cannot be done. `name` is the last part of the D-Bus error name; the text is a sentence."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Missed(Struct, frozen=True):
    """What to do about due times that passed while nothing could start; `within` is a duration."""

    policy: Literal["skip", "once", "all", "within"] = "once"
    within: int = 0


class Retries(Struct, frozen=True, kw_only=True):
    """Attempts after a failed one. The pause doubles from `backoff` up to `max`."""

    count: Annotated[int, Meta(ge=0, le=100)] = 0
    backoff: Duration = MINUTE
    max: Duration = 30 * MINUTE


class Limits(Struct, frozen=True, kw_only=True):
    """Resource limits of a run, enforced by systemd where it runs the jobs."""

    memory: Size | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] | None = None
    tasks: Annotated[int, Meta(ge=1)] | None = None


class Job(Struct, frozen=True, kw_only=True):
    """One job as the configuration describes it, under its YAML key."""

    name: str
    run: Command
    when: When = Manual()
    description: str = ""
    timezone: ZoneName = ""  # the configuration's
    enabled: bool = True
    user: UserName | None = None
    group: UserName | None = None
    working_directory: AbsolutePath | None = None
    environment: Annotated[dict[str, str], Meta(extra={type_kind: "environment"})] = {}
    timeout: PositiveDuration | None = None
    stop_timeout: Duration = 10 * SECOND
    overlap: Literal["skip", "queue", "replace"] = "skip"
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 1
    missed: Annotated[Missed, Meta(extra={type_kind: "missed"})] = Missed()
    retries: Retries = Retries()
    jitter: Duration = 0
    limits: Limits = Limits()
    critical: bool = False  # the machine is not rebooted while it runs
    notify: tuple[Event, ...] = ()
    useful: Annotated[str | None, Meta(extra={type_kind: "useful"})] = None
    systemd: Annotated[dict[str, tuple[str, ...]], Meta(extra={type_kind: "directives"})] = {}

    @property
    def trigger(self) -> Trigger:
        """`when` with its type: msgspec cannot name a protocol in a field."""
        trigger: Trigger = self.when
        return trigger


class History(Struct, frozen=True, kw_only=True):
    """How much of the past is kept: runs and decisions by age and number, output by size."""

    keep: PositiveDuration = 90 * 24 * 60 * MINUTE
    runs: Annotated[int, Meta(ge=100)] = 100_000
    output: Size = 1 << 20
    total_output: Size = 256 << 20


class Config(Struct, frozen=True, kw_only=True):
    """A whole configuration. `concurrency` bounds the runs under way at once."""

    jobs: dict[str, Job] = {}
    timezone: ZoneName = ""  # the machine's
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 100
    watch: bool = True
    stop_timeout: Duration = 30 * SECOND
    history: History = History()
    reboot: RebootPolicy = RebootPolicy()


# What makes a result a failure that is worth another attempt. "stopped" and "cancelled" were somebody's wish.
FAILURES = frozenset({"exit-code", "signal", "core-dump", "timeout", "oom-kill", "start-failed", "interrupted"})


class Run(Struct, frozen=True, kw_only=True):
    """One attempt to carry out one due time of a job. Instants are 0 until they are known."""

    seq: int
    job: str
    due: int
    cause: str  # schedule | missed | manual | retry | after
    attempt: int = 1
    state: str = "queued"  # queued | running | ended
    not_before: int = 0
    started: int = 0
    ended: int = 0
    result: str = ""
    exit_code: int | None = None
    signal: str = ""
    cpu_usec: int = 0
    peak_memory: int = 0
    progress: str = ""
    reason: str = ""
    tail: str = ""
    invocation: str = ""

    @property
    def run_id(self) -> str:
        """The name people use; numbers are never used again within one store."""
        return f"{self.job}.{self.seq}"


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended, as whoever ran it observed. Fields as in Run."""

    result: str
    started: int = 0
    ended: int = 0
    exit_code: int | None = None
    signal: str = ""
    cpu_usec: int = 0
    peak_memory: int = 0
    reason: str = ""
    tail: str = ""
    invocation: str = ""


class JobState(Struct, frozen=True, kw_only=True):
    """What agentd remembers of a job across restarts.

    Every due time in [since, handled] and in the ranges of `past` has been dealt with and never starts a run
    again. `anchor` is an instant of the interval grid. `schedule` tells whether the trigger is still the same.
    """

    schedule: str = ""
    anchor: int = 0
    since: int = 0
    handled: int = 0
    past: tuple[tuple[int, int], ...] = ()
    interval: int | None = None
    enabled: bool | None = None
    preference: int = 0
    last_skip: str = ""
    last_skip_at: int = 0


class Saved(Struct, frozen=True, kw_only=True):
    """What the engine takes up at start: from the store, and from the executor by run id the ends that nobody stored
    and the runs that are still under way."""

    states: dict[str, JobState] = {}
    open_runs: tuple[Run, ...] = ()
    last_runs: dict[str, Run] = {}
    outcomes: dict[str, Outcome] = {}
    under_way: tuple[Run, ...] = ()
    next_seq: int = 1


# Effects: what the engine wants done, in order. Those that end in "Saved" are stored before any other is asked for.


class RunSaved(Struct, frozen=True):
    run: Run


class JobSaved(Struct, frozen=True):
    job: str
    state: JobState


class Decided(Struct, frozen=True):
    """A decision with its reason: kind is start, skip, queue, retry, stop, interval, enable, reset, clock, reboot."""

    at: int
    kind: str
    job: str
    run_id: str
    reason: str


class RunStarts(Struct, frozen=True):
    run: Run
    job: Job


class RunStops(Struct, frozen=True):
    run_id: str
    result: str


class Told(Struct, frozen=True):
    """Something for listeners: event is started | finished | progress."""

    event: str
    run: Run


class Notified(Struct, frozen=True):
    """Something that the job's `notify` asked to be told of."""

    event: str
    run: Run
    text: str


Effect = RunSaved | JobSaved | Decided | RunStarts | RunStops | Told | Notified | RebootEffect
STORED = (RunSaved, JobSaved, Decided, RebootSaved, GuardsSaved)
