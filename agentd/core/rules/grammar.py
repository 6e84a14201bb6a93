"""The text of a condition to its nodes, with the place of what is wrong.

    condition  := or [window]                a window at the end covers all before it
    or         := and {"OR" and}
    and        := unary {"AND" unary}
    unary      := "NOT" unary | "(" or [window] ")" | comparison
    comparison := term OPERATOR term ["CLEAR" term] | KPI "IS" ["NOT"] ("missing" | "anomalous")
    term       := NUMBER[UNIT] | WORD | KPI | FUNCTION "(" KPI "," SPAN ["," term] ")"
    window     := "for" SPAN | "for" N "of" M

Keywords are read in either case, names of KPIs are not.
"""

import re
from collections.abc import Callable, Mapping
from typing import NoReturn, get_args

from msgspec import Struct

from agentd.core.quantities import DAY, SECOND, format_duration, nearest, parse_duration
from agentd.core.rules.conditions import (
    And,
    Comparison,
    Function,
    HoldsFor,
    HoldsOften,
    IsAnomalous,
    IsMissing,
    Limit,
    Measure,
    Node,
    Not,
    Operator,
    Or,
    Over,
    Reading,
    Term,
    Wrong,
    nodes,
)
from agentd.core.rules.units import COUNT, PERCENT, YES_OR_NO, Unit, per_second

LONGEST = 2000
"""Characters that a condition has at most."""
DEEPEST = 20
"""Levels of parentheses and of NOT that a condition has at most."""
MOST_SAMPLES = 64
"""The largest M of `for N of M`."""
LONGEST_SPAN = 366 * DAY
"""Microseconds that a span has at most: samples are kept no longer."""
FUNCTIONS: tuple[Function, ...] = get_args(Function)
_OPERATORS: Mapping[str, Operator] = {one: one for one in get_args(Operator)}
_MIRRORED: Mapping[Operator, Operator] = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_FUNCTIONS: Mapping[str, Function] = {one: one for one in FUNCTIONS}
WORDS = {"and", "or", "not", "for", "of", "is", "clear", "missing", "anomalous"}
_TOKEN = re.compile(
    r"\s*(?:(?P<duration>[0-9]+(?:\.[0-9]+)?\s*(?:ms|min|[smhdw])(?:\s*[0-9]+(?:\.[0-9]+)?\s*(?:ms|min|[smhdw])\b)+(?![A-Za-z0-9]))"
    r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"(?:\s*(?P<unit>%(?:/[A-Za-z]+)?|/[A-Za-z]+|°?(?!(?i:and|or|not|for|of|is|clear)\b)[A-Za-z]+(?:/[A-Za-z]+)?))?"
    r'|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?::(?:"[^"]*"|[^\s(),<>=!"]+))?)'
    r"|(?P<operator>[<>]=?|[=!]=)"
    r"|(?P<mark>[(),]))",
)


class _Token(Struct, frozen=True):
    kind: str  # duration, number, name, keyword, operator, mark or end
    text: str
    start: int
    end: int
    unit: str = ""


def parse(text: str, measures: Mapping[str, Measure], period: int) -> Node:
    """Returns the nodes of a condition. `measures` are the KPIs by name, samples come every `period` microseconds.

    Raises Wrong.
    """
    return _Parser(text, measures, period).condition()


class _Parser:
    def __init__(self, text: str, measures: Mapping[str, Measure], period: int) -> None:
        if len(text) > LONGEST:
            raise Wrong(f"the condition is longer than {LONGEST} characters", LONGEST)
        self._text, self._measures, self._period = text, measures, period
        self._tokens = _tokens(text)
        self._position = 0
        self._depth = 0

    def condition(self) -> Node:
        if self._next.kind == "end":
            raise Wrong('the condition is empty: expected one such as "MemoryUsage > 90% for 5m"', 0)
        node = self._windowed(self._or)
        if self._next.kind != "end":
            self._unexpected('AND, OR, "for" or the end')
        return node

    # --- from the loosest to the tightest

    def _windowed(self, read: Callable[[], Node]) -> Node:
        start = self._next.start
        node = read()
        if not self._takes("for"):
            return node
        first = self._take("duration", "number", what='a span such as 5m, or "3 of 5"')
        if self._is("of"):
            node = self._often(node, first, start)
        else:
            node = HoldsFor(node, span := self._span(first), self._since(start))
            if span < 2 * self._period:
                every = format_duration(self._period)
                raise Wrong(f'"for {first.text}" is shorter than two samples, which come every {every}', first.start)
        if self._is("and", "or"):
            covered = self._text[start : self._last.end]
            sentence = f'"for" covers all before it: write ({covered}) {self._next.text.upper()} ..., with parentheses'
            raise Wrong(sentence, self._next.start)
        return node

    def _often(self, node: Node, first: _Token, start: int) -> Node:
        hits = self._whole(first)
        self._advance()
        second = self._take("number", what="a number of samples")
        samples = self._whole(second)
        if not 1 <= samples <= MOST_SAMPLES:
            raise Wrong(f"the number of samples must lie between 1 and {MOST_SAMPLES}", second.start)
        if not 1 <= hits <= samples:
            raise Wrong(f"{hits} of {samples} samples cannot be: expected 1 to {samples}", first.start)
        return HoldsOften(node, hits, samples, self._since(start))

    def _or(self) -> Node:
        start = self._next.start
        parts = [self._and()]
        while self._takes("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts), self._since(start))

    def _and(self) -> Node:
        start = self._next.start
        parts = [self._unary()]
        while self._takes("and"):
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else And(tuple(parts), self._since(start))

    def _unary(self) -> Node:
        start = self._next
        if not (start.text == "(" or self._is("not")):
            return self._comparison()
        self._depth += 1
        if self._depth > DEEPEST:
            raise Wrong(f"the condition is nested more than {DEEPEST} levels deep", start.start)
        if self._takes("not"):
            inner = self._unary()
            if any(isinstance(node, Comparison) and node.clear is not None for node in nodes(inner)):
                why = "the rule would end as it begins; compare the other way round instead"
                raise Wrong(f"CLEAR means nothing below NOT: {why}", start.start)
            node: Node = Not(inner, self._since(start.start))
        else:
            self._advance()
            node = self._windowed(self._or)
            self._take_mark(")", f'a ")" for the "(" of character {start.start + 1}')
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        start = self._next
        left, unit = self._term(None)
        if self._takes("is"):
            return self._state(start, left)
        if self._next.kind != "operator":
            self._unexpected(f"{', '.join(_OPERATORS)} or IS")
        operator = _OPERATORS[self._advance().text]
        other = self._next
        right, its_unit = self._term(unit)
        if unit is None and its_unit is not None:  # the number stood first: "90% < MemoryUsage"
            self._position, rest = self._tokens.index(start), self._position
            left, unit = self._term(its_unit)
            self._position = rest
        unit = unit or its_unit
        if unit is None:
            raise Wrong("compares two numbers: expected the name of a KPI on one side", start.start)
        self._same(unit, its_unit, other)
        if unit.words and operator not in {"==", "!="}:
            raise Wrong(f"{unit.name} has no order: compare with == or !=, not {operator}", start.start)
        if isinstance(left, Limit):
            left, operator, right = right, _MIRRORED[operator], left  # the KPI comes first
        clear = self._clear(unit, operator, right) if self._takes("clear") else None
        return Comparison(left, operator, right, clear, unit, self._since(start.start))

    def _clear(self, unit: Unit, operator: Operator, right: Term) -> Term:
        token = self._next
        clear, its_unit = self._term(unit)
        self._same(unit, its_unit, token)
        if operator in {"==", "!="}:
            raise Wrong(f"CLEAR needs a comparison by size, not {operator}", token.start)
        if isinstance(clear, Limit) and isinstance(right, Limit):
            beyond = clear.value > right.value if operator[0] == ">" else clear.value < right.value
            if beyond:
                side = "above" if operator[0] == ">" else "below"
                raise Wrong(f"the CLEAR limit is {side} the limit itself: the rule would end as it begins", token.start)
        return clear

    def _same(self, unit: Unit, other: Unit | None, token: _Token) -> None:
        if other is not None and other != unit:
            raise Wrong(f"compares {unit.name} with {other.name}", token.start)

    def _state(self, start: _Token, left: Term) -> Node:
        negated = self._takes("not")
        word = self._next
        if not self._is("missing", "anomalous"):
            self._unexpected('"missing" or "anomalous"')
        self._advance()
        if not isinstance(left, Reading):
            raise Wrong(f"only a KPI can be {word.text.lower()}", start.start)
        text = self._since(start.start) if not negated else f"{start.text} IS {word.text}"
        kind = IsMissing if word.text.lower() == "missing" else IsAnomalous
        node: Node = kind(left.kpi, text)
        return Not(node, self._since(start.start)) if negated else node

    # --- terms

    def _term(self, unit: Unit | None) -> tuple[Term, Unit | None]:
        """Returns a term and its unit; None for the unit of a number alone. `unit` is what it is compared with."""
        token = self._next
        if token.kind in {"number", "duration"}:
            self._advance()
            return Limit(0.0 if unit is None else self._limit(token, unit)), None
        if token.kind != "name":
            self._unexpected("a KPI or a number")
        if unit is not None and (token.text in unit.words or unit is YES_OR_NO):
            self._advance()
            return Limit(self._valued(token, lambda: unit.word(token.text))), None
        if token.text in FUNCTIONS and self._tokens[self._position + 1].text == "(":
            return self._function()
        return self._reading(unit)

    def _reading(self, unit: Unit | None) -> tuple[Reading, Unit]:
        token = self._advance()
        kpi, measure = self._measured(token, () if unit is None else unit.words)
        return Reading(kpi), measure.unit

    def _function(self) -> tuple[Over, Unit]:
        function = _FUNCTIONS[self._advance().text]
        self._advance()
        token = self._take("name", what="a KPI")
        kpi, measure = self._measured(token)
        if measure.unit.words:
            raise Wrong(f"{function}() needs sizes, and {kpi} has none: it is {measure.unit.name}", token.start)
        self._take_mark(",", f'a "," and a span: {function}({kpi}, 10m)')
        first = self._take("duration", "number", what="a span such as 10m")
        span = self._span(first)
        if span < 2 * self._period:
            every = format_duration(self._period)
            raise Wrong(f"{first.text} is shorter than two samples, which come every {every}", first.start)
        above = self._above(function, kpi, measure.unit)
        self._take_mark(")", 'a ")"')
        units = {"rate": per_second(measure.unit), "count": COUNT}
        counter = function == "rate" and measure.counter
        return Over(function, kpi, span, above, counter), units.get(function, measure.unit)

    def _above(self, function: str, kpi: str, unit: Unit) -> float | None:
        if function == "count":
            self._take_mark(",", f'a "," and a limit: count({kpi}, 10m, 90) counts the samples above 90')
            return self._limit(self._take("duration", "number", what="a limit"), unit)
        if self._next.text == ",":
            raise Wrong(f"{function}() takes a KPI and a span, and no third argument", self._next.start)
        return None

    def _measured(self, token: _Token, words: object = ()) -> tuple[str, Measure]:
        """Returns a KPI as it is called and what is known of it. Raises Wrong."""
        name, colon, instance = token.text.partition(":")
        instance = instance.strip('"')
        measure = self._measures.get(name)
        if measure is None and isinstance(words, tuple) and words:
            raise Wrong(f'"{name}" is not one of {", ".join(words)}{nearest(name, words)}', token.start)
        if measure is None and self._next.text == "(" and name in FUNCTIONS:
            raise Wrong(f"a function is of a KPI, and not of another function: {name}(KPI, 10m)", token.start)
        if measure is None and self._next.text == "(":
            raise Wrong(f'there is no function "{name}"; there are {", ".join(FUNCTIONS)}', token.start)
        if measure is None and any(name in known.unit.words for known in self._measures.values()):
            raise Wrong(f'"{name}" is a value: a comparison begins with a KPI, as in KPI == {name}', token.start)
        if measure is None:
            names = [*self._measures, *(FUNCTIONS if not colon else ()), *(words if isinstance(words, tuple) else ())]
            raise Wrong(f'there is no KPI "{name}"{nearest(name, names)}', token.start)
        if measure.instance and not instance:
            raise Wrong(f"{name} needs a {measure.instance}: {name}:{measure.instance.upper()}", token.start)
        if instance and not measure.instance:
            raise Wrong(f'{name} takes nothing after its name, and has ":{instance}"', token.start)
        return f"{name}:{instance}" if instance else name, measure

    def _limit(self, token: _Token, unit: Unit) -> float:
        if token.kind == "duration":
            if unit.name != "seconds":
                raise Wrong(f'"{token.text}" is no value in {unit.name}', token.start)
            return self._valued(token, lambda: parse_duration(token.text)) / SECOND
        if unit.words:
            return self._valued(token, lambda: unit.word(token.text))
        if unit.name == "seconds" and token.unit and token.text[0] != "-":
            return self._valued(token, lambda: parse_duration(token.text)) / SECOND
        number = float(token.text.removesuffix(token.unit).rstrip())
        value = self._valued(token, lambda: unit.value(number, token.unit))
        if value in {float("inf"), float("-inf")}:
            raise Wrong(f'"{token.text}" is too large', token.start)
        return value

    def _span(self, token: _Token) -> int:
        span = self._valued(token, lambda: parse_duration(token.text))
        if span > LONGEST_SPAN:
            raise Wrong(f'"{token.text}" is longer than a year, and samples are kept no longer', token.start)
        return int(span)

    def _whole(self, token: _Token) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", token.text):
            raise Wrong(f'"{token.text}" is not a whole number of samples', token.start)
        return int(token.text)

    def _valued(self, token: _Token, read: Callable[[], float]) -> float:
        try:
            return read()
        except ValueError as error:
            raise Wrong(str(error), token.start) from None

    # --- tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    @property
    def _last(self) -> _Token:
        return self._tokens[self._position - 1]

    def _since(self, start: int) -> str:
        return " ".join(self._text[start : self._last.end].split())

    def _is(self, *keywords: str) -> bool:
        return self._next.kind == "keyword" and self._next.text.lower() in keywords

    def _takes(self, keyword: str) -> bool:
        found = self._is(keyword)
        self._position += found
        return found

    def _advance(self) -> _Token:
        self._position += 1
        return self._last

    def _take(self, *kinds: str, what: str) -> _Token:
        if self._next.kind not in kinds:
            self._unexpected(what)
        return self._advance()

    def _take_mark(self, mark: str, what: str) -> None:
        if self._next.text != mark:
            self._unexpected(what)
        self._advance()

    def _unexpected(self, expected: str) -> NoReturn:
        found = f'"{self._next.text}"' if self._next.kind != "end" else "the end"
        raise Wrong(f"expected {expected}, got {found}", self._next.start)


def _tokens(text: str) -> list[_Token]:
    """Returns the words of a condition, and one of kind "end" after the last. Raises Wrong."""
    found: list[_Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            at = len(text) - len(text[position:].lstrip())
            raise Wrong(_meaningless(text, at), at)
        kind = match.lastgroup or ""
        if kind == "unit":
            kind = "number"
        start = match.start(kind)
        word = text[start : match.end()]
        if kind == "name" and word.lower() in WORDS:
            kind = "keyword"
        found.append(_Token(kind, word, start, match.end(), match["unit"] or "" if kind == "number" else ""))
        position = match.end()
    return [*found, _Token("end", "", end, end)]


def _meaningless(text: str, at: int) -> str:
    """Returns the sentence about a character that no word of a condition begins with."""
    if text[at : at + 2] == ':"':
        return "the quote is never closed"
    hints = {"=": "==", "&": "AND", "|": "OR", "!": "NOT", "{": "(", "[": "("}
    hint = f" (did you mean {hints[text[at]]}?)" if text[at] in hints else ""
    return f'"{text[at]}" means nothing in a condition{hint}'


def fractions(text: str, measures: Mapping[str, Measure]) -> list[str]:
    """Returns a sentence for each limit of a percentage that looks like a fraction: `ErrorRate > 0.5`."""
    number = r"(0?\.\d+|1(?:\.0+)?)(?![\d.%]|\s*%)"
    names = "|".join(name for name, measure in measures.items() if measure.unit is PERCENT)
    pattern = rf"\b((?:{names})(?::[^\s,)]+)?)(?:\s*,[^)]*\))?\s*[<>]=?\s*{number}"
    return [f"{match[1]} is in percent: {match[2]} is {match[2]}% of 100%" for match in re.finditer(pattern, text)]
