"""The windows of the policy on the calendar: when the machine may be rebooted."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd.core.quantities import DAY, format_time_of_day
from agentd.core.reboots.policy import RebootPolicy, Window
from agentd.core.times import jitter_offset, local_instant, midnight, moment


class Occurrence(Struct, frozen=True, order=True):
    """A window as it comes on one date: `opens` is the same everywhere, `begin` has the jitter of this host.

    `key` names the occurrence in the ledger for ever, by the date and the time of day of the window: a night that comes
    twice because the clock was set is the same night, and so is that of a window which got another name.
    """

    begin: int
    end: int
    key: str
    opens: int


class Calendar:
    """The occurrences still to come. `host` seeds the jitter, `done` are the keys of those dealt with.

    An occurrence within which the machine booted, at the instant `booted`, is dealt with as well: it had its boot. That
    takes no memory, so that no machine reboots again and again which has none. So is one that overlaps a span of `had`,
    begin and end of a window that led to a reboot: a window that was moved, or another one, reboots nothing that night.
    """

    def __init__(self, host: str, done: Iterable[str], had: Iterable[tuple[int, int]], booted: int, now: int) -> None:
        self.booted = booted
        self._spans = list(had)
        self._host = host
        self._done = set(done)
        self._since = now
        self._next: Occurrence | None = None

    def coming(self, policy: RebootPolicy, zone: ZoneInfo) -> Occurrence | None:
        """Returns the occurrence that is open or comes next, of those that were not dealt with."""
        if self._next is None and policy.all_windows:
            known = occurrences(policy, zone, self._host, self._since)
            self._next = next((found for found in known if not self._had(found)), None)
        return self._next

    def _had(self, found: Occurrence) -> bool:
        if found.key in self._done or found.opens <= self.booted < found.end:
            return True
        return any(begin < found.end and found.opens < end for begin, end in self._spans)

    def find(self, key: str, policy: RebootPolicy, zone: ZoneInfo) -> Occurrence | None:
        """Returns the occurrence with that key, which may be over; None where the policy has no such window."""
        known = occurrences(policy, zone, self._host, self._since - 2 * DAY)
        return next((found for found in known if found.key == key), None)

    def look(self, now: int) -> None:
        """Takes note that it is `now`: an occurrence that is over is no longer the next."""
        self._since = now
        if self._next is not None and self._next.end <= now:
            self._next = None

    def deal_with(self, key: str) -> None:
        """Takes note that the occurrence with that key has had its reboot, or its try."""
        self._done.add(key)
        self._next = None

    def leave(self, key: str) -> None:
        """Takes note that the occurrence with that key is to have its reboot after all."""
        self._done.discard(key)
        self._next = None

    def forget(self) -> None:
        """Takes note that the policy or the clock is another: the next occurrence is worked out anew."""
        self._next = None


def occurrences(policy: RebootPolicy, zone: ZoneInfo, host: str, since: int) -> Iterator[Occurrence]:
    """Yields the occurrences that end after `since`, by their beginning; at most a year of them."""
    first = moment(since, zone).date() - timedelta(days=2)
    waiting: list[Occurrence] = []
    for offset in range(370):
        day = first + timedelta(days=offset)
        waiting += [found for window in policy.all_windows if (found := _on(window, day, zone, host)) is not None]
        # A window begins at most a day after the midnight of its date.
        begun = local_instant(midnight(day), zone)
        waiting.sort()
        while waiting and waiting[0].begin <= begun:
            found = waiting.pop(0)
            if found.end > since:
                yield found
    yield from waiting


def _on(window: Window, day: date, zone: ZoneInfo, host: str) -> Occurrence | None:
    """Returns the window's occurrence on that date; for a time of day that the clocks skip, the jump counts."""
    text = day.isoformat()
    if day.weekday() not in window.days or any(first <= text <= last for first, last in window.except_):
        return None
    begin = local_instant(midnight(day) + timedelta(seconds=window.begin), zone)
    offset = jitter_offset(host, "reboot", min(window.jitter, window.window))
    key = f"{text} {format_time_of_day(window.begin)}"
    return Occurrence(begin + offset, begin + window.window, key, opens=begin)
