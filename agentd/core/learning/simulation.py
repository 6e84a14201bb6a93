"""A replay: the instants of changes go in, the cost of each way to choose an interval comes out.

A run costs what it costs, a change that nobody has seen yet costs its age: both in seconds of processor time, by the
price of rate.AIM. Instants are in seconds from the beginning of the history.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
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
OURS = "agentd"
BASELINES = ("keep", "aimd", "aimd-tuned", "ewma", "gamma-poisson", "original")
"""The ways of others, with which ours is compared."""
TUNED = (0.02, 1.1)
"""The constants of AIMD that were best of those tried, see below."""
_WEEK = 7 * DAY


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
    age, position = 0.0, 0
    while position < len(events):
        event = events[position]
        seen = max(interval, event, -(-event // interval) * interval)  # rounding must not have it before the event
        age += (min(seen, length) - event) ** 2 / 2
        position = bisect_right(events, seen, position)
    runs = int(length // interval)
    return Cost(runs, runs * (cost + START_COST), age)


def hindsight(events: Sequence[float], length: float, cost: float, terms: Terms) -> tuple[float, Cost]:
    """Returns the best fixed interval in hindsight, in seconds, and what it would have cost."""
    ratio = (terms.longest / terms.shortest) ** (1 / (GRID - 1)) if terms.longest > terms.shortest else 1.0
    grid = [terms.start, *(terms.shortest * ratio**step for step in range(GRID))]
    found = [(one, fixed(events, length, cost, one)) for one in grid]
    return min(found, key=lambda pair: pair[1].total(terms.price))


class Summary(Struct, frozen=True):
    """Costs over those of the best fixed interval, by the name of each way: geometric means over all sets and in each,
    and the worst single history of ours."""

    overall: dict[str, float]
    sets: dict[str, dict[str, float]]
    worst: float


class Agent:
    """agentd's own way, with its own core: what a job that learns would do, and `rows` to learn from."""

    def __init__(
        self,
        terms: Terms,
        cost: float,
        model: Mlp | None,
        *,
        vary: Callable[[], float] | None = None,
        began: float = 0.0,
    ) -> None:
        """Begins a history at an instant in seconds since 1970, of which the time of day and of week are seen; `vary`
        gives factors by which the interval in force differs from the decided one."""
        self._terms, self._cost, self.model = terms, cost, model
        self._began = _WEEK + began % _WEEK  # instants of a memory are not 0
        self._vary = vary
        self.state = learner.begin(terms, cost)
        self.rows: list[Row] = []

    def __call__(self, at: float, useful: bool) -> float:
        """Returns the seconds until the next run, after one at an instant."""
        at += self._began
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


# The ways of others below have the constants that were best of those tried, so that none is made of straw. Tried were,
# with the histories of tests/bench/interval.py of the seeds 1, train1 and train2 (geometric means of all sets):
#
# aimd: 0.01 to 0.3 added, divided by 1.05 to 2. By 2 as textbooks have it, 0.1 added is best: 1.167; by 1.5, 0.08:
#   1.104; by 1.15, 0.03: 1.069; by 1.1, 0.02: 1.065; by 1.05, 0.01: 1.073. The textbook's is the one that people know;
#   the best is beside it. agentd's own model (learner.follow_aimd) is the textbook's, which differs most from counting;
#   the gentler ones made no difference to agentd.
# ewma: of changes over time, weights of 0.005 to 0.3 a run: 1.39 with 0.05 and nothing before the first run, as one
#   that finds nothing then has the next wait too long; 1.001 with 0.015 where the configured interval counts for a
#   start. By age, with 0.1 to 4 days: 1.07 at best. Of the gaps between changes, weights of 0.02 to 0.4: 1.045 at best
#   where a gap counts at its end alone; 0.996 where an open one counts once it is longer than the mean; 0.994 where a
#   run may also have found several changes, as below.
# gamma_poisson: memories of 0.25 to 4 days, priors of 0.25 to 1 changes: from 0.994 to 1.007.


def aimd(terms: Terms, add: float = 0.1, divide: float = 2.0) -> Choose:
    """Returns additive increase, multiplicative decrease: a part of the configured interval more after a run that found
    nothing, a fraction of the interval after one that found a change. By default as textbooks have it."""
    interval = terms.start

    def choose(_at: float, useful: bool) -> float:
        nonlocal interval
        interval = interval / divide if useful else interval + add * terms.start
        interval = min(max(interval, terms.shortest), terms.longest)
        return interval

    return choose


def ewma(terms: Terms, cost: float, weight: float = 0.3) -> Choose:
    """Returns the way that takes an exponentially weighted mean of the gaps between changes; the one that is still open
    counts as well where it is longer than that, and a run that found something as the changes that were expected."""
    price = terms.price * (START_COST + cost)
    gap, changed, before, interval = 1 / deserved(terms.start, price), 0.0, 0.0, terms.start

    def choose(at: float, useful: bool) -> float:
        nonlocal gap, changed, before, interval
        elapsed, before, last = at - before, at, at - changed
        if useful:
            found = changes(1 / gap, elapsed)
            gap += (1 - (1 - weight) ** found) * (last / found - gap)
            changed, last = at, 0.0
        mean = max(gap, gap + weight * (last - gap))
        interval = _bounded(best(bounded(1 / mean), price), interval, terms)
        return interval

    return choose


def gamma_poisson(terms: Terms, cost: float, memory: float = DAY / 2, weight: float = 0.5) -> Choose:
    """Returns the way of a Bayesian rate with one memory: a Gamma prior worth some changes of the configured
    interval's, counts and spans that fade."""
    price = terms.price * (START_COST + cost)
    start = weight / deserved(terms.start, price)
    count, span, before, interval = weight, start, 0.0, terms.start

    def choose(at: float, useful: bool) -> float:
        nonlocal count, span, before, interval
        elapsed, before = at - before, at
        fade = exp(-elapsed / memory)
        found = changes(count / span, elapsed) if useful else 0.0
        count, span = weight + (count - weight) * fade + found, start + (span - start) * fade + elapsed
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
    events: Sequence[float],
    length: float,
    cost: float,
    terms: Terms,
    model: Mlp | None,
    *,
    began: float = 0.0,
    through: Callable[[str, Choose], Choose] = lambda _name, choose: choose,
) -> dict[str, tuple[Cost, float]]:
    """Returns by the name of each way to choose what it cost, and that over the cost of the best fixed interval.

    `began` is the instant of the history's beginning in seconds since 1970; each way, by its name, goes `through` that.
    """
    ways: dict[str, Choose] = {
        "keep": keep(terms),
        "aimd": aimd(terms),
        "aimd-tuned": aimd(terms, *TUNED),
        "ewma": ewma(terms, cost),
        "gamma-poisson": gamma_poisson(terms, cost),
        "original": original(terms),
        "agentd-without-mlp": Agent(terms, cost, None, began=began),
        OURS: Agent(terms, cost, model, began=began),
    }
    ideal = hindsight(events, length, cost, terms)[1].total(terms.price)
    found = {name: replay(events, length, cost, terms.start, through(name, way)) for name, way in ways.items()}
    return {name: (one, one.total(terms.price) / ideal if ideal else inf) for name, one in found.items()}


def summary(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Summary:
    """Returns the summary of sets of histories, each with the cost of each way over that of the best fixed interval. A
    set counts as much as another, however many histories are in it."""
    sets = {
        name: {way: geometric_mean([history[way] for history in histories]) for way in histories[0]}
        for name, histories in found.items()
    }
    overall = {way: geometric_mean([row[way] for row in sets.values()]) for way in next(iter(sets.values()))}
    return Summary(overall, sets, max(history[OURS] for histories in found.values() for history in histories))


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of positive numbers."""
    return exp(sum(map(log, values)) / len(values))
