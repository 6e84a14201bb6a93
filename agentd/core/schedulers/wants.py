"""The wishes for a scheduler: those that somebody holds, and those that follow from the machine and the settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, get_args

from msgspec.structs import replace

from agentd.core.jobs.model import Run
from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.model import Saved, SchedulerChanged, Source, Want, WantsSaved
from agentd.core.schedulers.settings import Choice, SchedulerSettings, wanted_by

RANK: Mapping[str, int] = {source: rank for rank, source in enumerate(get_args(Source))}
ASKED: frozenset[Source] = frozenset({"lease", "person"})
"""The sources that ask for a scheduler at one moment, and not by the way things are."""
MOST_HELD = 100
"""The most leases and wishes of rules at once."""
MOST_CHOICES = 10
"""The most choices of persons that are remembered for when newer ones fail."""


class Work(Protocol):
    """The core of jobs, as the wishes need it."""

    def running(self) -> list[Run]:
        """Returns the runs under way."""
        ...


class Wants:
    """The wishes that somebody holds, older ones first: leases, choices of persons, and wishes of rules."""

    def __init__(self, saved: Saved, book: Book) -> None:
        self._book = book
        here = saved.boot == book.boot  # no client outlives the boot
        self.held = [want for want in saved.wants if here or want.source != "lease"]
        self.profile = ""  # power-profiles-daemon's
        self.power = ""  # ac, battery

    def put(self, want: Want) -> None:
        """Takes a wish, in the place of what the same holder wished for; a person's choices before it are remembered,
        but for those of a time, which goes before lasting ones: who chooses anew does not mean to wait for its end.

        Raises Refused Busy.
        """
        if want.source == "person":
            others = [one for one in self.held if one.source == "person" and one.choice != want.choice]
            gone = [one for one in self.held if one.source == "person" and one.choice == want.choice]
            gone += others[: max(0, len(others) + 1 - MOST_CHOICES)]
            gone += [one for one in self.held if one.source == "lease" and one.until]
        else:
            gone = [one for one in self.held if (one.source, one.holder) == (want.source, want.holder)]
            if not gone and sum(one.source != "person" for one in self.held) >= MOST_HELD:
                raise Refused("Busy", f"{MOST_HELD} wishes for a scheduler are held already (agentctl sched status)")
        self._keep([*(one for one in self.held if one not in gone), want])

    def remove(self, gone: Sequence[Want]) -> list[Want]:
        """Takes wishes back; returns those that were there."""
        found = [want for want in self.held if want in gone]
        self._keep([want for want in self.held if want not in found])
        return found

    def of(self, source: Source, holder: str | None = None) -> list[Want]:
        """Returns the wishes that a source holds, or one holder of it; older ones first."""
        return [want for want in self.held if want.source == source and holder in (None, want.holder)]

    def proven(self, want: Want) -> None:
        """Notes that a person's newest choice has proven good: those before it do not count any more."""
        if want in self.of("person")[-1:]:
            self._keep([*(one for one in self.held if one.source != "person"), replace(want, proven=True)])

    def failed(self, name: str, source: str, since: int) -> Want | None:
        """Drops a person's choice that has brought a scheduler, at the instant `since`, which failed before it proved
        good; returns that choice."""
        if source != "person" or not (choices := self.of("person")):
            return None
        newest = choices[-1]
        if newest.proven or newest.choice.name != name or newest.since > since:
            return None
        self.remove([newest])
        return newest

    def over(self, now: int) -> list[Want]:
        """Takes back the wishes whose time is over; returns them."""
        return self.remove([want for want in self.held if want.until and want.until <= now])

    @property
    def due(self) -> int | None:
        """The instant at which the time of the first wish is over."""
        return min((want.until for want in self.held if want.until), default=None)

    def in_order(self, settings: SchedulerSettings, jobs: Mapping[str, Job], work: Work) -> list[Want]:
        """Returns all wishes, the one that wins first."""
        every = [*self._follow(settings), *_of_jobs(jobs, work), *self.held]  # of one source, newer ones last
        every.reverse()
        return [*sorted(every, key=lambda want: RANK[want.source]), *self._defaults(settings)]

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        self._keep([
            replace(want, since=want.since + delta, until=want.until and want.until + delta) for want in self.held
        ])  # fmt: skip

    def save(self) -> None:
        """Wants the wishes stored: they outlive agentd. Those of jobs and settings follow from what these say anew."""
        self._book.effects.append(WantsSaved(tuple(self.held), self._book.boot))

    def _keep(self, held: list[Want]) -> None:
        before, self.held = self.held, held
        if held != before:
            self.save()
            self._book.effects.append(SchedulerChanged())

    def _follow(self, settings: SchedulerSettings) -> Iterator[Want]:
        by_power, by_profile = settings.follow.by_power(self.power), settings.follow.by_profile(self.profile)
        if by_power is not None:
            yield Want(source="follow", holder=f"power {self.power}", choice=by_power)
        if by_profile is not None:
            yield Want(source="follow", holder=f"power profile {self.profile}", choice=by_profile)

    def _defaults(self, settings: SchedulerSettings) -> Iterator[Want]:
        """Yields the default; where that is a scheduler, the last good one after it; and the kernel's own."""
        default, good = settings.default, self._book.last_good
        yield Want(source="default", holder="scheduler.default", choice=default)
        if default.name != NONE:
            if good is not None:
                yield Want(source="default", holder="the last good", choice=Choice(good.name, good.mode, good.flags))
            yield Want(source="default", holder="the kernel's own", choice=Choice())


def _of_jobs(jobs: Mapping[str, Job], work: Work) -> Iterator[Want]:
    for run in sorted(work.running(), key=lambda run: run.seq):
        choice = wanted_by(jobs[run.job]) if run.job in jobs else None
        if choice is not None:
            yield Want(source="job", holder=run.run_id, choice=choice, since=run.started or run.due)
