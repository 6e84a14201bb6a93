"""A job as the configuration describes it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agentd.core.fields import AbsolutePath, Duration, PositiveDuration, Size, UserName, ZoneName, type_kind
from agentd.core.jobs.triggers import Manual, Trigger
from agentd.core.quantities import MINUTE, SECOND

Command = Annotated[tuple[str, ...], Meta(extra={type_kind: "command"})]
When = Annotated[Any, Meta(extra={type_kind: "when"})]
Event = Literal["start", "success", "failure", "progress"]


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
