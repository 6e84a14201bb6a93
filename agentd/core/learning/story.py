"""Sentences about what was learnt of a job."""

from agentd.core.learning.champion import AIMD, CONFIGURED, TITLES
from agentd.core.learning.learner import Decision, State
from agentd.core.learning.memory import DAY, Memory
from agentd.core.quantities import SECOND, format_duration

_MANY, _ALL = 20, 0.99  # runs, and the share of them, that are of use by themselves, so to say
_RARE = 1 / (365 * DAY)


def whole(interval: float) -> float:
    """Returns an interval in seconds as one that people read: whole seconds from ten on."""
    return round(interval) if interval >= 10 else round(interval, 1)


def every(seconds: float) -> str:
    """Returns an interval as people read it, with "every"."""
    return f"every {duration(seconds)}"


def duration(seconds: float) -> str:
    """Returns seconds as people read them: tenths below ten seconds, whole minutes from an hour on."""
    if seconds < 10:
        return f"{round(seconds, 1):g}s"
    step = 1.0 if seconds < 3600 else 60.0 if seconds < DAY else 3600.0
    return format_duration(round(round(seconds / step) * step * SECOND))


def changes(rate: float) -> str:
    """Returns a rate, in changes a second, as people read it."""
    return f"a change each {duration(1 / rate)}" if rate > _RARE else "no change within a year"


def reason(state: State, decision: Decision, bound: str) -> str:
    """Returns why a job gets that interval."""
    told = f"{TITLES[decision.model]} expects {changes(decision.rate)}"
    if decision.model in (CONFIGURED, AIMD):
        told = TITLES[decision.model]
    share = useful_share(state.memory)
    found = "" if share is None else f", {share:.0%} of the runs of about a day were of use"
    return f"{told}{found}" + (f" ({bound})" if bound else "")


def hint(useful: str, memory: Memory) -> str:
    """Returns what to look at where every run was of use, as one that watches its own output may never find it the
    same; or ""."""
    if useful != "output" or memory.runs < _MANY or (useful_share(memory) or 0.0) < _ALL:
        return ""
    return "every run of about a day was of use: where the output always differs, another useful says better when"


def useful_share(memory: Memory) -> float | None:
    """Returns the share of the runs of about a day that were of use; None where there were none."""
    return memory.found[1] / memory.looked[1] if memory.looked[1] else None
