"""Rules in words: what each comparison sees, what became of a rule, what is missing for a rule to fire."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from agentd.core.quantities import DAY, SECOND, format_duration
from agentd.core.rules import conditions
from agentd.core.rules.conditions import Limit
from agentd.core.rules.evaluation import Assumes, Compares, Deviates, Holds, Misses, Part, Recurs, Truth
from agentd.core.rules.kpis import KPIS
from agentd.core.rules.settings import Rule, Step
from agentd.core.rules.standing import Change
from agentd.core.rules.units import COUNT, Unit

WhyMissing = Callable[[str], str]
"""Returns why a KPI has no value; empty where it has one."""
UnitOf = Callable[[str], Unit]
"""Returns the unit of a KPI."""
_KINDS: Mapping[type[conditions.Node], str] = {
    conditions.Comparison: "compares",
    conditions.IsMissing: "missing",
    conditions.IsAnomalous: "anomalous",
    conditions.Not: "not",
    conditions.And: "and",
    conditions.Or: "or",
    conditions.HoldsFor: "for",
    conditions.HoldsOften: "of",
}
_WORDS = {
    "unknown": "cannot be told",
    "inactive": "is over",
    "pending": "is pending",
    "firing": "fires",
    "clearing": "is about to be over",
}


class Line(Struct, frozen=True):
    """A part of a condition in words: of which kind it is, as it is written, whether it is true, what it sees, and how
    deep in the condition it lies."""

    kind: str
    text: str
    truth: Truth
    sees: str
    depth: int


def _known_unit(kpi: str) -> Unit:
    """Returns the unit of a KPI, a bare count for one of somebody's own."""
    known = KPIS.get(kpi.partition(":")[0])
    return COUNT if known is None else known.unit


def lines(part: Part, missing: WhyMissing, at: int, depth: int = 0, *, unit: UnitOf = _known_unit) -> Iterator[Line]:
    """Yields a condition part by part, as it was at the latest look, at the monotonic instant `at`."""
    if isinstance(part, Assumes):
        yield from lines(part.below[0], missing, at, depth, unit=unit)
        return
    yield Line(_KINDS[type(part.node)], part.node.text, part.truth, _sees(part, missing, at, unit), depth)
    for below in part.below:
        yield from lines(below, missing, at, depth + 1, unit=unit)


def compared(part: Part, missing: WhyMissing) -> list[str]:
    """Returns a sentence for each comparison in a condition."""
    return [
        f"{one.node.text}: {_sees(one, missing, 0, _known_unit)}"
        for one in part.all()
        if isinstance(one, Compares | Misses | Deviates)
    ]


def sentence(rule: Rule, change: Change, why: str) -> str:
    """Returns what became of a rule, as a sentence; `why` is what its comparisons see."""
    if change.action is not None:
        return f"{rule.name} fires and asks for {change.action}: {why}"
    withheld = f", but does nothing: {change.withheld}" if change.withheld else ""
    return f"{rule.name} {_WORDS[change.state]}{withheld}: {why}"


def after(step: Step) -> str:
    """Returns when a step of a ladder comes, in words."""
    return format_duration(step.after) + (", if the self-test failed" if step.if_ == "self_test_failed" else "")


def _sees(part: Part, missing: WhyMissing, at: int, unit: UnitOf) -> str:
    if isinstance(part, Compares):
        return _compares(part, missing)
    if isinstance(part, Deviates):
        return missing(part.kpi) or _deviates(part, unit(part.kpi))
    if isinstance(part, Misses):
        return missing(part.kpi) or f"{part.kpi} has a value"
    if isinstance(part, Holds):
        since, span = part.unbroken.since, part.unbroken.span
        if since is None:
            return f"does not hold; needed for {format_duration(span)}"
        held = max(0, at - since) // SECOND * SECOND
        if held >= span:
            return f"has held for {format_duration(held)}; {format_duration(span)} needed"
        return f"has held for {format_duration(held)} of {format_duration(span)}, {format_duration(span - held)} to go"
    if isinstance(part, Recurs):
        return f"true at {part.seen.bit_count()} of the last {part.samples} samples; {part.hits} needed"
    return ""


def _compares(part: Compares, missing: WhyMissing) -> str:
    if part.value is not None and part.limit is not None:
        return f"{part.unit.show(part.value)} against {part.unit.show(part.limit)}"
    gone = {term.kpi: why for term in part.terms if not isinstance(term, Limit) and (why := missing(term.kpi))}
    return "; ".join(f"{kpi} is missing: {why}" for kpi, why in gone.items()) or "too few samples yet"


def _deviates(part: Deviates, unit: Unit) -> str:
    """Returns the value against what is usual at this hour, or why that is not known."""
    if part.value is None:
        return "no sample yet"
    shown, usual = unit.show(part.value), part.usual
    if usual.mean is None:
        if usual.looked < DAY:
            looked = format_duration(usual.looked // SECOND * SECOND)
            return f"{shown}; what is usual is known after a day, and agentd has looked for {looked}"
        return f"{shown}; what is usual at this hour is not known: it had no sample yet"
    return (
        f"{shown} against a mean of {unit.show(usual.mean)} at this hour; its mean deviation is "
        f"{unit.show(usual.deviation)}, and anomalous is what is more than {unit.show(usual.bound)} away"
    )
