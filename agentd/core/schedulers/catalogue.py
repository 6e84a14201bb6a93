"""The catalogue of schedulers: which there are, and which flags each takes.

The files of the catalogue are read into these records (agentd/schedulers/catalogues.py); sound.typed() then gives the
values in them their types and finds what makes no sense.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agentd.core.fields import Parser, PositiveDuration, by_name, text_parser

NONE = "none"
"""The name of the kernel's own scheduler: no sched_ext scheduler is loaded."""
OWN = "custom:"
"""The beginning of the names of schedulers of one's own, which are in no file of the catalogue."""
MODES = ("auto", "gaming", "lowlatency", "powersave", "server")
Readiness = Literal["ready", "tune", "conditional", "experimental", "test", "no"]
"""ready: for everyday use; tune: after tuning, or with a specification of one's own; conditional: under conditions that
`limits` name; experimental; test: to test the kernel or a program with, never to work with; no: unfinished."""
FlagType = Literal["bool", "int", "float", "choice", "text"]
Value = bool | int | float | str
Number = Annotated[float | None, Meta(extra={"kind": "number"})]
Written = Annotated[Value, Meta(extra={"kind": "written"})]
"""A value as the file has it, until typed() gives it the type of its flag."""
Kernel = Annotated[tuple[int, int], Meta(extra={"kind": "kernel"})]
"""The major and the minor number of a kernel."""
WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
DECIMAL = re.compile(r"[+-]?[0-9]{0,18}(?:[0-9]|\.[0-9]{1,18})(?:e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)
_LONGEST_SHOWN = 100


class Flag(Struct, frozen=True, kw_only=True):
    """A flag of a scheduler. `name` is how agentd calls the flag (slice-us), `option` how the program does (--slice-us,
    or -s where it has no long one; empty: -- and the name). Numbers lie in [low, high]; a choice is one of `choices`, a
    text matches `pattern` as a whole. `default` is what the program does without the flag; None, in files `none`: it
    says no value. A bool is given or not (--partial); one with `says` is given either way (--task-slice=true).
    `at_most` names the flag that this one's value may not exceed."""

    name: str
    type: FlagType
    default: Annotated[Value | None, Meta(extra={"kind": "written"})] = None
    low: Number = None
    high: Number = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    says: bool = False
    unit: str = ""
    option: str = ""
    at_most: str = ""
    help: str


class Scheduler(Struct, frozen=True, kw_only=True):
    """A scheduler of the catalogue. `name` is also that of its program; `ops` is how the name that the kernel shows
    begins (bpfland for bpfland_1.1.4_x86_64_unknown_linux_gnu). `timeout` is the longest for which its watchdog lets a
    task wait, in microseconds. `modes` has the flags that a mode sets; a mode that is not there sets none. Of the flags
    in a group of `one_of` one at most may be given.

    `min_kernel` is the first kernel that can run it; `not_on` are kernels on which it is known not to work. `needs`
    names what else it wants: "debugfs", "kernel-config", "cpus:2", "specification" (arguments that the administrator
    gives by `always`). `help` tells whether the program may be asked for its flags and its version. `left_out` are
    options of the program that agentd offers to nobody."""

    name: str
    ops: str
    summary: str
    algorithm: str
    use_cases: tuple[str, ...]
    limits: tuple[str, ...] = ()
    readiness: Readiness
    min_kernel: Kernel = (6, 12)
    not_on: tuple[Kernel, ...] = ()
    needs: tuple[str, ...] = ()
    timeout: PositiveDuration = 30_000_000
    language: Literal["rust", "c", "bpf"] = "rust"
    help: bool = True
    flags: Annotated[Mapping[str, Flag], by_name("flag")] = {}
    one_of: tuple[tuple[str, ...], ...] = ()
    modes: Mapping[str, Mapping[str, Written]] = {}
    always: tuple[str, ...] = ()
    """Arguments that the program always gets, such as --no-webui."""
    left_out: tuple[str, ...] = ()
    file: str = ""
    """The file of the catalogue that has it; of several, the last."""


Catalogue = Mapping[str, Scheduler]


def _kernel(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})", text)
    if not match:
        raise ValueError(f'"{text}" is not a kernel such as 6.12')
    return int(match[1]), int(match[2])


def _number(text: str) -> float:
    if WHOLE.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    raise ValueError(f'"{text}" is not a number')


def _written(text: str) -> str | None:
    return None if text == NONE else text


KINDS: dict[str, Parser] = {
    "kernel": text_parser(_kernel, "a kernel such as 6.12"),
    "number": text_parser(_number, "a number"),
    "written": text_parser(_written, "one value"),
}
"""The parsers of the kinds that only the catalogue has."""


def option(flag: Flag) -> str:
    """Returns how the program calls a flag: --slice-us, or -s."""
    return flag.option or f"--{flag.name}"


def kernel_text(kernel: tuple[int, int]) -> str:
    """Returns a kernel as it is written: 6.12."""
    return f"{kernel[0]}.{kernel[1]}"


def legible(word: str) -> str:
    """Returns a word of somebody else's as a sentence can hold it."""
    word = word if len(word) <= _LONGEST_SHOWN else f"{word[:_LONGEST_SHOWN]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in word)
