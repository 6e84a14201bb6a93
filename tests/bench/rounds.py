"""Rounds, figures and verdicts: the same thing is done by each in turn, again and again, in one run.

Other work on the machine slows everybody down who is measured in the same round: what one took is divided by what the
other took in that round, and the median of these ratios is the figure. Its noise is the spread of the rounds, the
distance between their quartiles; of fewer than three rounds nobody knows it. Less is better, for every figure.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

WORSE = 0.05
"""A figure may be worse by this part, beside its noise."""
PRESENT, OTHER = "agentd", "other"
"""This checkout's agentd, and that of --checkout."""
Taken = dict[str, dict[str, list[float]]]


def alternate(count: int, contestants: Mapping[str, Callable[[], Mapping[str, float]]]) -> Taken:
    """What each found in each round, by its name and the name of the value; each round begins with the next of them."""
    names = [*contestants]
    taken: Taken = {name: {} for name in names}
    for number in range(count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for key, value in contestants[name]().items():
                taken[name].setdefault(key, []).append(float(value))
    return taken


def together(count: int, measure: Callable[[], Mapping[str, Mapping[str, float]]]) -> Taken:
    """The same of those that are measured side by side in each round."""
    taken: Taken = {}
    for _ in range(count):
        for name, values in measure().items():
            for key, value in values.items():
                taken.setdefault(name, {}).setdefault(key, []).append(float(value))
    return taken


class Figure(NamedTuple):
    """One value of all rounds by who was measured. Where `peer` is one of them, what counts is the ratio to it.

    `goal` is the most that the ratio may be, or the value itself where there is no peer; None: it is only told.
    """

    name: str
    unit: str
    rounds: dict[str, list[float]]
    peer: str = ""
    goal: float | None = None

    def counted(self, who: str) -> list[float]:
        """What counts of each round: the ratio to the peer, or the value."""
        if not self.peer:
            return self.rounds[who]
        return [_ratio(ours, theirs) for ours, theirs in zip(self.rounds[who], self.rounds[self.peer], strict=True)]

    @property
    def verdict(self) -> str:
        """Whether the goal is "met", "MISSED" (three quarters of the rounds are above it) or neither, "unsure"."""
        counted = self.counted(PRESENT)
        if self.goal is None:
            return ""
        if statistics.median(counted) <= self.goal:
            return "met"
        return "MISSED" if _quartiles(counted)[0] > self.goal else "unsure"


def figure(
    name: str, unit: str, taken: Taken, key: str, *, peer: str = "", key_of_peer: str = "", goal: float | None = None
) -> Figure:
    """A figure of what was taken under `key`; of the peer under its own."""
    rounds = {who: found[key] for who, found in taken.items() if who in {PRESENT, OTHER}}
    if peer:
        rounds[peer] = taken[peer][key_of_peer or key]
    return Figure(name, unit, rounds, peer, goal)


def noise(values: list[float]) -> float:
    """The distance between the quartiles, as a part of the median; without end where there are fewer than three."""
    if len(values) < 3:
        return math.inf
    low, middle, high = _quartiles(values)
    return _ratio(high - low, middle) if high > low else 0.0


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


class Difference(NamedTuple):
    """How a figure changed: `by` is the part by which it is more than before, `noise` what the rounds spread by."""

    name: str
    before: float
    after: float
    by: float
    noise: float

    @property
    def worse(self) -> bool:
        return self.by > WORSE + self.noise


def between(figure: Figure) -> Difference:
    """Two checkouts in one run: each round is compared by itself, and the peer does not matter."""
    before, after = figure.rounds[OTHER], figure.rounds[PRESENT]
    ratios = [_ratio(new, old) for new, old in zip(after, before, strict=True)]
    middle = statistics.median(ratios)
    return Difference(
        figure.name, statistics.median(before), statistics.median(after), middle - 1, noise(ratios) * middle
    )


def between_runs(before: Figure, after: Figure) -> Difference:
    """This checkout in two runs: what counts is compared, so ratios where there is a peer."""
    old, new = before.counted(PRESENT), after.counted(PRESENT)
    first, second = statistics.median(old), statistics.median(new)
    return Difference(before.name, first, second, _ratio(second, first) - 1, noise(old) + noise(new))


def _ratio(one: float, other: float) -> float:
    """One in parts of the other; equal where both are nothing."""
    return one / other if other else 1.0 if one == other else math.inf


def loaded(report: dict[str, Any]) -> dict[str, Figure]:
    """The figures of a report of this program, by their names."""
    return {name: Figure(name, **found) for name, found in report["figures"].items()}
