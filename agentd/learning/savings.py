"""The gain of learning for a job, estimated by what its runs found: nobody knows when a change came."""

from collections.abc import Sequence

from msgspec import Struct

from agentd.core.learning import simulation
from agentd.core.learning.learner import START_COST, Terms
from agentd.core.quantities import SECOND

FEWEST = 20
"""Runs from which an estimate is made."""


class Savings(Struct, frozen=True, kw_only=True):
    """A job's runs over `length` seconds: what they cost beside the configured interval and beside the best fixed one
    in hindsight (seconds). Costs are in seconds of processor time, with the age of unseen changes at its price;
    `processor` alone is that of runs, `age` the mean age of what was not seen yet, in seconds."""

    length: float
    cost: float
    keep_cost: float
    best_cost: float
    best: float
    processor: float
    keep_processor: float
    age: float
    keep_age: float


def estimate(looks: Sequence[tuple[int, float, int, float]], terms: Terms) -> Savings | None:
    """Returns what looks (as of tables.list_looks) cost; None where there are too few. A change is taken to have come
    in the middle of the span in which it was found."""
    if len(looks) < FEWEST:
        return None
    begin = looks[0][0] / SECOND - looks[0][1]
    ends = [at / SECOND - begin for at, *_ in looks]
    length = ends[-1]
    events = [end - span / 2 for end, (_, span, useful, _) in zip(ends, looks, strict=True) if useful]
    each = sum(cpu for *_, cpu in looks) / len(looks)
    age = sum(span * span / 8 for _, span, useful, _ in looks if useful)
    ours = simulation.Cost(len(looks), len(looks) * (each + START_COST), age)
    keep = simulation.fixed(events, length, each, terms.start)
    best, cheapest = simulation.hindsight(events, length, each, terms)
    return Savings(
        length=length,
        cost=ours.total(terms.price),
        keep_cost=keep.total(terms.price),
        best_cost=cheapest.total(terms.price),
        best=best,
        processor=ours.processor,
        keep_processor=keep.processor,
        age=ours.age / length,
        keep_age=keep.age / length,
    )
