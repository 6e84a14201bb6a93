"""Conditions as they are evaluated, sample by sample.

Truth has three values, as Kleene's logic: None is "unknown", because a KPI is missing. A condition has two truths at
each sample: whether it is true, and whether it would be, were all its windows (`for 5m`, `for 3 of 5`) satisfied; a
condition of which only the second is true is pending.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import eq, ge, gt, le, lt, ne

from msgspec import Struct

from agentd.core.quantities import WEEK
from agentd.core.rules import conditions
from agentd.core.rules.conditions import Limit, Over, Reading, Term
from agentd.core.rules.spans import Baseline, Learned, Usual, Window

Truth = bool | None
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le, "==": eq, "!=": ne}


class Look(Struct, frozen=True):
    """A sample of all KPIs that have a value, a finite one, at a monotonic and a wall-clock instant (microseconds).

    `firing` tells that the rule which looks has begun to fire: its comparisons use their CLEAR limits. With `bears` its
    windows bear every gap: what has held once is over only when that was seen.
    """

    at: int
    wall: int
    values: Mapping[str, float]
    firing: bool = False
    bears: bool = False


class Part:
    """A node of a condition with what it remembers."""

    def __init__(self, node: conditions.Node, *below: "Part") -> None:
        self.node = node
        self.below = below
        self.truth: Truth = None
        """The truth at the latest look."""

    def look(self, look: Look) -> tuple[Truth, Truth]:
        """Returns whether the node is true, and whether it would be were all windows satisfied."""
        self.truth, lax = self._look(look)
        return self.truth, lax

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        raise NotImplementedError

    def gap(self) -> None:
        """Has the next sample be no rise over the one before: nobody saw what was between them."""

    def forget(self) -> None:
        """Has a window begin anew."""

    def shift(self, by: int) -> None:
        """Passes over time in which nobody looked, as if it had not been."""

    def boot(self) -> None:
        """Forgets the samples of spans of time: the monotonic clock began anew."""

    def memory(self) -> tuple[int, ...] | None:
        """Returns what take_up() needs, after a restart of agentd; None where there is nothing to remember."""
        return None

    def take_up(self, memory: tuple[int, ...]) -> None:
        """Goes on from what memory() returned."""

    def learned(self) -> tuple[Learned, ...]:
        """Returns the baselines, for relearn()."""
        return ()

    def relearn(self, learned: Sequence[Learned]) -> None:
        """Goes on from what learned() returned."""

    def recall(self, kpi: str, at: int, value: float) -> None:
        """Takes a sample from before the first look, older ones first."""

    def all(self) -> Iterator["Part"]:
        """Yields this part and all below it, from left to right."""
        yield self
        for part in self.below:
            yield from part.all()


class Unbroken:
    """The time for which something has been true without a break (microseconds of the monotonic clock).

    Between two samples at which it is true it counts as true, where they are not further apart than `gap`; so does time
    in which it was unknown. `since` is the first instant, None where it is not true, and `last` the latest.
    """

    def __init__(self, span: int, gap: int) -> None:
        self.span = span
        self._gap = gap
        self.since: int | None = None
        self.last = 0

    def hold(self, truth: Truth, at: int, *, bears: bool = False) -> Truth:
        """Takes what a sample said; returns whether it has been true for the span. With `bears` no gap is a break."""
        if self.since is not None and at - self.last > self._gap and not bears:
            self.since = None
        if truth is None:
            return None
        if not truth:
            self.since = None
            return False
        if self.since is None:
            self.since = at
        self.last = at
        return at - self.since >= self.span

    def forget(self) -> None:
        """Begins anew."""
        self.since = None

    def memory(self) -> tuple[int, int] | None:
        """Returns the first and the latest instant; None where it is not true."""
        return None if self.since is None else (self.since, self.last)

    def take_up(self, memory: tuple[int, int]) -> None:
        """Goes on from what memory() returned."""
        self.since, self.last = memory

    def shift(self, by: int) -> None:
        """Has the span go on as if that time had not been."""
        if self.since is not None:
            self.since += by
            self.last += by


class Assumes(Part):
    """A part that is taken as `unknown` where it is unknown."""

    def __init__(self, node: conditions.Node, below: Part, unknown: bool) -> None:
        super().__init__(node, below)
        self._unknown = unknown

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        truth, lax = self.below[0].look(look)
        return self._unknown if truth is None else truth, self._unknown if lax is None else lax


class _Source:
    """The source of a term's value. `value` returns it, after the sample of a look was taken."""

    def __init__(self, term: Term, period: int) -> None:
        self._term = term
        self._period = period
        self._window: Window | None = None
        self.baseline: Baseline | None = None
        self.value: Callable[[Look], float | None]
        if isinstance(term, Limit):
            limit = term.value
            self.value = lambda _: limit
        elif isinstance(term, Reading):
            kpi = term.kpi
            self.value = lambda look: look.values.get(kpi)
        elif term.function == "baseline":
            self.baseline = Baseline(term.span, period)
            self.value = partial(_mean, term.kpi, self.baseline)
        self.boot()

    def boot(self) -> None:
        """Has no sample of the span."""
        term = self._term
        if isinstance(term, Over) and term.function != "baseline":
            self._window = Window(term.function, term.span, self._period, term.above, counter=term.counter)
            self.value = partial(_over, term.kpi, self._window)

    def recall(self, kpi: str, at: int, value: float) -> None:
        """Takes a sample of the span."""
        if self._window is not None and isinstance(self._term, Over) and self._term.kpi == kpi:
            self._window.add(at, value)

    def gap(self) -> None:
        """Has the next sample be no rise over the one before."""
        if self._window is not None:
            self._window.forget_last()


def _over(kpi: str, window: Window, look: Look) -> float | None:
    sample = look.values.get(kpi)
    if sample is None:
        return window.value(look.at)
    return window.worth() if window.add(look.at, sample) else None


def _mean(kpi: str, baseline: Baseline, look: Look) -> float | None:
    sample, mean = look.values.get(kpi), baseline.mean(look.wall)
    if sample is not None:
        baseline.add(look.wall, sample)
    return mean


class Compares(Part):
    """A comparison. `value` and `limit` are its two sides at the latest look."""

    def __init__(self, node: conditions.Comparison, period: int) -> None:
        super().__init__(node)
        self.unit, self.terms = node.unit, (node.left, node.right)
        self.compared = (*self.terms, *(() if node.clear is None else (node.clear,)))
        self._compare = _COMPARE[node.operator]
        self._left, self._right = _Source(node.left, period), _Source(node.right, period)
        self._clear = self._right if node.clear is None else _Source(node.clear, period)
        # Most compare with a number: to call for it would be one of the four or five calls of a look.
        self._fixed = node.right.value if isinstance(node.right, Limit) and node.clear is None else None
        self._sources = list(dict.fromkeys((self._left, self._right, self._clear)))
        self._baselines = [source.baseline for source in self._sources if source.baseline is not None]
        self.value: float | None = None
        self.limit: float | None = None

    def look(self, look: Look) -> tuple[Truth, Truth]:
        """Returns whether the comparison is true; it has no window."""
        left, right = self._left.value(look), self._fixed
        if right is None:
            right = self._right.value(look)
            if self._clear is not self._right:
                clear = self._clear.value(look)
                right = clear if look.firing else right
        self.value, self.limit = left, right
        truth = self.truth = None if left is None or right is None else self._compare(left, right)
        return truth, truth

    def gap(self) -> None:
        """Has the next samples be no rises."""
        for source in self._sources:
            source.gap()

    def boot(self) -> None:
        """Has no samples of spans of time."""
        for source in self._sources:
            source.boot()

    def recall(self, kpi: str, at: int, value: float) -> None:
        """Takes a sample of spans of time."""
        for source in self._sources:
            source.recall(kpi, at, value)

    def learned(self) -> tuple[Learned, ...]:
        """Returns the baselines of the terms."""
        return tuple(baseline.memory() for baseline in self._baselines)

    def relearn(self, learned: Sequence[Learned]) -> None:
        """Goes on from what learned() returned."""
        for baseline, one in zip(self._baselines, learned, strict=False):
            baseline.take_up(one)


class Misses(Part):
    """The part that is true where a KPI is missing."""

    def __init__(self, node: conditions.IsMissing) -> None:
        super().__init__(node)
        self.kpi = node.kpi

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        missing = look.values.get(self.kpi) is None
        return missing, missing


class Deviates(Part):
    """The part that is true where a KPI is anomalous. `value` is that of the latest look, `usual` what it is compared
    with."""

    def __init__(self, node: conditions.IsAnomalous, period: int) -> None:
        super().__init__(node)
        self.kpi = node.kpi
        self._baseline = Baseline(WEEK, period)
        self.value: float | None = None
        self.usual = Usual()

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        value = self.value = look.values.get(self.kpi)
        self.usual = self._baseline.usual(look.wall)
        if value is None:
            return None, None
        truth = self._baseline.anomalous(look.wall, value)
        self._baseline.add(look.wall, value)
        return truth, truth

    def learned(self) -> tuple[Learned, ...]:
        """Returns the baseline."""
        return (self._baseline.memory(),)

    def relearn(self, learned: Sequence[Learned]) -> None:
        """Goes on from what learned() returned."""
        for one in learned:
            self._baseline.take_up(one)


class Negates(Part):
    """The opposite. What is not pending is not told: a NOT around a window is true until the window is satisfied."""

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        truth, _ = self.below[0].look(look)
        opposite = None if truth is None else not truth
        return opposite, opposite


class All(Part):
    """Several parts: false where one is false, else unknown where one is unknown."""

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        found = [part.look(look) for part in self.below]  # each takes its sample
        return _all([truth for truth, _ in found]), _all([lax for _, lax in found])


class Any(Part):
    """Several parts: true where one is true, else unknown where one is unknown."""

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        found = [part.look(look) for part in self.below]
        return _any([truth for truth, _ in found]), _any([lax for _, lax in found])


class Holds(Part):
    """The part that is true where another has been for a span."""

    def __init__(self, node: conditions.HoldsFor, below: Part, gap: int) -> None:
        super().__init__(node, below)
        self.unbroken = Unbroken(node.span, gap)

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        truth, lax = self.below[0].look(look)
        return self.unbroken.hold(truth, look.at, bears=look.bears), lax

    def forget(self) -> None:
        """Begins anew."""
        self.unbroken.forget()

    def shift(self, by: int) -> None:
        """Has the span go on as if that time had not been."""
        self.unbroken.shift(by)

    def memory(self) -> tuple[int, ...] | None:
        """Returns the first and the latest instant at which the inner part was true."""
        return self.unbroken.memory()

    def take_up(self, memory: tuple[int, ...]) -> None:
        """Goes on from what memory() returned."""
        self.unbroken.take_up((memory[0], memory[1]))


class Recurs(Part):
    """The part that is true where another was at some of the latest samples; those at which that was unknown are left
    out.

    `seen` has a bit for each of them, the latest lowest.
    """

    def __init__(self, node: conditions.HoldsOften, below: Part, gap: int) -> None:
        super().__init__(node, below)
        self.hits, self.samples = node.hits, node.samples
        self._gap = gap
        self._mask = (1 << node.samples) - 1
        self.seen = 0
        self._last: int | None = None

    def _look(self, look: Look) -> tuple[Truth, Truth]:
        truth, lax = self.below[0].look(look)
        if self._last is not None and look.at - self._last > self._gap and not look.bears:
            self.forget()
        if truth is None:
            return None, _any((lax, self.seen != 0))
        self._last = look.at
        self.seen = (self.seen << 1 | truth) & self._mask
        return self.seen.bit_count() >= self.hits, _any((lax, self.seen != 0))

    def forget(self) -> None:
        """Begins anew."""
        self.seen, self._last = 0, None

    def shift(self, by: int) -> None:
        """Passes over time in which nobody looked."""
        if self._last is not None:
            self._last += by

    def memory(self) -> tuple[int, ...] | None:
        """Returns what was seen, and when last."""
        return None if self._last is None or not self.seen else (self.seen, self._last)

    def take_up(self, memory: tuple[int, ...]) -> None:
        """Goes on from what memory() returned."""
        self.seen, self._last = memory[0] & self._mask, memory[1]


def condition(node: conditions.Node, period: int, gap: int, unknown: Truth = None) -> Part:
    """Returns a condition with an empty memory. Samples come every `period`; windows bear a `gap` between two that is
    no longer (microseconds). Where the condition before its last window is unknown it counts as `unknown`."""
    if unknown is None:
        return _compiled(node, period, gap)
    match node:
        case conditions.HoldsFor():
            return Holds(node, condition(node.inner, period, gap, unknown), gap)
        case conditions.HoldsOften():
            return Recurs(node, condition(node.inner, period, gap, unknown), gap)
    return Assumes(node, _compiled(node, period, gap), unknown)


def _compiled(node: conditions.Node, period: int, gap: int) -> Part:
    match node:
        case conditions.Comparison():
            return Compares(node, period)
        case conditions.IsMissing():
            return Misses(node)
        case conditions.IsAnomalous():
            return Deviates(node, period)
        case conditions.Not():
            return Negates(node, _compiled(node.inner, period, gap))
        case conditions.And():
            return All(node, *(_compiled(part, period, gap) for part in node.parts))
        case conditions.Or():
            return Any(node, *(_compiled(part, period, gap) for part in node.parts))
        case conditions.HoldsFor():
            return Holds(node, _compiled(node.inner, period, gap), gap)
        case conditions.HoldsOften():
            return Recurs(node, _compiled(node.inner, period, gap), gap)


def _all(truths: Collection[Truth]) -> Truth:
    return False if False in truths else None if None in truths else True


def _any(truths: Collection[Truth]) -> Truth:
    return True if True in truths else None if None in truths else False
