"""The units that KPIs are measured in: how a limit is written, and how a value is shown."""

import math
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from agentd.core.quantities import SECOND, format_duration, nearest, parse_duration

_DECIMAL = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BINARY = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_AS_SYSTEMD = {"K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}  # as in the limits of jobs
_TIMES = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_NUMBER = re.compile(r"([-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)\s*(.*)", re.DOTALL)
_BOOLS = {"1": "yes", "true": "yes", "on": "yes", "0": "no", "false": "no", "off": "no"}


class Unit(Struct, frozen=True):
    """A unit of measure. Samples are numbers in it; a limit may be written with one of `suffixes`, each with the factor
    that leads to the unit of the samples.

    `bare` is the factor of a number without a suffix; None: a suffix must be there. `words` are the names of the values
    0, 1, 2 and so on, where a value has a name instead of a size.
    """

    name: str
    suffixes: Mapping[str, float]
    bare: float | None = 1.0
    words: Sequence[str] = ()

    def value(self, number: float, suffix: str) -> float:
        """Returns what a written number means, in the unit of the samples. Raises ValueError with a sentence."""
        factor = self.suffixes.get(suffix) if suffix else self.bare
        if factor is not None:
            return number * factor
        if not suffix:
            choices = list(self.suffixes)[:4]
            raise ValueError(f"{_plain(number)} has no unit (try {', '.join(_plain(number) + one for one in choices)})")
        if not self.suffixes:
            raise ValueError(f"{self.name} has no unit: expected a number alone, not {_plain(number)}{suffix}")
        meant = next((f" (did you mean {one}?)" for one in self.suffixes if one.lower() == suffix.lower()), "")
        raise ValueError(f'"{suffix}" is no unit of {self.name}: expected {_or(self.suffixes)}{meant}')

    def read(self, text: str) -> float:
        """Returns what a program printed: a number, which needs no unit, or a number with its unit, a duration, or one
        of the words. Raises ValueError with a sentence."""
        text = text.strip()
        if self.words:
            return self.word(_BOOLS.get(text.lower(), text) if self is YES_OR_NO else text)
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ValueError(f"expected a number{', with or without its unit' if self.suffixes else ''}")
        number, suffix = float(match[1]), match[2]
        if self.name == "seconds" and suffix:
            return parse_duration(text) / SECOND
        return self.value(number, suffix) if suffix else number

    def word(self, text: str) -> float:
        """Returns the value with that name. Raises ValueError with a sentence."""
        if text not in self.words:
            raise ValueError(f'"{text}" is not one of {", ".join(self.words)}{nearest(text, self.words)}')
        return float(self.words.index(text))

    def show(self, value: float | None) -> str:
        """Returns a value as a person reads it: "91.5%", "1.5 GiB", "-" where there is none."""
        if value is None or math.isnan(value):
            return "-"
        if math.isinf(value):
            return _plain(value)
        if self.words:
            position = round(value)
            return self.words[position] if 0 <= position < len(self.words) else _plain(value)
        if self.name.startswith("bytes"):
            return _scaled(value, _BINARY, " ", "B") + self.name.removeprefix("bytes")
        if self.name == "seconds":
            return f"{_plain(value * 1000)}ms" if 0 < abs(value) < 1 else format_duration(round(value) * SECOND)
        return _plain(value) + next((suffix for suffix, factor in self.suffixes.items() if factor == 1.0), "")


PERCENT = Unit("percent", {"%": 1.0})
BYTES = Unit("bytes", _DECIMAL | _BINARY | _AS_SYSTEMD, bare=None)
SECONDS = Unit("seconds", _TIMES, bare=None)
CELSIUS = Unit("celsius", {"C": 1.0, "°C": 1.0})
COUNT = Unit("a count", {})
PER_HOUR = Unit("per hour", {"/h": 1.0})
YES_OR_NO = Unit("yes or no", {}, words=("no", "yes"))

BY_NAME = {
    "percent": PERCENT,
    "bytes": BYTES,
    "seconds": SECONDS,
    "celsius": CELSIUS,
    "count": COUNT,
    "per_hour": PER_HOUR,
    "bool": YES_OR_NO,
}
"""The units that a KPI of one's own can have, by the word in the configuration."""


def per_second(unit: Unit) -> Unit:
    """Returns the unit of how fast a value in `unit` grows."""
    suffixes = {f"{suffix}/s": factor for suffix, factor in unit.suffixes.items()} or {"/s": 1.0}
    return Unit(f"{unit.name}/s", suffixes, unit.bare)


def _plain(number: float) -> str:
    """Returns a number with four digits that count, and no zeros at its end."""
    if not math.isfinite(number):
        return str(number)
    if abs(number) >= 1000 or number == round(number):
        return str(round(number))
    return f"{number:.4g}"


def _scaled(value: float, units: Mapping[str, float], space: str, least: str) -> str:
    name, factor = least, 1.0
    for suffix, size in units.items():
        if abs(value) >= size:
            name, factor = suffix, size
    return f"{_plain(round(value / factor, 1))}{space}{name}"


def _or(names: Mapping[str, float]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
