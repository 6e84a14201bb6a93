"""Sentences about what was learnt of a job."""

from agentd.core.learning.champion import AIMD, CONFIGURED, COUNTED, MLP
from agentd.core.learning.learner import Decision, State
from agentd.core.learning.memory import SPANS, Memory
from agentd.core.quantities import SECOND, format_duration

MODELS = {
    CONFIGURED: "the configured interval",
    AIMD: "additive increase, multiplicative decrease",
    COUNTED: "the counted rate of changes",
    MLP: "the network",
}
"""The models, as people read them."""
BOUNDS = {
    "": "no bound acts",
    "min": "min: the job may not run more often",
    "max": "max: the job may not run less often",
    "step": "step: an interval changes by a factor of 2 at a time",
    "failures": "failures: each failed run in a row doubles the interval, up to 16 times",
    "wish": "wish: for six runs and an hour the interval does not go against what a person wanted",
    "budget": "budget: all adaptive jobs together take no more than learning.cpu_budget",
}
"""The bounds by name, as people read them."""
_DAYS = SPANS[2]


def every(seconds: float) -> str:
    """Returns an interval as people read it, with "every"."""
    return f"every {duration(seconds)}"


def duration(seconds: float) -> str:
    """Returns seconds as people read them: at most two units, and tenths below ten seconds."""
    return format_duration(round(seconds * 10) * SECOND // 10 if seconds < 10 else round(seconds) * SECOND)


def reason(state: State, decision: Decision, bound: str) -> str:
    """Returns why a job gets that interval."""
    told = f"{MODELS[decision.model]} expects a change each {duration(1 / decision.rate)}"
    if decision.model in (CONFIGURED, AIMD):
        told = MODELS[decision.model]
    share = useful_share(state.memory)
    found = "" if share is None else f", {share:.0%} of the runs of about a day were of use"
    return f"{told}{found}" + (f" ({BOUNDS[bound].partition(':')[0]})" if bound else "")


def useful_share(memory: Memory) -> float | None:
    """Returns the share of the runs of about a day that were of use; None where there were none."""
    return memory.found[1] / memory.looked[1] if memory.looked[1] else None
