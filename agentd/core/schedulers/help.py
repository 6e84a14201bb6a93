"""The help of a scheduler's program, read: which options it has, and where the catalogue says otherwise."""

import re

from msgspec import Struct

from agentd.core.schedulers.catalogue import Flag, Scheduler, Value, option
from agentd.core.schedulers.values import value_of

_COMMON = frozenset({
    *("--help", "--version", "--help-stats", "--stats", "--monitor", "--verbose", "--debug", "--log-level"),
    *("--exit-dump-len", "--run-id", "--completions", "-h", "-v"),
    *("--relaxed-maps", "--pin-root-path", "--kconfig", "--btf-custom-path", "--bpf-token-path"),
})  # fmt: skip
"""Options that agentd offers to nobody, whichever program has them: those that only tell something, or how loudly, and
files of one's own for libbpf."""
_ENTRY = re.compile(r" {1,7}(?:(-[A-Za-z0-9])(?:, |(?=[ \n]|$)))?(--[A-Za-z0-9][\w-]*)?")
_DEFAULT = re.compile(r"\[default: ([^\]\n]*)\]")
_VERSION = re.compile(r"(?<![\w.])v?([0-9]+(?:\.[0-9]+){1,3}(?:[-+~][\w.+~-]+)?)(?![\w.])")
_MOST = 256 << 10


class Option(Struct, frozen=True):
    """An option of a program: its names (-s, --slice-us), and the default that the help tells, or None."""

    names: tuple[str, ...]
    default: str | None = None


class Differences(Struct, frozen=True):
    """The differences between the catalogue and a program: flags that the program lacks, options that the catalogue
    lacks, and defaults by flag, as sentences."""

    lacking: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The differences as people are told them."""
        return (
            *((f"the program has no {', '.join(self.lacking)}",) if self.lacking else ()),
            *((f"the catalogue does not know {', '.join(self.new)}",) if self.new else ()),
            *self.defaults,
        )


def options(help_text: str) -> tuple[Option, ...]:
    """Returns the options that a help text lists: clap's, and those of getopt as the kernel tree's programs print them.

    An option stands at most seven spaces deep; what is said about it is deeper, or follows on the line.
    """
    found: list[tuple[tuple[str, ...], list[str]]] = []
    for line in help_text[:_MOST].splitlines():
        match = _ENTRY.match(line)
        names = tuple(name for name in match.groups() if name) if match else ()
        if names:
            found.append((names, []))
        if found:
            found[-1][1].append(line)
    return tuple(Option(names, _default(lines)) for names, lines in found)


def _default(lines: list[str]) -> str | None:
    match = _DEFAULT.search("\n".join(lines))
    return match[1].strip().strip('"') if match else None


def short(help_text: str) -> dict[str, str]:
    """Returns the long names of the options that have a short one as well, by that: {"-s": "--slice-us"}."""
    return {one.names[0]: one.names[1] for one in options(help_text) if len(one.names) > 1}


def differences(scheduler: Scheduler, help_text: str) -> Differences:
    """Returns where the help of the installed program and the catalogue differ."""
    listed = {name: one for one in options(help_text) for name in one.names}
    known = {option(flag) for flag in scheduler.flags.values()} | set(scheduler.left_out)
    known |= {argument.partition("=")[0] for argument in scheduler.always}
    flags = [flag for flag in scheduler.flags.values() if option(flag) in listed]
    return Differences(
        lacking=tuple(option(flag) for flag in scheduler.flags.values() if option(flag) not in listed),
        new=tuple(
            one.names[-1] for one in options(help_text) if known.isdisjoint(one.names) and one.names[-1] not in _COMMON
        ),
        defaults=tuple(text for flag in flags if (text := _other_default(flag, listed[option(flag)]))),
    )


def _other_default(flag: Flag, listed: Option) -> str:
    """Returns a sentence where the program tells another default than the catalogue, else nothing."""
    if listed.default is None or (listed.default == "" and flag.default is None):
        return ""
    try:
        told: Value = value_of(flag, listed.default)
    except ValueError:
        told = listed.default
    if told == flag.default:
        return ""
    return f"{flag.name} is {told} in the program where nothing is said; the catalogue has {_or_none(flag.default)}"


def _or_none(value: Value | None) -> Value:
    return "none" if value is None else value


def version(text: str) -> str:
    """Returns the version in what a program answers to --version, in whatever words; empty where there is none."""
    match = _VERSION.search(text[:_MOST])
    return match[1] if match else ""
