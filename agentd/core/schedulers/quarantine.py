"""Quarantines: a scheduler that failed is left alone for a while, longer after each failure in a row."""

from collections.abc import Iterable

from msgspec.structs import replace

from agentd.core.quantities import DAY, MINUTE, format_duration
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.model import Chosen, Quarantine, QuarantineSaved, SchedulerChanged, Standing, Want
from agentd.core.schedulers.wants import ASKED

FIRST, FACTOR, LONGEST = MINUTE, 4, DAY
"""1 min after the first failure, then 4 times as long after each, up to a day."""
AT_LEAST = MINUTE
"""For so long after a failure a scheduler is not tried for anybody."""
MOST_RESTARTS, WITHIN = 5, 10 * MINUTE
"""The most ends that are nobody's fault after which a scheduler is started again at once: so many in that time."""


class Quarantines:
    """The schedulers that failed, by name, until one outlives its probation. A clock that was ahead when they failed
    keeps them away no longer than the longest quarantine."""

    def __init__(self, saved: Iterable[Quarantine], book: Book, now: int) -> None:
        self._book = book
        self._by_name: dict[str, Quarantine] = {}
        self._restarts: dict[str, list[int]] = {}
        for one in saved:
            bounded = replace(one, failed=min(one.failed, now), until=min(one.until, now + LONGEST))
            self._by_name[one.name] = bounded
            if bounded != one:
                self._save(bounded)

    def all(self, now: int) -> list[Quarantine]:
        """Returns the quarantines that are not over."""
        return [one for one in self._by_name.values() if one.until > now]

    def fail(self, chosen: Chosen, why: str, now: int) -> Quarantine:
        """Puts a scheduler into quarantine, and returns that."""
        before = self._by_name.get(chosen.name)
        failures = 1 if before is None else before.failures + 1
        span = min(LONGEST, FIRST * FACTOR ** min(failures - 1, 20))
        found = Quarantine(
            name=chosen.name, flags=chosen.flags, failed=now, until=now + span, failures=failures, why=why
        )
        self._save(found)
        return found

    def lift(self, name: str) -> None:
        """Counts failures from the beginning: a tenure outlived its probation."""
        if (found := self._by_name.get(name)) is not None:
            self._save(replace(found, failures=0))

    def until(self, chosen: Chosen, want: Want) -> int:
        """Returns the instant before which the scheduler is not tried for a wish; 0: nothing is known against it.

        A person or a client who asks for it after it failed is heard sooner than others. The flags with which it proved
        good last are not those that failed.
        """
        found, good = self._by_name.get(chosen.name), self._book.last_good
        if found is None or (good is not None and good.same(chosen) and found.flags != chosen.flags):
            return 0
        anew = want.source in ASKED and want.since > found.failed
        return min(found.until, found.failed + AT_LEAST) if anew else found.until

    def next(self, wishes: Iterable[Standing], now: int) -> int:
        """Returns when the first of those wishes is not kept back by a quarantine any more; 0: none is."""
        ends = (self.until(one.chosen, one.want) for one in wishes if one.chosen is not None)
        return min((end for end in ends if end > now), default=0)

    def why_not(self, chosen: Chosen, want: Want, now: int) -> str:
        """Returns why the scheduler is not tried for a wish now, as a sentence; empty where it may be."""
        until = self.until(chosen, want)
        if until <= now:
            return ""
        found = self._by_name[chosen.name]
        often = f" {found.failures} times in a row" if found.failures > 1 else ""
        return f"{chosen.name} failed{often}: {found.why}; it is not tried again for {format_duration(until - now)}"

    def may_restart(self, name: str, now: int) -> bool:
        """Counts an end that is nobody's fault; tells whether the scheduler may be started again at once."""
        recent = [at for at in self._restarts.get(name, ()) if now - WITHIN < at <= now]
        self._restarts[name] = [*recent, now]
        return len(recent) < MOST_RESTARTS

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        for one in list(self._by_name.values()):
            self._save(replace(one, failed=one.failed + delta, until=one.until + delta))
        self._restarts = {name: [at + delta for at in times] for name, times in self._restarts.items()}

    def save_all(self) -> None:
        """Wants all of them stored once more."""
        self._book.effects += map(QuarantineSaved, self._by_name.values())

    def _save(self, one: Quarantine) -> None:
        self._by_name[one.name] = one
        if not one.failures:
            del self._by_name[one.name]
        self._book.effects += [QuarantineSaved(one), SchedulerChanged()]
