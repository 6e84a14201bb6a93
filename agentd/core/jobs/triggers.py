"""Triggers: when a job is due. To add one, write a class here and list it in AnyTrigger.

A trigger is a frozen struct made by `parse` from its YAML value: text, a list, or a mapping of these.
`parse` raises Invalid with a sentence, and with the keys that lead to what is wrong inside a mapping.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, timedelta
from functools import lru_cache
from typing import ClassVar, Protocol, Self, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

from agentd.core.fields import Invalid, Raw, as_mapping, as_text, parse_each, parse_text, weekdays
from agentd.core.quantities import (
    HOUR,
    SECOND,
    format_duration,
    format_time_of_day,
    format_weekdays,
    parse_duration,
    parse_time_of_day,
    unknown_key,
)
from agentd.core.times import first_change, instant_of, local_instant, midnight, moment, offset_at

_CRON_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Context(Struct, frozen=True):
    """The facts that a trigger may depend on beside the time: the job's zone, an instant of its interval grid, and when
    the machine booted."""

    zone: ZoneInfo
    anchor: int = 0
    boot: int = 0


class Trigger(Protocol):
    """The trigger of a job, as the jobs core sees every kind of it."""

    key: ClassVar[str]
    elapsed: ClassVar[bool]
    """True: counts elapsed time and moves with a clock step. False: follows the calendar."""

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Reads what stands under the key. Raises Invalid."""

    def next_after(self, t: int, context: Context) -> int | None:
        """Returns the first due time later than t; None: there is none by the clock."""

    def phrase(self) -> str:
        """Returns the schedule in words. Equal words mean an equal schedule: changes are found by them."""

    @property
    def upstream(self) -> str | None:
        """The job whose success makes this one due."""

    @property
    def interval(self) -> int | None:
        """The interval from start to start, where the trigger has one."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The shortest and longest interval that increase, decrease and learning may choose."""


class _Timed(Struct, frozen=True, tag=str.lower):
    """A trigger of the clock: no job goes before it, and only some kinds have an interval."""

    elapsed: ClassVar[bool] = False

    @property
    def upstream(self) -> str | None:
        return None

    @property
    def interval(self) -> int | None:
        return None

    @property
    def bounds(self) -> tuple[int, int]:
        return (SECOND, 366 * 24 * HOUR)


class Every(_Timed, frozen=True):
    """A fixed interval, exact from start to start: the grid anchor + k * interval, k >= 1."""

    key: ClassVar[str] = "every"
    elapsed: ClassVar[bool] = True
    period: int

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        return cls(parse_text(raw, _interval, "a duration such as 15min or 1hour"))

    def next_after(self, t: int, context: Context) -> int:
        steps = max(0, (t - context.anchor) // self.period)
        return context.anchor + (steps + 1) * self.period

    def phrase(self) -> str:
        return f"every {format_duration(self.period)}"

    @property
    def interval(self) -> int:
        return self.period


class Adaptive(Every, frozen=True):
    """An interval that agentd may choose between `min` and `max`, and that begins at `start` (the period)."""

    key: ClassVar[str] = "adaptive"
    shortest: int = SECOND
    longest: int = 24 * HOUR

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        values = as_mapping(raw, {"start", "min", "max"}, "start: 5min, min: 30s, max: 6h")
        if "start" not in values:
            raise Invalid("adaptive needs start, the interval to begin with")
        chosen = {key: parse_text(value, _interval, "a duration", key) for key, value in values.items()}
        start = chosen["start"]
        low, high = chosen.get("min", max(SECOND, start // 10)), chosen.get("max", start * 10)
        if not low <= start <= high:
            raise Invalid("start must lie between min and max", "start")
        return cls(start, low, high)

    def phrase(self) -> str:
        low, high = format_duration(self.shortest), format_duration(self.longest)
        return f"adaptive, from {format_duration(self.period)} ({low} to {high})"

    @property
    def bounds(self) -> tuple[int, int]:
        return (self.shortest, self.longest)


class Cron(_Timed, frozen=True):
    """A crontab(5) expression of five fields, with Debian cron's rules for daylight saving time."""

    key: ClassVar[str] = "cron"
    expression: str

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        text = as_text(raw, 'a cron expression such as "30 2 * * *"').strip()
        expression = _CRON_NAMES.get(text.lower(), text)
        if len(expression.split()) != 5:
            expected = "expected five fields, minute hour day month weekday"
            raise Invalid(f'"{text}" is not a cron expression: {expected}{_cron_hint(text)}')
        wrong = _cron_error(expression)
        if wrong.endswith("day-of-month") and not _cron_error(re.sub(r"\S+(?=\s+\S+$)", "*", expression)):
            raise Invalid(f'"{text}" names a date that never comes')  # in some other month it would
        if wrong:
            star = " (write * for ?)" if "?" in text else ""
            raise Invalid(f'"{text}" is not a cron expression: {wrong}{star}')
        return cls(expression)

    def next_after(self, t: int, context: Context) -> int | None:
        return _next_of_cron(self.expression, t, context.zone)

    def phrase(self) -> str:
        return f"cron {self.expression}"


class At(_Timed, frozen=True):
    """Local times of day on some weekdays. A time that does not exist is due at the jump; a time that comes twice is
    due the first time."""

    key: ClassVar[str] = "at"
    times: tuple[int, ...]
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        days: Raw = "daily"
        keys: tuple[str, ...] = ()
        if isinstance(raw, dict):
            values = as_mapping(raw, {"time", "days"}, 'time: "02:30", days: mon-fri')
            if "time" not in values:
                raise Invalid('at needs time, such as "02:30"')
            raw, days, keys = values["time"], values.get("days", "daily"), ("time",)
        times = parse_each(raw, parse_time_of_day, 'a time of day such as "02:30"', *keys)
        if not times:
            raise Invalid('expected at least one time of day, such as "02:30"', *keys)
        return cls(tuple(sorted(set(times))), weekdays(days, "days"))

    def next_after(self, t: int, context: Context) -> int | None:
        return _next_of_times(self.times, self.days, t, context.zone)

    def phrase(self) -> str:
        times = ", ".join(format_time_of_day(seconds) for seconds in self.times)
        return f"at {times}" + ("" if len(self.days) == 7 else f" {format_weekdays(self.days)}")


class Boot(_Timed, frozen=True):
    """A due time once after each boot of the machine."""

    key: ClassVar[str] = "boot"
    elapsed: ClassVar[bool] = True
    delay: int

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        return cls(parse_text(raw, parse_duration, "a duration such as 2min"))

    def next_after(self, t: int, context: Context) -> int | None:
        due = context.boot + self.delay
        return due if due > t else None

    def phrase(self) -> str:
        return f"{format_duration(self.delay)} after boot"


class After(_Timed, frozen=True):
    """A due time whenever another job has succeeded; never by the clock."""

    key: ClassVar[str] = "after"
    job: str

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        return cls(as_text(raw, "the name of a job"))

    def next_after(self, t: int, context: Context) -> int | None:  # noqa: ARG002 - as every trigger
        return None

    def phrase(self) -> str:
        return f"after {self.job}"

    @property
    def upstream(self) -> str:
        return self.job


class Manual(_Timed, frozen=True):
    """No due time at all: the job runs only by `agentctl run`."""

    key: ClassVar[str] = "manual"

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        if raw not in ("true", "yes", "on", {}):
            raise Invalid("expected manual: true, or no when at all")
        return cls()

    def next_after(self, t: int, context: Context) -> int | None:  # noqa: ARG002 - as every trigger
        return None

    def phrase(self) -> str:
        return "by hand only"


# On the calendar. A due time that comes is asked for up to three times within the same tick: whether it is outstanding,
# what comes after it, and when the job is next wanted. The calendar is looked through once.


@lru_cache(maxsize=64)
def _next_of_cron(expression: str, t: int, zone: ZoneInfo) -> int | None:
    """Returns the first instant after t at which a crontab(5) expression is due in a zone."""
    minute, hour = expression.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return _next_on_the_wall(expression, t + 1, zone)
    for due in CronSim(expression, moment(t, zone)):
        # In a repeated hour the first candidates may lie in the past, on the first pass.
        instant = instant_of(due)
        if instant > t:
            return instant
    return None


def _next_on_the_wall(expression: str, t: int, zone: ZoneInfo) -> int | None:
    """Returns the first instant from t on at which the wall clock matches, whatever the clock showed before.

    CronSim steps by whole hours of real time and so misses matches where the clock is set by half an hour or at
    another minute than :00. Between two changes of the offset the local time is as good as a clock without zone.
    """
    while True:
        offset = offset_at(t, zone)
        wall = next(CronSim(expression, moment(t - 1).replace(tzinfo=None) + offset), None)
        if wall is None:
            return None
        due = instant_of(wall.replace(tzinfo=UTC) - offset)
        change = first_change(t, due, zone)
        if change is None:
            return due
        t = change


@lru_cache(maxsize=64)
def _next_of_times(times: tuple[int, ...], days: tuple[int, ...], t: int, zone: ZoneInfo) -> int | None:
    """Returns the first instant after t of some times of day, in seconds, on some weekdays in a zone."""
    today = midnight(moment(t, zone).date())
    # From yesterday on: a time of yesterday that did not exist may be due today.
    for offset in range(-1, 15):
        day = today + timedelta(days=offset)
        if day.weekday() not in days:
            continue
        dues = [local_instant(day + timedelta(seconds=seconds), zone) for seconds in times]
        later = [due for due in dues if due > t]
        if later:
            return min(later)
    return None


AnyTrigger = Every | Adaptive | Cron | At | Boot | After | Manual
"""The kinds of triggers, told apart by a tag: msgspec cannot name a protocol in a field."""
KINDS: dict[str, Callable[[Raw], AnyTrigger]] = {kind.key: kind.parse for kind in get_args(AnyTrigger)}


def parse(raw: Raw) -> AnyTrigger:
    """Returns the trigger that a job's `when:` describes: a mapping's one key names the kind. Raises Invalid."""
    known = ", ".join(KINDS)
    if raw == "manual":
        return Manual()
    if not isinstance(raw, dict):
        cron = isinstance(raw, str) and (raw.lower() in _CRON_NAMES or not _cron_error(raw))
        example = f'cron: "{raw}"' if cron else "every: 15min"
        raise Invalid(f"expected a mapping with one of {known} (for example {{{example}}})")
    for key in raw:
        if key not in KINDS:
            raise Invalid(unknown_key(key, KINDS), key, is_key=True)
    if len(raw) != 1:
        raise Invalid(f"expected exactly one of {known}; got {' and '.join(raw) or 'none'}")
    (key, value), *_ = raw.items()
    try:
        return KINDS[key](value)
    except Invalid as error:
        error.keys = (key, *error.keys)
        raise


def _interval(text: str) -> int:
    interval = parse_duration(text)
    if interval < SECOND:
        raise ValueError(f'"{text}" is shorter than one second, the shortest interval')
    return interval


def _cron_hint(text: str) -> str:
    """Returns how to say here what other crons take, as the end of a sentence, or ""."""
    word, _, rest = text.partition(" ")
    if word == "@reboot":
        return "; a job of the boot has when: {boot: 0s}"
    if word == "@every":
        return f"; an interval is when: {{every: {rest.strip() or '5min'}}}"
    if len(text.split()) in {6, 7}:
        return "; seconds and years are none of them: seconds are when: {every: 30s}"
    return ""


def _cron_error(expression: str) -> str:
    """Returns the error that CronSim finds in a cron expression, or ""."""
    if len(expression) > 1000:
        return "too long"
    try:
        CronSim(expression, midnight(date(2024, 1, 1)))  # any day serves
    except CronSimError as error:
        return str(error).lower()
    return ""
