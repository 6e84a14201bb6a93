"""What the oracle makes of the conditions of a rule: all samples of this boot are kept, and each truth is worked out
anew by searching them.

Instants and spans are microseconds. A truth is True, False, or None where nobody knows. `IS anomalous` and baseline()
are left out.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Literal

from msgspec import Struct, field

from agentd.core.quantities import SECOND
from agentd.core.rules.conditions import (
    And,
    Comparison,
    HoldsFor,
    HoldsOften,
    IsAnomalous,
    IsMissing,
    Limit,
    Node,
    Not,
    Or,
    Over,
    Reading,
    Term,
)
from agentd.core.rules.settings import Parsed, Rule

Truth = bool | None
Both = tuple[Truth, Truth]
"""The strict truth and the lax one."""
State = Literal["unknown", "inactive", "pending", "firing", "clearing"]

_COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class Instant(Struct, frozen=True):
    """An instant on all clocks: `at` stands still in a suspend, `alive` does not; and the boot that both count from."""

    at: int
    alive: int
    wall: int
    boot: str

    def since(self, before: "Instant") -> int:
        """Returns the time since another instant; across a boot the wall clock tells it, and never less than 0."""
        return self.alive - before.alive if self.boot == before.boot else max(0, self.wall - before.wall)


class Sample(Struct, frozen=True):
    """What was seen at an instant. `failed` is the instant of the latest failed self-test, by `alive` in this boot."""

    moment: Instant
    values: Mapping[str, float]
    running: frozenset[str] = frozenset()
    failed: int | None = None


class Page(Struct):
    """A sample with what was worked out at it.

    `clock` is its instant without the short restarts before it: they count for nothing. `suspends` numbers the suspends
    before it. `fires` tells whether an episode went on before it. `over` tells whether the fire is over, which only a
    rule that fires asks; `knew` whether the truth that the state follows was known. `truths` are those of each node of
    both conditions, by id().
    """

    sample: Sample
    clock: int
    suspends: int
    before: State
    fires: bool
    strict: Truth = None
    lax: Truth = None
    over: Truth = False
    knew: bool = False
    truths: dict[int, Both] = field(default_factory=dict)


class Conditions:
    """The conditions of a rule and the pages of this boot. `anew` is the first page that windows look back to,
    `over_anew` the first that clear_for does."""

    def __init__(self, rule: Rule, parsed: Parsed, period: int) -> None:
        self.pages: list[Page] = []
        self.anew = self.over_anew = 0
        self._parsed = parsed
        self._period = period
        self._gap = rule.max_gap * period
        self._counts_as = {"fire": True, "clear": False}.get(rule.missing)
        self._bears = rule.missing != "reset"
        self._base = parsed.when
        while isinstance(self._base, HoldsFor | HoldsOften):
            self._base = self._base.inner

    def fill_in(self, shut: bool) -> None:
        """Works out the truths of the latest page; `shut` tells whether a gate keeps the rule from firing."""
        page = self.pages[-1]
        over: Truth = True
        page.strict = page.lax = False
        if not shut:
            page.strict, page.lax = self._weigh(self._parsed.when)
            over = _opposite(page.strict)
            if self._parsed.clear is not None:
                over = self._weigh(self._parsed.clear)[0]
        fires = page.fires
        page.over = over if fires else False
        page.knew = (over if fires else page.strict) is not None

    def lasted(self, truth: Callable[[Page], Truth], begin: int, *, bears: bool = False) -> int:
        """Returns for how long something has been true without a break, which it is at the latest page; pages before
        `begin` do not count."""
        first = self.pages[-1]
        for page in reversed(self.pages[begin:]):
            if truth(page) is False or (truth(page) and self._apart(page, first, bears=bears)):
                break
            if truth(page):
                first = page
        return self.pages[-1].clock - first.clock

    def _apart(self, page: Page, later: Page, *, bears: bool) -> bool:
        """Returns whether two pages are too far apart; what was not so before an episode is borne in the episode."""
        if later.clock - page.clock <= self._gap:
            return False
        between = (one for one in self.pages if page.clock < one.clock <= later.clock)
        return any(one.clock - page.clock > self._gap and not (bears and one.fires and self._bears) for one in between)

    def _looking_back(self) -> Iterator[Page]:
        return reversed(self.pages[self.anew :])

    # --- truths

    def _weigh(self, node: Node) -> Both:
        strict, lax = self._truths(node)
        if node is self._base and self._counts_as is not None:
            strict = self._counts_as if strict is None else strict
            lax = self._counts_as if lax is None else lax
        self.pages[-1].truths[id(node)] = strict, lax
        return strict, lax

    def _truths(self, node: Node) -> Both:
        match node:
            case Comparison():
                truth = self._compares(node)
                return truth, truth
            case IsMissing():
                missing = _value(self.pages[-1], node.kpi) is None
                return missing, missing
            case IsAnomalous():
                raise ValueError("the oracle leaves IS anomalous out")
            case Not():
                strict, _ = self._weigh(node.inner)
                return _opposite(strict), _opposite(strict)
            case And():
                parts = [self._weigh(part) for part in node.parts]
                return _all(strict for strict, _ in parts), _all(lax for _, lax in parts)
            case Or():
                parts = [self._weigh(part) for part in node.parts]
                return _any(strict for strict, _ in parts), _any(lax for _, lax in parts)
            case HoldsFor():
                return self._holds_for(node)
            case HoldsOften():
                return self._holds_often(node)

    def _compares(self, node: Comparison) -> Truth:
        fires = self.pages[-1].fires
        left = self._term(node.left)
        right = self._term(node.clear if fires and node.clear is not None else node.right)
        return None if left is None or right is None else _COMPARES[node.operator](left, right)

    def _holds_for(self, node: HoldsFor) -> Both:
        strict, lax = self._weigh(node.inner)
        if strict:
            strict = self.lasted(lambda page: page.truths[id(node.inner)][0], self.anew, bears=True) >= node.span
        return strict, lax

    def _holds_often(self, node: HoldsOften) -> Both:
        strict, lax = self._weigh(node.inner)
        found: list[bool] = []
        later = self.pages[-1]
        for page in self._looking_back():
            known, _ = page.truths[id(node.inner)]
            if known is None:
                continue
            if self._apart(page, later, bears=True) or len(found) == node.samples:
                break
            found.append(known)
            later = page
        enough = None if strict is None else sum(found) >= node.hits
        return enough, True if any(found) else lax

    # --- numbers

    def _term(self, term: Term) -> float | None:
        match term:
            case Limit():
                return term.value
            case Reading():
                return _value(self.pages[-1], term.kpi)
            case Over():
                return self._function(term)

    def _function(self, over: Over) -> float | None:
        length = _ceil(_ceil(over.span, self._period), 120) * self._period
        slots = _ceil(over.span, length)
        seen = [(page, value) for page in self.pages if (value := _value(page, over.kpi)) is not None]
        if not seen:
            return None
        slot = [page.sample.moment.at // length for page, _ in seen]
        rises = [0.0] + [_rise(*both) for both in pairwise(seen)]
        beginning = slot[0]
        for earlier, later in pairwise(slot):
            if later - earlier >= slots:  # all slots that counted had run empty before the later one came
                beginning = later
        now = self.pages[-1].sample.moment.at // length
        counted = [index for index, its in enumerate(slot) if its > now - slots and its >= beginning]
        by_slot: dict[int, list[float]] = {}
        for index in counted:
            by_slot.setdefault(slot[index], []).append(seen[index][1])
        if not counted or now - beginning + 1 < slots or 2 * len(by_slot) < slots:
            return None
        if over.function == "rate" and over.counter:
            return sum(rises[index] for index in counted) / (over.span / SECOND)
        return _worked_out(over, list(by_slot.values()))


def _worked_out(over: Over, slots: list[list[float]]) -> float:
    """Returns a function of samples, which come by slot and in order."""
    samples = [value for slot in slots for value in slot]
    match over.function:
        case "avg":
            return sum(samples) / len(samples)
        case "min":
            return min(samples)
        case "max":
            return max(samples)
        case "delta":
            return samples[-1] - samples[0]
        case "rate":
            return (samples[-1] - samples[0]) / (over.span / SECOND)
        case "count":
            return sum(value > (over.above or 0) for value in samples)
        case "p95":
            averages = sorted(sum(slot) / len(slot) for slot in slots)
            return averages[_ceil(95 * len(averages), 100) - 1]
    raise ValueError(f"the oracle leaves {over.function}() out")


def _value(page: Page, kpi: str) -> float | None:
    value = page.sample.values.get(kpi, math.nan)
    return value if math.isfinite(value) else None


def _rise(before: tuple[Page, float], this: tuple[Page, float]) -> float:
    """Returns by how much a counter rose; one that is lower than before began anew."""
    if before[0].suspends != this[0].suspends:
        return 0.0
    return this[1] - before[1] if this[1] >= before[1] else this[1]


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _opposite(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _all(truths: Iterable[Truth]) -> Truth:
    return _opposite(_any(_opposite(truth) for truth in truths))


def _any(truths: Iterable[Truth]) -> Truth:
    found = set(truths)
    return True if True in found else None if None in found else False
