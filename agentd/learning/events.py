"""Instants of events that somebody wrote down, one a line: a number of seconds, or a date and time as in ISO 8601.

All lines of a file are of one sort, and none is earlier than the one before: what goes back is most likely two logs, of
which a replay would be of neither. Blank lines and those that begin with # are left out.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

LONGEST = 200
"""The most bytes of a line."""
MOST_LINES = 2_000_000
LEAST_EVENTS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_SECONDS = 1e12  # so far out a double still tells milliseconds
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_SECONDS, _ZONED, _UNZONED = "a number of seconds", "a time with a zone", "a time without a zone"


class Foreign(Exception):
    """A line, or a file, that cannot be replayed; the text is a sentence that begins with the place."""


class Events(NamedTuple):
    """The events of a file: their instants in seconds, from whatever the file counts from, and whether these were times
    without a zone, which are taken as UTC."""

    at: list[float]
    guessed: bool


def read(lines: Iterable[bytes], name: str) -> Events:
    """Returns the events in the lines of a file of that name. Raises Foreign."""
    found: list[float] = []
    sort = before = ""
    for place, text in _told(lines, name):
        try:
            own, at = _instant(text)
        except ValueError as error:
            raise Foreign(f"{place}: {legible(text)}: {error}") from None
        if sort and own != sort:
            raise Foreign(f"{place}: {legible(text)}: {own}, while the lines before have {sort}: expected one sort")
        if found and at < found[-1]:
            raise Foreign(
                f"{place}: {legible(text)}: earlier than {legible(before)} before it: expected the times of one log, "
                "in their order (sort them, if they are)"
            )
        found.append(at)
        sort, before = own, text
    if len(found) < LEAST_EVENTS:
        raise Foreign(f"{name}: {_count(len(found))}: expected at least {LEAST_EVENTS}, as fewer tell nothing")
    if found[0] == found[-1]:
        raise Foreign(f"{name}: all events are at {legible(before)}: expected a history of some length")
    return Events(found, sort == _UNZONED)


def legible(text: str) -> str:
    """Returns a text on one line, quoted: whatever stands in a file, it cannot steer a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f'"{shown}"'


def _told(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, str]]:
    """Yields the lines that are neither blank nor a remark, each with its place. Raises Foreign."""
    for number, line in enumerate(lines, 1):
        place = f"{name}:{number}"
        if number > MOST_LINES:
            raise Foreign(f"{place}: the file has more than {MOST_LINES} lines: expected a part of it")
        if len(line) > LONGEST:
            raise Foreign(f"{place}: longer than {LONGEST} bytes: expected a line with one time")
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise Foreign(f"{place}: not UTF-8 text: expected a line with one time") from None
        if text and not text.startswith("#"):
            yield place, text


def _instant(text: str) -> tuple[str, float]:
    """Returns the sort of a time, and the instant in seconds. Raises ValueError with the end of a sentence."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if not abs(seconds) <= _MOST_SECONDS:
            raise ValueError(f"expected seconds from -{_MOST_SECONDS:.0f} to {_MOST_SECONDS:.0f}")
        return _SECONDS, seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError('expected a time such as "2026-10-25T01:30:00+02:00", or a number of seconds') from None
    if moment.tzinfo is None:
        return _UNZONED, (moment.replace(tzinfo=UTC) - _EPOCH).total_seconds()
    return _ZONED, (moment - _EPOCH).total_seconds()


def _count(number: int) -> str:
    return {0: "there is no event in it", 1: "there is one event in it"}.get(number, f"there are {number} events in it")
