"""The nodes of a condition, into which its text is read.

A node's `text` is the part of the condition that it stands for, as it was written. Spans are microseconds, limits are
in the unit of the KPI that they are compared with.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from agentd.core.rules.units import Unit

Function = Literal["avg", "min", "max", "rate", "delta", "p95", "count", "baseline"]
Operator = Literal[">", ">=", "<", "<=", "==", "!="]


class Measure(Struct, frozen=True):
    """A KPI as conditions see it: its unit, and what its instance is called where its name has one ("path", "job").

    A `counter` only grows, until it begins anew.
    """

    unit: Unit
    instance: str = ""
    counter: bool = False


class Wrong(ValueError):
    """A condition that cannot be read: a sentence, and the character at which the trouble is, from 0."""

    def __init__(self, sentence: str, at: int) -> None:
        super().__init__(sentence)
        self.at = at


class Limit(Struct, frozen=True):
    """A number that something is compared with."""

    value: float


class Reading(Struct, frozen=True):
    """The latest sample of a KPI: its name, with ":" and the instance where it has one."""

    kpi: str


class Over(Struct, frozen=True):
    """A function of the samples of a KPI in the last `span`. `above` is the limit of count(); a `counter` is a KPI that
    only grows, and begins anew where it is lower than before."""

    function: Function
    kpi: str
    span: int
    above: float | None = None
    counter: bool = False


Term = Limit | Reading | Over


class Comparison(Struct, frozen=True):
    """Two terms and how they are compared. While the rule fires, `clear` stands in for the right one."""

    left: Term
    operator: Operator
    right: Term
    clear: Term | None
    unit: Unit
    text: str


class IsMissing(Struct, frozen=True):
    """The condition that a KPI has no value."""

    kpi: str
    text: str


class IsAnomalous(Struct, frozen=True):
    """The condition that a KPI is far from what it uses to be at this hour."""

    kpi: str
    text: str


class Not(Struct, frozen=True):
    """The opposite."""

    inner: "Node"
    text: str


class And(Struct, frozen=True):
    """Several conditions that must all hold."""

    parts: tuple["Node", ...]
    text: str


class Or(Struct, frozen=True):
    """Several conditions of which one must hold."""

    parts: tuple["Node", ...]
    text: str


class HoldsFor(Struct, frozen=True):
    """The condition that another has held for a span without a break: `for 5m`."""

    inner: "Node"
    span: int
    text: str


class HoldsOften(Struct, frozen=True):
    """The condition that another held in `hits` of the last `samples` samples: `for 3 of 5`."""

    inner: "Node"
    hits: int
    samples: int
    text: str


Node = Comparison | IsMissing | IsAnomalous | Not | And | Or | HoldsFor | HoldsOften


def nodes(node: Node) -> Iterator[Node]:
    """Yields a node and all below it, from left to right."""
    yield node
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from nodes(part)
    elif isinstance(node, Not | HoldsFor | HoldsOften):
        yield from nodes(node.inner)


def terms(node: Node) -> Iterator[Term]:
    """Yields the terms of all comparisons of a condition."""
    for one in nodes(node):
        if isinstance(one, Comparison):
            yield from (term for term in (one.left, one.right, one.clear) if term is not None)


def looks_back(node: Node) -> bool:
    """Returns whether a condition needs the samples of before, beside those that its windows remember."""
    return any(isinstance(term, Over) for term in terms(node)) or any(
        isinstance(one, IsAnomalous) for one in nodes(node)
    )


def spans(node: Node) -> dict[str, int]:
    """Returns the KPIs of which a condition needs the samples of a span, and the longest span of each."""
    found: dict[str, int] = {}
    for term in terms(node):
        if isinstance(term, Over) and term.function != "baseline":
            found[term.kpi] = max(found.get(term.kpi, 0), term.span)
    return found


def kpis(node: Node) -> set[str]:
    """Returns the KPIs that a condition needs, each with its instance."""
    named = {term.kpi for term in terms(node) if not isinstance(term, Limit)}
    return named | {one.kpi for one in nodes(node) if isinstance(one, IsMissing | IsAnomalous)}
