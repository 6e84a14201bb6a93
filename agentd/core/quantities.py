"""Durations, sizes, times of day and weekdays: from a person's text to numbers, and back.

The one grammar of the daemon's configuration and of agentctl, which imports no other module of agentd: quantities needs
the standard library alone. Numbers are written in ASCII digits, and the whole text must be what a parser reads.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import eq

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

_DURATION_UNITS = {
    **dict.fromkeys(("ms", "msec"), SECOND // 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), WEEK),
}
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LIKELY = 10  # names that are compared with an unknown one
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LONGEST = 100 * 366 * DAY
_LARGEST = 1 << 60
_MAX_TEXT = 100  # no longer text is meant as a number
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"\s*(?:{_PARTS.pattern}\s*)+", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*", re.ASCII)
_SIZE = re.compile(r"\s*(\d+)\s*(?:([kmgt])(?:i?b)?|b)?\s*", re.ASCII | re.IGNORECASE)
_TIME_OF_DAY = re.compile(r"\s*(\d{1,2}):(\d{2})(?::(\d{2}))?\s*", re.ASCII)


def parse_duration(text: str) -> int:
    """Returns the microseconds of a text such as "5min", "1h 30min", "24hours", "2d" or "0".

    "0" needs no unit, and is a duration: where a setting or an option has a least value, that is checked by its owner.
    Raises ValueError with a sentence when the text is not a duration or longer than a hundred years.
    """
    sentence = f'"{text}" is not a duration (try 5min, 2h, 1d)'
    if len(text) > _MAX_TEXT:
        raise ValueError(sentence)
    if number := _NUMBER.fullmatch(text):
        if number[1] == "0":
            return 0
        raise ValueError(f'"{number[1]}" has no unit (try {number[1]}s, {number[1]}min, {number[1]}h)')
    if not _DURATION.fullmatch(text):
        raise ValueError(sentence)
    if month := next((amount for amount, unit in _PARTS.findall(text) if unit == "M"), ""):
        days = round(float(month) * 30)
        raise ValueError(f'"{text}" may mean months, or minutes: say {days}d, or {month}min')  # systemd's M is a month
    total = 0
    for amount, unit in _PARTS.findall(text.lower()):
        if unit not in _DURATION_UNITS:
            raise ValueError(sentence)
        total += round(float(amount) * _DURATION_UNITS[unit])
    if total > _LONGEST:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return total


def format_duration(usec: int) -> str:
    """Returns the shortest text that is exact to the millisecond: "15min", "1h 30min", "2d", "0s"."""
    parts = []
    rest = usec
    for name, size in (("w", WEEK), ("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND)):
        if rest >= size and (name != "w" or rest % WEEK == 0):
            parts.append(f"{rest // size}{name}")
            rest %= size
    if rest >= 1000:
        parts.append(f"{rest // 1000}ms")
    return " ".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Returns the bytes of a text such as "512M" or "1G" (powers of 1024, as in systemd).

    Raises ValueError with a sentence when the text is not a size or larger than 2^60 bytes.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if not match:
        raise ValueError(f'"{text}" is not a size (try 512M, 1G)')
    size = int(match[1]) * _SIZE_UNITS[(match[2] or "").lower()]
    if size > _LARGEST:
        raise ValueError(f'"{text}" is larger than any machine')
    return size


def parse_time_of_day(text: str) -> int:
    """Returns the seconds since local midnight of "HH:MM" or "HH:MM:SS". Raises ValueError with a sentence."""
    match = _TIME_OF_DAY.fullmatch(text)
    hour, minute, second = (int(part or 0) for part in match.groups()) if match else (24, 0, 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f'"{text}" is not a time of day (try "02:30" or "23:15:00")')
    return (hour * 60 + minute) * 60 + second


def format_time_of_day(seconds: int) -> str:
    """Returns "HH:MM", or "HH:MM:SS" where the seconds are not 0."""
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def parse_weekdays(text: str) -> tuple[int, ...]:
    """Returns the weekdays (Monday is 0) of "mon-fri", "sat,sun", "daily", "weekdays" or "weekends".

    Raises ValueError with a sentence.
    """
    words = {"daily": "mon-sun", "weekdays": "mon-fri", "weekends": "sat-sun"}
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = words.get(part.strip(), part).partition("-")
        try:
            start, end = (_weekday(name.strip()) for name in (first, last if dash else first))
        except ValueError:
            raise ValueError(f'"{text}" does not name weekdays (try mon-fri, or sat,sun)') from None
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return tuple(sorted(days))


def _weekday(name: str) -> int:
    """Returns 0 for "mon", "mond" and so on to "monday". Raises ValueError."""
    return [len(name) >= 3 and day.startswith(name) for day in _WEEKDAYS].index(True)


def format_weekdays(days: tuple[int, ...]) -> str:
    """Returns "mon-fri" for three or more days in a row, else their names with commas."""
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_WEEKDAYS[days[0]][:3]}-{_WEEKDAYS[days[-1]][:3]}"
    return ",".join(_WEEKDAYS[day][:3] for day in days)


def counted(number: int, thing: str) -> str:
    """Returns "1 job", "2 jobs"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def closest(name: str, names: Iterable[str]) -> str:
    """Returns the name that looks most like this one; empty where none does.

    difflib takes a millisecond for each name that is long and alike: only those are compared that share most pairs of
    letters, then most letters at the same place from either end, then most letters.
    """
    import difflib  # noqa: PLC0415 - only when something is wrong
    import heapq  # noqa: PLC0415 - as above

    pairs, letters = set(pairwise(name)), set(name)

    def shared(one: str) -> tuple[int, int, int]:
        placed = sum(map(eq, name, one)) + sum(map(eq, reversed(name), reversed(one)))
        return len(pairs.intersection(pairwise(one))), placed, len(letters.intersection(one))

    return next(iter(difflib.get_close_matches(name, heapq.nlargest(_LIKELY, names, shared), 1)), "")


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns " (did you mean NAME?)" with the closest name; empty where none is close."""
    near = closest(name, names)
    return f" (did you mean {near}?)" if near else ""


def unknown_key(key: str, names: Iterable[str]) -> str:
    """Returns the sentence about a key that does not exist, with the nearest key."""
    names = list(names)
    return f'unknown key "{key}"{nearest(key, names) or "; expected one of " + ", ".join(names)}'


def iso(usec: int) -> str:
    """Returns an instant as ISO 8601 in UTC, to the microsecond."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=usec)).isoformat(timespec="microseconds")
