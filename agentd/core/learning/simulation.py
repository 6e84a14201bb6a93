"""A replay: the instants of changes go in, the cost of each way to choose an interval comes out.

A run costs what it costs, a change that nobody has seen yet costs its age: both in seconds of processor time, by the
price of rate.AIM. Instants are in seconds from the beginning of the history.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, inf, log

from msgspec import Struct

from agentd.core.learning import guardrails, learner
from agentd.core.learning.learner import START_COST, Row, Terms
from agentd.core.learning.memory import DAY, HOUR
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.rate import best, bounded, changes, deserved

Choose = Callable[[float, bool], float]
"""A way to choose: the instant of a run and whether it found a change in, the seconds until the next one out."""
GRID = 60
"""The number of fixed intervals among which the best one in hindsight is sought."""


class Cost(Struct, frozen=True):
    """The cost of a history: its runs, the processor time of all of them in seconds, and the age of what was not seen
    yet, in square seconds (its mean over time, in seconds, is age / length)."""

    runs: int
    processor: float
    age: float

    def total(self, price: float) -> float:
        """Returns all of it, in seconds of processor time."""
        return self.processor + self.age / price


def replay(events: Sequence[float], length: float, cost: float, start: float, choose: Choose) -> Cost:
    """Returns what a history of changes costs when the next run is always as `choose` says; the first is at `start`."""
    at, position, runs, age = start, 0, 0, 0.0
    while at <= length:
        seen = bisect_right(events, at, position)
        if useful := seen > position:
            age += (at - events[position]) ** 2 / 2
        position, runs = seen, runs + 1
        at += choose(at, useful)
    if position < len(events):
        age += (length - events[position]) ** 2 / 2
    return Cost(runs, runs * (cost + START_COST), age)


def fixed(events: Sequence[float], length: float, cost: float, interval: float) -> Cost:
    """Returns what a fixed interval would have cost: replay() with it, without going through the runs."""
    age, seen = 0.0, -1.0
    for event in events:
        if event > seen:
            seen = max(interval, -(-event // interval) * interval)
            age += (min(seen, length) - event) ** 2 / 2
    runs = int(length // interval)
    return Cost(runs, runs * (cost + START_COST), age)


def hindsight(events: Sequence[float], length: float, cost: float, terms: Terms) -> tuple[float, Cost]:
    """Returns the best fixed interval in hindsight, in seconds, and what it would have cost."""
    ratio = (terms.longest / terms.shortest) ** (1 / (GRID - 1)) if terms.longest > terms.shortest else 1.0
    grid = [terms.start, *(terms.shortest * ratio**step for step in range(GRID))]
    found = [(one, fixed(events, length, cost, one)) for one in grid]
    return min(found, key=lambda pair: pair[1].total(terms.price))


class Agent:
    """agentd's own way, with its own core: what a job that learns would do, and `rows` to learn from."""

    def __init__(
        self, terms: Terms, cost: float, model: Mlp | None, *, vary: Callable[[], float] | None = None
    ) -> None:
        """Begins a history; `vary` gives factors by which the interval in force differs from the decided one."""
        self._terms, self._cost, self.model = terms, cost, model
        self._vary = vary
        self.state = learner.begin(terms, cost)
        self.rows: list[Row] = []

    def __call__(self, at: float, useful: bool) -> float:
        """Returns the seconds until the next run, after one at an instant."""
        at += DAY  # instants of a memory are not 0
        row = learner.outcome(self.state, self._terms, at, useful=useful, cost=self._cost, local=at)
        if row is not None:
            self.rows.append(row)
        interval = learner.decide(self.state, self._terms, at, 0, self.model, at).interval
        if self._vary is not None:
            interval = min(max(interval * self._vary(), self._terms.shortest), self._terms.longest)
        if guardrails.noticed(interval, self.state.interval):
            self.state.interval = interval
        return self.state.interval


def keep(terms: Terms) -> Choose:
    """Returns the way that keeps the configured interval."""
    return lambda _at, _useful: terms.start


def aimd(terms: Terms) -> Choose:
    """Returns additive increase, multiplicative decrease: a tenth of the configured interval more after a run that
    found nothing, half after one that found a change."""
    interval = terms.start

    def choose(_at: float, useful: bool) -> float:
        nonlocal interval
        interval = learner.follow_aimd(interval, terms, useful=useful)
        return interval

    return choose


def ewma(terms: Terms, cost: float, weight: float = 0.05) -> Choose:
    """Returns the way that takes an exponentially weighted mean of changes over time for the rate."""
    price = terms.price * (START_COST + cost)
    found = span = before = 0.0
    interval = terms.start

    def choose(at: float, useful: bool) -> float:
        nonlocal found, span, before, interval
        elapsed, before = at - before, at
        rate = found / span if found else 1 / (10 * terms.start)
        found += weight * ((changes(rate, elapsed) if useful else 0.0) - found)
        span += weight * (elapsed - span)
        interval = _bounded(best(bounded(found / span), price), interval, terms)
        return interval

    return choose


def gamma_poisson(terms: Terms, cost: float, memory: float = DAY) -> Choose:
    """Returns the way of a Bayesian rate with one memory of a day: a Gamma prior worth one change of the configured
    interval's, counts and spans that fade."""
    price = terms.price * (START_COST + cost)
    prior = deserved(terms.start, price)
    count, span, before, interval = 1.0, 1 / prior, 0.0, terms.start

    def choose(at: float, useful: bool) -> float:
        nonlocal count, span, before, interval
        elapsed, before = at - before, at
        fade = exp(-elapsed / memory)
        found = changes(count / span, elapsed) if useful else 0.0
        count, span = 1 + (count - 1) * fade + found, 1 / prior + (span - 1 / prior) * fade + elapsed
        interval = _bounded(best(bounded(count / span), price), interval, terms)
        return interval

    return choose


def original(terms: Terms) -> Choose:
    """Returns the course of the program that agentd comes from, as its closed loop was measured from 300 s: its network
    learns from its own predictions, and drifts to 20 s whatever the job (119 s after 3 hours, 20 s after 12)."""
    return lambda at, _useful: 20 + (terms.start - 20) * exp(-at / (2.9 * HOUR))


def _bounded(wanted: float, before: float, terms: Terms) -> float:
    return guardrails.within(wanted, before, terms.shortest, terms.longest, 0)[0]


def compare(
    events: Sequence[float], length: float, cost: float, terms: Terms, model: Mlp | None
) -> dict[str, tuple[Cost, float]]:
    """Returns by the name of each way to choose what it cost, and that over the cost of the best fixed interval."""
    ways: dict[str, Choose] = {
        "keep": keep(terms),
        "aimd": aimd(terms),
        "ewma": ewma(terms, cost),
        "gamma-poisson": gamma_poisson(terms, cost),
        "original": original(terms),
        "agentd-without-mlp": Agent(terms, cost, None),
        "agentd": Agent(terms, cost, model),
    }
    ideal = hindsight(events, length, cost, terms)[1].total(terms.price)
    found = {name: replay(events, length, cost, terms.start, choose) for name, choose in ways.items()}
    return {name: (one, one.total(terms.price) / ideal if ideal else inf) for name, one in found.items()}


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of positive numbers."""
    return exp(sum(map(log, values)) / len(values))
