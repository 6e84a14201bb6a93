"""The section `learning` of the configuration."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from agentd.core.fields import Fault, Invalid, Parser, PositiveDuration, Raw
from agentd.core.jobs.settings import Job, Mode
from agentd.core.learning.learner import Terms
from agentd.core.learning.rate import price_of
from agentd.core.quantities import DAY, MINUTE, SECOND

Share = Annotated[float, Meta(extra={"kind": "share"})]
_PERCENT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%\s*", re.ASCII)


class LearningSettings(Struct, frozen=True, kw_only=True):
    """The settings of learning. `aim` is the interval of a job that takes one
    second of processor time and watches what changes once an hour; `cpu_budget` the processors (0.1 is a tenth of one)
    that all adaptive jobs together may take."""

    mode: Mode = "shadow"
    cycle: PositiveDuration = 15 * SECOND
    aim: PositiveDuration = 10 * MINUTE
    cpu_budget: Share = 0.1
    training: bool = True


def mode_of(settings: LearningSettings, job: Job) -> Mode:
    """Returns what agentd does with an adaptive job."""
    return settings.mode if job.learning is None else job.learning


def terms_of(settings: LearningSettings, job: Job) -> Terms:
    """Returns the terms on which an adaptive job learns."""
    low, high = job.trigger.bounds
    return Terms(
        start=(job.trigger.interval or low) / SECOND,
        shortest=low / SECOND,
        longest=high / SECOND,
        price=price_of(settings.aim / SECOND),
    )


def faults(settings: LearningSettings, jobs: Mapping[str, Job]) -> Iterator[Fault]:
    """Yields a fault for a cycle or an aim that is out of range, and for each job that could never learn as told."""
    if not SECOND <= settings.cycle <= 60 * MINUTE:
        yield Fault(("learning", "cycle"), "expected a duration between 1s and 1h")
    if not SECOND <= settings.aim <= DAY:
        yield Fault(("learning", "aim"), "expected a duration between 1s and 1d")
    for name, job in jobs.items():
        if job.learning in ("on", "shadow") and job.trigger.key != "adaptive":
            text = "expected an adaptive job, such as when: {adaptive: {start: 5min}}: others keep their times"
            yield Fault(("jobs", name, "learning"), text)


def doubts(jobs: Mapping[str, Job]) -> Iterator[str]:
    """Yields a sentence for each adaptive job that is to learn and does not say when a run was useful."""
    for name, job in jobs.items():
        if job.trigger.key == "adaptive" and job.learning in ("on", "shadow") and job.useful is None:
            yield f"{name} cannot learn: set useful, which says when a run of it was of use"


def _share(raw: Raw) -> float:
    found = _PERCENT.fullmatch(raw) if isinstance(raw, str) else None
    if found is None or not 0.1 <= float(found[1]) <= 100_000:
        raise Invalid("expected percents of one processor, such as 10%, and no less than 0.1%")
    return float(found[1]) / 100


KINDS: Mapping[str, Parser] = {"share": _share}
"""The parsers of the kinds that only learning has."""
