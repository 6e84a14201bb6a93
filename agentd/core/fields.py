"""The kinds of settings that all parts share, and how a setting says that it is wrong.

A field of a struct says by its metadata how it is read: `kind` names the parser in the KINDS of a part, by_name()
makes it a mapping of names to things. `synonyms` are what other programs call the setting, `instead` maps words that
others have for its value to what says the same here: errors know them.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from agentd.core.quantities import parse_duration, parse_size, parse_weekdays, unknown_key
from agentd.core.times import timezone

Raw = str | list["Raw"] | dict[str, "Raw"]
"""A setting as it was written: texts, lists of them, mappings of texts to them."""
Parser = Callable[[Any], object]
"""Turns a Raw into the value of a kind. Raises ValueError with a sentence, Invalid where a part of the Raw is wrong."""
Keys = tuple[str | int, ...]
"""The keys, and the positions in lists (from 0), that lead to a setting: ("reboot", "windows", 2, "jitter")."""
T = TypeVar("T")

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH_MAX, _NAME_MAX = 4096, 255  # bytes, as the kernel has them


class Invalid(ValueError):
    """A value that cannot be used. `keys` lead from the value to the part of it that is wrong; none: all of it is.

    `is_key` tells that the last key itself is wrong, not what stands under it.
    """

    def __init__(self, sentence: str, *keys: str | int, is_key: bool = False) -> None:
        super().__init__(sentence)
        self.keys: Keys = keys
        self.is_key = is_key


class Fault(Struct, frozen=True):
    """Settings that can each be read and make no sense together. `path` leads from the top of the configuration to the
    setting that the sentence is about; things in a mapping by name are called by name, even where a list holds them.
    `at` is the character of the setting's text that the trouble is at, from 0."""

    path: Keys
    sentence: str
    at: int = 0


def by_name(thing: str, *, or_list: bool = False) -> Meta:
    """Marks a field of type dict[str, Struct] as a mapping by name of things, such as the jobs.

    A drop-in adds things to such a mapping or changes settings of one. `thing` is the word for one in errors. A struct
    with a field `name` gets its key there. `or_list`: a list without names is read as well, and its things are called
    "1", "2" and so on by their position.
    """
    return Meta(extra={"by_name": thing, "or_list": or_list})


def as_text(raw: Any, expected: str, *keys: str | int) -> str:
    """Returns the value if it is a text. Raises Invalid with what was expected and the keys that led here."""
    if not isinstance(raw, str):
        raise Invalid(f"expected {expected}", *keys)
    return raw


def as_mapping(raw: Raw, keys: set[str], example: str) -> dict[str, Raw]:
    """Returns the value if it is a mapping with no other keys than these. Raises Invalid."""
    if not isinstance(raw, dict):
        raise Invalid(f"expected a mapping such as {{{example}}}")
    for key in raw:
        if key not in keys:
            raise Invalid(unknown_key(key, sorted(keys)), key, is_key=True)
    return raw


def parse_text(raw: Any, parse: Callable[[str], T], expected: str, *keys: str | int) -> T:
    """Returns what `parse` makes of a text. Raises Invalid, with the keys that led here, also for its ValueError."""
    text = as_text(raw, expected, *keys)
    try:
        return parse(text)
    except ValueError as error:
        raise Invalid(str(error), *keys) from None


def parse_each(raw: Raw, parse: Callable[[str], T], expected: str, *keys: str | int) -> list[T]:
    """Returns what `parse` makes of each text of a list, or of one text that stands alone.

    Raises Invalid, with the keys that led here and the position of the text that is wrong.
    """
    if isinstance(raw, list):
        return [parse_text(item, parse, expected, *keys, position) for position, item in enumerate(raw)]
    return [parse_text(raw, parse, expected, *keys)]


def text_parser(parse: Callable[[str], object], expected: str) -> Parser:
    """Returns the parser of a kind that is written as one text."""
    return lambda raw: parse_text(raw, parse, expected)


def weekdays(raw: Raw, *keys: str | int) -> tuple[int, ...]:
    """Returns the weekdays (Monday is 0) of "mon-fri", "sat,sun" or a list of such texts. Raises Invalid."""
    expected = "weekdays such as mon-fri"
    found = parse_each(raw, parse_weekdays, expected, *keys)
    if not found:
        raise Invalid(f"expected {expected}", *keys)
    return tuple(sorted({day for days in found for day in days}))


def absolute_path(raw: Any, *keys: str | int) -> str:
    """Returns an absolute path that a line of a systemd unit can hold. Raises Invalid."""
    path = as_text(raw, "a path", *keys)
    if not path.startswith("/"):
        raise Invalid(f'"{path}" is not an absolute path', *keys)
    if CONTROL.search(path) or path != path.strip() or path.endswith("\\"):
        raise Invalid("has a control character, or a space or backslash at its end", *keys)
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise Invalid(f'"{path}" has . or .. in it, which systemd refuses: write where it leads', *keys)
    if len(path.encode()) >= _PATH_MAX or max(len(name.encode()) for name in path.split("/")) > _NAME_MAX:
        raise Invalid("is longer than a path can be", *keys)
    return path


def _zone_name(text: str) -> str:
    timezone(text)
    return text


KINDS: dict[str, Parser] = {
    "duration": text_parser(parse_duration, "a duration such as 5min"),
    "size": text_parser(parse_size, "a size such as 512M"),
    "timezone": text_parser(_zone_name, "a time zone such as Europe/Berlin"),
    "path": absolute_path,
}
"""The parsers of the kinds below, and of no part's own."""

Duration = Annotated[int, Meta(ge=0, extra={"kind": "duration"})]
"""Microseconds, from a text such as "5min"."""
PositiveDuration = Annotated[int, Meta(ge=1000, extra={"kind": "duration"})]
"""Microseconds, a millisecond at least."""
Size = Annotated[int, Meta(ge=1, extra={"kind": "size"})]
"""Bytes, from a text such as "512M"."""
ZoneName = Annotated[str, Meta(extra={"kind": "timezone"})]
"""The name of a time zone that this machine knows."""
AbsolutePath = Annotated[str, Meta(extra={"kind": "path"})]
UserName = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*[$]?\Z")]
"""The name or number of a user or group of the machine."""
