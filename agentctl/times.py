"""Instants and durations, from a person's text and back. Numbers are microseconds; instants count from 1970 UTC."""

import re
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

PRESETS = ("15min", "30min", "1hour", "3hours", "6hours", "12hours", "24hours")

_UNITS = {
    **dict.fromkeys(("ms", "msec"), SECOND // 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), WEEK),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d)?", re.ASCII)
_LONGEST = 100 * 366 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def parse_duration(text: str) -> int:
    """Microseconds from "15s", "5min", "1h 30min" or "24hours". Raises ValueError with a sentence."""
    wanted = text.strip().lower()
    total, end = 0.0, 0
    while part := _PART.match(wanted, end):
        if part[2] not in _UNITS:
            break
        total += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    if re.fullmatch(r"[\d.]+", wanted):
        raise ValueError(f'"{text}" has no unit: write {wanted}s, {wanted}min or {wanted}h')
    if not wanted or end < len(wanted):
        raise ValueError(f'"{text}" is not a duration: try 15s, 5min, 2h, 1d or "1h 30min"')
    if total > _LONGEST:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return round(total)


def parse_instant(text: str, now: int) -> int:
    """An instant from "2026-10-25", "2026-10-25 01:30", "18:00", ISO 8601 with a zone, "today" or "tomorrow".

    Without a zone the local one counts. Raises ValueError with a sentence.
    """
    try:
        instant = _instant(_moment(text, now))
    except (ValueError, OverflowError):
        raise ValueError(f'"{text}" is not a date: try 2026-10-25, "2026-10-25 01:30" or tomorrow') from None
    if instant < 0:
        raise ValueError(f'"{text}" lies before 1970: give a later date')
    return instant


def parse_coming(text: str, now: int) -> int:
    """An instant after now, from a text as of parse_instant; a time alone is that of the next day that has it.

    Of the two passes of a repeated hour the first that is still to come. Raises ValueError with a sentence.
    """
    try:
        moment = _moment(text, now)
        # A day may lack the time, or have it behind it.
        moments = [moment + timedelta(days=day) for day in range(3)] if _TIME.fullmatch(text.strip()) else [moment]
        instants = [_instant(moment.replace(fold=fold)) for moment in moments for fold in (0, 1) if _exists(moment)]
    except (ValueError, OverflowError):
        raise ValueError(f'"{text}" is not a time: try 03:00, "2026-12-24 03:00" or tomorrow') from None
    if not instants:
        raise ValueError(f'"{text}" does not exist here: the clocks skip it, give an earlier or a later time')
    if coming := [instant for instant in instants if instant > now]:
        return min(coming)
    raise ValueError(f'"{text}" has passed: give a later time')


def _moment(text: str, now: int) -> datetime:
    """What a text names, without a zone where the text has none. Raises ValueError, OverflowError."""
    days = {"yesterday": -1, "today": 0, "tomorrow": 1}
    word = text.strip().lower()
    today = local(now).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return local(now)
    if word in days:
        return today + timedelta(days=days[word])
    if _TIME.fullmatch(word):
        return datetime.combine(today, time.fromisoformat(word))
    return datetime.fromisoformat(text.strip())


def _instant(moment: datetime) -> int:
    return (moment.astimezone() - _EPOCH) // timedelta(microseconds=1)


def _exists(moment: datetime) -> bool:
    """Whether the local clocks show this moment; False for one that they skip."""
    return moment.tzinfo is not None or moment.astimezone().replace(tzinfo=None) == moment


def parse_since(text: str, now: int) -> int:
    """An instant from a date, or from a duration that counts back from now. Raises ValueError with a sentence."""
    with suppress(ValueError):
        return max(0, now - parse_duration(text))
    try:
        return parse_instant(text, now)
    except ValueError:
        raise ValueError(f'"{text}" is neither a duration (try 2h, 1d) nor a date (try 2026-10-25)') from None


def local(instant: int) -> datetime:
    """The local time with its UTC offset, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=min(instant, _LATEST))).astimezone()


def iso(instant: int | None) -> str | None:
    """ISO 8601 with the local zone's offset; None for "none"."""
    return local(instant).isoformat(timespec="microseconds") if instant else None


def stamp(instant: int, zone: str = "") -> str:
    """Weekday, date, time and UTC offset: what is needed to tell the two passes of a repeated hour apart.

    In the zone of that name, or in local time where it is empty or this machine does not know it.
    """
    moment = local(instant)
    if zone:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        with suppress(ZoneInfoNotFoundError, ValueError):
            moment = moment.astimezone(ZoneInfo(zone))
    return moment.strftime("%a %Y-%m-%d %H:%M:%S %z")


def clock(instant: int, now: int, *, seconds: bool = False) -> str:
    """The shortest local time that is clear today: "14:03", "Tue 14:03" within a week, else with the date."""
    time_of_day = "%H:%M:%S" if seconds else "%H:%M"
    then, today = local(instant), local(now)
    if then.date() == today.date():
        return then.strftime(time_of_day)
    near = abs(then.date() - today.date()) < timedelta(days=7)
    return then.strftime(f"{'%a' if near else '%Y-%m-%d'} {time_of_day}")


def span(usec: int) -> str:
    """A duration in at most two units: "0.4s", "45s", "4min 10s", "2d 3h"."""
    if usec < 10 * SECOND:
        return f"{usec / SECOND:.1f}s".replace(".0s", "s")
    parts = []
    for name, size in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND)):
        if usec >= size:
            parts.append(f"{usec // size}{name}")
            usec %= size
        elif parts:
            break
    return " ".join(parts[:2])


def exact(usec: int) -> str:
    """A duration with every unit it needs, as a configuration would have it: "1h 30min", "2d", "1w"."""
    if usec and usec % WEEK == 0:
        return f"{usec // WEEK}w"
    parts = []
    for name, size in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND), ("ms", SECOND // 1000)):
        if usec >= size:
            parts.append(f"{usec // size}{name}")
            usec %= size
    return " ".join(parts) or "0s"


def relative(instant: int, now: int) -> str:
    """ "in 4min", "3h 20min ago" or "now"."""
    apart = abs(instant - now)
    if apart < SECOND:
        return "now"
    text = span(apart // SECOND * SECOND)
    return f"in {text}" if instant > now else f"{text} ago"
