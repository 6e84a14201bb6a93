"""The wishes of people: for a while after one, an interval does not go against it (see guardrails.held)."""

from agentd.core.jobs.model import JobState
from agentd.core.learning.guardrails import HELD, HELD_RUNS
from agentd.core.learning.model import Learnt
from agentd.core.quantities import SECOND

_LASTS = round(HELD * SECOND)


def hear(learnt: Learnt, state: JobState, now: int) -> bool:
    """Takes note of what a person prefers now; returns whether that is another wish than before.

    A step beyond the last preference changes the interval alone, and is a wish as well.
    """
    interval = (state.interval or 0) / SECOND
    steps: float = state.preference - learnt.preference
    if not steps and learnt.given and interval and not state.fixed:
        steps = learnt.given - interval
    if not steps:
        return False
    learnt.wish = 0 if not interval else 1 if steps > 0 else -1  # a reset wants neither
    learnt.wish_until, learnt.wish_runs = now + _LASTS, 0
    learnt.preference = state.preference
    return True


def lasting(learnt: Learnt, now: int) -> int:
    """Returns what a person wants for now: 1 more often, -1 less often, 0 nothing."""
    # A clock that was set back while agentd was away must not have an hour last for a year.
    lasts = 0 < learnt.wish_until - now <= _LASTS
    return learnt.wish if lasts or learnt.wish_runs < HELD_RUNS else 0
