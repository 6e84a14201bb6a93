"""The values of flags: read by their types, and which of them cannot be given together."""

import re
from collections.abc import Mapping
from typing import Any

from agentd.core.quantities import nearest
from agentd.core.schedulers.catalogue import DECIMAL, WHOLE, Flag, Scheduler, Value, legible

PLAIN = re.compile(r"(?!-)[!-~]{1,256}")
"""Texts that can be the argument of a program: without spaces, and not to be taken for an option."""
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def value_of(flag: Flag, value: Any) -> Value:
    """Returns a value with the type of its flag; a text, as from a command line, is read as that type.

    Raises ValueError with what was expected, where the value is of another type, out of range, none of the choices, or
    does not match.
    """
    found = _read(flag, value)
    if found is None:
        shown = legible(str(value))
        near = nearest(shown, flag.choices) if flag.type == "choice" else ""
        raise ValueError(f'expected {expected(flag)}, not "{shown}"{near}')
    return found


def _read(flag: Flag, value: Any) -> Value | None:
    """Returns the value of a flag; None where it cannot have this one."""
    match flag.type:
        case "bool":
            found = _WORDS.get(value.lower()) if isinstance(value, str) else value
            return found if isinstance(found, bool) else None
        case "int" | "float":
            return _numeric(flag, value)
        case "choice":
            if isinstance(value, bool):  # YAML's and JSON's way to write one that is called true
                value = str(value).lower()
            return value if value in flag.choices else None
        case "text":
            fits = isinstance(value, str) and PLAIN.fullmatch(value) and re.fullmatch(flag.pattern, value)
            return value if fits else None


def _numeric(flag: Flag, value: Any) -> int | float | None:
    if isinstance(value, str):
        shape = WHOLE if flag.type == "int" else DECIMAL
        number = (int if flag.type == "int" else float)(value) if shape.fullmatch(value) else None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        number = None
    elif flag.type == "float":
        number = float(value) if abs(value) < 1e18 else None
    else:
        number = value if isinstance(value, int) else None
    if number is None or not (_or(flag.low, -1e18) <= number <= _or(flag.high, 1e18)):
        return None
    return number


def _or(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound


def expected(flag: Flag) -> str:
    """Returns what a flag takes, to follow "expected": "a whole number from 10 to 1000000 (us)"."""
    match flag.type:
        case "bool":
            return "true or false"
        case "choice":
            return f"one of {', '.join(flag.choices)}"
        case "text":
            return f"a text that matches {flag.pattern}"
    kind = "a whole number" if flag.type == "int" else "a number"
    low, high = (None if bound is None else f"{bound:.15g}" for bound in (flag.low, flag.high))
    within = f" from {low} to {high}" if low and high else f" of at least {low}" if low else ""
    within = within or (f" of at most {high}" if high else "")
    return f"{kind}{within}{f' ({flag.unit})' if flag.unit else ''}"


def contradiction(scheduler: Scheduler, flags: Mapping[str, Value]) -> str:
    """Returns a sentence about typed flags that cannot be given together; empty where all can."""
    for group in scheduler.one_of:
        given = [name for name in group if flags.get(name, False) is not False]
        if len(given) > 1:
            return f"{' and '.join(given)} exclude each other: give one of them"
    for name, flag in scheduler.flags.items():
        if flag.at_most and (name in flags or flag.at_most in flags):
            value, most = (flags.get(one, scheduler.flags[one].default) for one in (name, flag.at_most))
            if isinstance(value, int | float) and isinstance(most, int | float) and value > most:
                of_value, of_most = ("" if one in flags else " (its default)" for one in (name, flag.at_most))
                return f"{name} {value}{of_value} is more than {flag.at_most} {most}{of_most}"
    return ""
