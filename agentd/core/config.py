"""A whole configuration: one field for each part, and what belongs to none."""

from typing import Annotated

from msgspec import Meta, Struct

from agentd.core.fields import Duration, PositiveDuration, Size, ZoneName, by_name
from agentd.core.jobs.settings import Job
from agentd.core.learning.settings import LearningSettings
from agentd.core.notices.settings import NoticeSettings
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.policy import RebootPolicy
from agentd.core.rules.settings import LlmServer, OwnKpi, Rule, Sampling, UnitName
from agentd.core.schedulers.settings import SchedulerSettings


class History(Struct, frozen=True, kw_only=True):
    """The past that is kept: runs and decisions by age and number, output by size."""

    keep: PositiveDuration = 90 * 24 * 60 * MINUTE
    runs: Annotated[int, Meta(ge=100)] = 100_000
    output: Size = 1 << 20
    total_output: Size = 256 << 20


class Config(Struct, frozen=True, kw_only=True):
    """A whole configuration. `concurrency` bounds the runs under way at once."""

    # Settings of no part.
    timezone: ZoneName = ""  # the machine's
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 100
    watch: bool = True
    stop_timeout: Duration = 30 * SECOND
    history: History = History()
    # The parts.
    jobs: Annotated[dict[str, Job], by_name("job")] = {}
    reboot: RebootPolicy = RebootPolicy()
    scheduler: SchedulerSettings = SchedulerSettings()
    rules: Annotated[dict[str, Rule], by_name("rule", or_list=True)] = {}
    kpis: Annotated[dict[str, OwnKpi], by_name("KPI")] = {}
    sampling: Sampling = Sampling()
    llm: LlmServer | None = None
    may_restart: tuple[UnitName, ...] = ()
    learning: LearningSettings = LearningSettings()
    notices: NoticeSettings = NoticeSettings()
