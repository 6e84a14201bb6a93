"""Durations, sizes, times of day and weekdays: from a person's text to numbers, and back."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

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
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LONGEST = 100 * 366 * DAY
_LARGEST = 1 << 60
_MAX_TEXT = 100  # no longer text is meant as a number


def parse_duration(text: str) -> int:
    """Microseconds from text such as "5min", "1h 30min", "24hours", "2d" or "0".

    Raises ValueError with a sentence when the text is not a duration or longer than a hundred years.
    """
    sentence = f'"{text}" is not a duration (try 5min, 2h, 1d)'
    if len(text) > _MAX_TEXT:
        raise ValueError(sentence)
    if text.strip() == "0":
        return 0
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.strip().lower())
    if not parts or "".join(f"{n}{u}" for n, u in parts) != re.sub(r"\s", "", text.lower()):
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            sentence = f'"{text.strip()}" has no unit (try {text.strip()}s, {text.strip()}min, {text.strip()}h)'
        raise ValueError(sentence)
    total = 0
    for number, unit in parts:
        if unit not in _DURATION_UNITS:
            raise ValueError(sentence)
        total += round(float(number) * _DURATION_UNITS[unit])
    if total > _LONGEST:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return total


def format_duration(usec: int) -> str:
    """The shortest exact text for a duration: "15min", "1h 30min", "2d", "0s"."""
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
    """Bytes from text such as "512M" or "1G" (powers of 1024, as in systemd). Raises ValueError."""
    match = re.fullmatch(r"(\d+)\s*(?:([kmgt])(?:i?b)?|b)?", text.strip().lower()) if len(text) <= _MAX_TEXT else None
    if not match:
        raise ValueError(f'"{text}" is not a size (try 512M, 1G)')
    size = int(match[1]) * _SIZE_UNITS[match[2] or ""]
    if size > _LARGEST:
        raise ValueError(f'"{text}" is larger than any machine')
    return size


def parse_time_of_day(text: str) -> int:
    """Seconds since local midnight from "HH:MM" or "HH:MM:SS". Raises ValueError."""
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text.strip())
    hour, minute, second = (int(part or 0) for part in match.groups()) if match else (24, 0, 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f'"{text}" is not a time of day (try "02:30" or "23:15:00")')
    return (hour * 60 + minute) * 60 + second


def format_time_of_day(seconds: int) -> str:
    """ "HH:MM", or "HH:MM:SS" where the seconds count."""
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def parse_weekdays(text: str) -> tuple[int, ...]:
    """Weekdays (Monday is 0) from "mon-fri", "sat,sun", "daily", "weekdays" or "weekends". Raises ValueError."""
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
    """0 for "mon", "monday" and what lies between. Raises ValueError."""
    return [len(name) >= 3 and day.startswith(name) for day in _WEEKDAYS].index(True)


def format_weekdays(days: tuple[int, ...]) -> str:
    """ "mon-fri" for a run of three or more days, else names with commas."""
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:
        return f"{_WEEKDAYS[days[0]][:3]}-{_WEEKDAYS[days[-1]][:3]}"
    return ",".join(_WEEKDAYS[day][:3] for day in days)


def nearest(name: str, names: Iterable[str]) -> str:
    """ " (did you mean NAME?)" with the name that looks most alike, or nothing where none does."""
    import difflib  # noqa: PLC0415 - only when something is wrong

    near = difflib.get_close_matches(name, list(names), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def unknown_key(key: str, names: Iterable[str]) -> str:
    """The sentence about a key that does not exist, with the one that was probably meant."""
    names = list(names)
    return f'unknown key "{key}"{nearest(key, names) or "; expected one of " + ", ".join(names)}'


def iso(usec: int) -> str:
    """An instant as ISO 8601 in UTC, to the microsecond."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=usec)).isoformat(timespec="microseconds")
