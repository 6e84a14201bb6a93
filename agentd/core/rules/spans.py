"""The samples of a KPI in the last span of time, in bounded memory.

A span is cut into slots, at most 120 of them and each one sampling period long at least, which lie at multiples of
their length on the monotonic clock: of a span of ten minutes with a sample each 5 s every sample has a slot of its own.
The slot of the latest sample and those before it, as many as the span has, are what a function is about.
"""

import math
from bisect import bisect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from agentd.core.quantities import DAY, HOUR, SECOND
from agentd.core.rules.conditions import Function

SLOTS = 120
"""Slots that a span has at most."""
_HOURS = 24
_WIDE = 5.0
"""Mean absolute deviations from the mean that count as anomalous: four standard deviations of a normal distribution."""
_CALM = 0.01
"""The least mean absolute deviation that is reckoned with, as a part of the mean: what stood still may move a bit."""


class Slot(Struct):
    """The samples of a slot. `rise` is by how much the KPI grew in it: a counter that starts anew grew from 0."""

    index: int
    count: int
    total: float
    least: float
    most: float
    first: float
    last: float
    rise: float
    above: int

    @property
    def mean(self) -> float:
        """The average of the samples."""
        return self.total / self.count


class Fold(Struct, frozen=True):
    """A function of a span, worked out once from the slots before the latest, whenever these change, and at each
    sample from that and the latest slot."""

    before: Callable[[Sequence[Slot]], Any]
    all: Callable[[Any, Slot], float]


def _p95(before: list[float], last: Slot) -> float:
    """Returns the 95th percentile by the nearest rank, of the averages of the slots; those before are in order."""
    rank = math.ceil(0.95 * (len(before) + 1)) - 1  # from 0, among all
    place = bisect(before, last.mean)
    return last.mean if place == rank else before[rank - (place < rank)]


_FOLDS: Mapping[str, Fold] = {
    "avg": Fold(
        lambda slots: (sum([slot.total for slot in slots]), sum([slot.count for slot in slots])),
        lambda before, last: (before[0] + last.total) / (before[1] + last.count),
    ),
    "min": Fold(
        lambda slots: min([slot.least for slot in slots], default=math.inf),
        lambda before, last: min(before, last.least),
    ),
    "max": Fold(
        lambda slots: max([slot.most for slot in slots], default=-math.inf),
        lambda before, last: max(before, last.most),
    ),
    "rise": Fold(lambda slots: sum([slot.rise for slot in slots]), lambda before, last: before + last.rise),
    "delta": Fold(
        lambda slots: slots[0].first if slots else None,
        lambda before, last: last.last - (last.first if before is None else before),
    ),
    "p95": Fold(lambda slots: sorted([slot.mean for slot in slots]), _p95),
    "count": Fold(lambda slots: sum([slot.above for slot in slots]), lambda before, last: before + last.above),
}


class Window:
    """The samples of one KPI in the last `span`, and a function of them.

    The function has no value before samples came for the whole span, less a slot, and none while fewer than half of the
    slots hold a sample.
    """

    def __init__(
        self, function: Function, span: int, period: int, above: float | None = None, *, counter: bool = False
    ) -> None:
        rate = "rise" if counter else "delta"
        self._fold, self._above = _FOLDS[rate if function == "rate" else function], above
        self._averages = function in {"avg", "p95"}
        self._divisor = span / SECOND if function == "rate" else 1.0
        periods = max(1, -(-span // period))
        self._length = -(-periods // SLOTS) * period
        self._most = -(-span // self._length)
        self._slots: deque[Slot] = deque()
        self._before: Any = None  # the fold of the slots but the last; None: to be worked out
        self._whole = 0  # the index from which on there were samples for the whole span
        self._previous: float | None = None

    def add(self, at: int, value: float) -> bool:
        """Takes a sample at a monotonic instant that is not before the one of the sample before; returns whether there
        were samples for the whole span."""
        index = at // self._length
        slot = self._slots[-1] if self._slots else None
        if self._averages and slot is not None and slot.index == index:
            # Nobody asks for the rest of it, which was 50 of the 180 steps of the interpreter of such a rule at a look.
            slot.count += 1
            slot.total += value
            return index >= self._whole
        rise = 0.0 if self._previous is None else value - self._previous if value >= self._previous else value
        self._previous = value
        above = int(self._above is not None and value > self._above)
        if slot is None or slot.index != index:
            self._pass(index)
            if not self._slots:
                self._whole = index + self._most - 1
            self._slots.append(Slot(index, 1, value, value, value, value, value, rise, above))
            self._before = None
            return index >= self._whole
        slot.count += 1
        slot.total += value
        slot.last = value
        if value < slot.least:
            slot.least = value
        elif value > slot.most:
            slot.most = value
        slot.rise += rise
        slot.above += above
        return index >= self._whole

    def value(self, at: int) -> float | None:
        """Returns the function of the span that ends at a monotonic instant; None where it has no value."""
        index = at // self._length
        self._pass(index)
        return self.worth() if self._slots and index >= self._whole else None

    def worth(self) -> float | None:
        """Returns the function of the span that ends with the latest sample; None where too few came."""
        if 2 * len(self._slots) < self._most:
            return None
        if self._before is None:
            self._before = (self._fold.before(list(self._slots)[:-1]),)
        return self._fold.all(self._before[0], self._slots[-1]) / self._divisor

    def forget_last(self) -> None:
        """Has the next sample be no rise over the one before: nobody saw what was between them."""
        self._previous = None

    def _pass(self, index: int) -> None:
        while self._slots and self._slots[0].index <= index - self._most:
            self._slots.popleft()
            self._before = None


class Hour(Struct, frozen=True):
    """The samples of an hour of the day: how many counted (no more than have a say), their mean and their mean absolute
    deviation."""

    count: int
    mean: float
    deviation: float


class Learned(Struct, frozen=True):
    """The memory of a baseline: how many samples there were (no more than make a day), and each hour of the day."""

    samples: int
    hours: tuple[Hour | None, ...]


class Usual(Struct, frozen=True):
    """The usual values of an hour: their mean, their mean deviation, and the distance from the mean beyond which one
    is anomalous; None where nothing is known. `looked` is the time for which there were samples, up to a day
    (microseconds)."""

    looked: int = 0
    mean: float | None = None
    deviation: float | None = None
    bound: float | None = None


class Baseline:
    """The usual values of a KPI at each hour of the day (UTC): the mean and the mean absolute deviation. Older samples
    fade over `span`.

    A sample moves its hour's figures by the share that a sampling period has in the span's 24th part, and while there
    are few by one part in as many. Nothing is known before there were samples for a day, nor of an hour that had none.
    """

    def __init__(self, span: int, period: int) -> None:
        self._period = period
        self._most = max(1, span // (period * _HOURS))
        self._enough = -(-DAY // period)
        self._samples = 0
        self._hours: list[Hour | None] = [None] * _HOURS

    def add(self, wall: int, value: float) -> None:
        """Takes a sample at an instant (microseconds since 1970)."""
        self._samples = min(self._samples + 1, self._enough)
        hour = wall // HOUR % _HOURS
        before = self._hours[hour]
        if before is None:
            self._hours[hour] = Hour(1, value, 0.0)
            return
        count = min(before.count + 1, self._most)
        step, share = value - before.mean, 1 / count
        deviation = before.deviation + share * (abs(step) - before.deviation)
        self._hours[hour] = Hour(count, before.mean + share * step, deviation)

    def mean(self, wall: int) -> float | None:
        """Returns the mean of the hour of an instant; None where nothing is known."""
        hour = self._known(wall)
        return None if hour is None else hour.mean

    def anomalous(self, wall: int, value: float) -> bool | None:
        """Returns whether a value is further from the mean than five mean absolute deviations; None: unknown."""
        hour = self._known(wall)
        return None if hour is None else abs(value - hour.mean) > _bound(hour)

    def usual(self, wall: int) -> Usual:
        """Returns what is usual at the hour of an instant."""
        hour, looked = self._known(wall), self._samples * self._period
        return Usual(looked) if hour is None else Usual(looked, hour.mean, hour.deviation, _bound(hour))

    def memory(self) -> Learned:
        """Returns all that is known, for take_up()."""
        return Learned(self._samples, tuple(self._hours))

    def take_up(self, learned: Learned) -> None:
        """Goes on from what memory() returned."""
        self._samples, self._hours = learned.samples, list(learned.hours)

    def _known(self, wall: int) -> Hour | None:
        return self._hours[wall // HOUR % _HOURS] if self._samples >= self._enough else None


def _bound(hour: Hour) -> float:
    return _WIDE * max(hour.deviation, _CALM * abs(hour.mean))
