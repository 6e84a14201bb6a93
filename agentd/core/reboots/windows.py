"""When the machine may be rebooted: the windows of the policy on the calendar."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd.core.quantities import DAY, format_time_of_day
from agentd.core.reboots.policy import RebootPolicy, Window
from agentd.core.times import jitter_offset, local_instant


class Occurrence(Struct, frozen=True, order=True):
    """One coming of a window: it opens, begins on this host (which has its jitter) and ends. `key` names it for ever:
    a night that comes twice, because the clock was set, is the same night."""

    begin: int
    end: int
    key: str
    opens: int


class Calendar:
    """The windows still to come. `host` seeds the jitter, `done` are the keys of those that were dealt with."""

    def __init__(self, host: str, done: Iterable[str], now: int) -> None:
        self._host = host
        self._done = set(done)
        self._since = now
        self._next: Occurrence | None = None

    def coming(self, policy: RebootPolicy, zone: ZoneInfo) -> Occurrence | None:
        """The one that is open or comes next, of those that were not dealt with."""
        if self._next is None and policy.all_windows:
            known = occurrences(policy, zone, self._host, self._since)
            self._next = next((found for found in known if found.key not in self._done), None)
        return self._next

    def find(self, key: str, policy: RebootPolicy, zone: ZoneInfo) -> Occurrence | None:
        """The one of that name, which may be over; None where there is none any more."""
        known = occurrences(policy, zone, self._host, self._since - 2 * DAY)
        return next((found for found in known if found.key == key), None)

    def look(self, now: int) -> None:
        """Time went by."""
        self._since = now
        if self._next is not None and self._next.end <= now:
            self._next = None

    def deal_with(self, key: str) -> None:
        """That one has had its reboot, or its try."""
        self._done.add(key)
        self._next = None

    def forget(self) -> None:
        """The policy or the clock is another."""
        self._next = None


def occurrences(policy: RebootPolicy, zone: ZoneInfo, host: str, since: int) -> Iterator[Occurrence]:
    """The coming ones that end after `since`, by their beginning; at most a year of them."""
    first = datetime.fromtimestamp(since / 1_000_000, UTC).astimezone(zone).date() - timedelta(days=2)
    waiting: list[Occurrence] = []
    for offset in range(370):
        day = first + timedelta(days=offset)
        waiting += [found for window in policy.all_windows if (found := _on(window, day, zone, host)) is not None]
        # A window begins at most a day after the midnight of its date.
        midnight = local_instant(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local_instant wants it
        waiting.sort()
        while waiting and waiting[0].begin <= midnight:
            found = waiting.pop(0)
            if found.end > since:
                yield found
    yield from waiting


def _on(window: Window, day: date, zone: ZoneInfo, host: str) -> Occurrence | None:
    """The window as it comes on that date. A time that does not exist there is at the jump."""
    text = day.isoformat()
    if day.weekday() not in window.days or any(first <= text <= last for first, last in window.except_):
        return None
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local_instant wants it
    begin = local_instant(midnight + timedelta(seconds=window.begin), zone)
    offset = jitter_offset(host, "reboot", min(window.jitter, window.window))
    key = f"{text} {format_time_of_day(window.begin)}"
    return Occurrence(begin + offset, begin + window.window, key, opens=begin)
