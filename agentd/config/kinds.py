"""The settings of all parts: how their kinds are parsed, what they lack, and which of them contradict each other."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from agentd.core import fields
from agentd.core.config import Config
from agentd.core.fields import Fault, Parser
from agentd.core.jobs import settings as jobs
from agentd.core.learning import settings as learning
from agentd.core.notices import settings as notices
from agentd.core.reboots import policy as reboots
from agentd.core.rules import settings as rules
from agentd.core.schedulers import settings as schedulers


class Settings(Struct, frozen=True):
    """The settings of one part, beside their field in Config.

    `kinds` are the parsers of its kinds of settings by name. `faults` names the settings of a Config that contradict
    each other, `doubts` are sentences about those that cannot do what they seem to say.
    """

    kinds: Mapping[str, Parser]
    faults: Callable[[Config], Iterable[Fault]] = lambda _: ()
    doubts: Callable[[Config], Iterable[str]] = lambda _: ()


PARTS = (
    Settings(fields.KINDS),
    Settings(jobs.KINDS, faults=lambda its: jobs.faults(its.jobs), doubts=lambda its: jobs.doubts(its.jobs)),
    Settings(
        reboots.KINDS,
        faults=lambda its: reboots.faults(its.reboot, its.jobs),
        doubts=lambda its: reboots.doubts(its.reboot),
    ),
    Settings(
        schedulers.KINDS,
        faults=lambda its: schedulers.faults(its.scheduler),
        doubts=lambda its: schedulers.doubts(its.jobs),
    ),
    Settings(
        rules.KINDS,
        faults=lambda its: rules.faults(its.rules, its.kpis, its.sampling.every, its.jobs, its.may_restart),
        doubts=lambda its: rules.doubts(its.rules, its.kpis),
    ),
    Settings(
        learning.KINDS,
        faults=lambda its: learning.faults(its.learning, its.jobs),
        doubts=lambda its: learning.doubts(its.jobs),
    ),
    Settings(
        notices.KINDS,
        faults=lambda its: notices.faults(its.notices, its.jobs),
        doubts=lambda its: notices.doubts(its.notices, its.jobs),
    ),
)
"""One line a part. A line may use what stands before it."""
