"""The expectations of jobs: a run begins soon after each due time, and takes neither too long nor suspiciously little.

What counts is time that goes by: instants that are remembered go with the clock when it is set.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from msgspec.structs import replace

from agentd.core.jobs.course import Course
from agentd.core.jobs.model import AsExpected, JobSaved, Run, Unexpected, Watched
from agentd.core.jobs.places import Places
from agentd.core.jobs.roster import Entry, Roster
from agentd.core.jobs.schedule import catch_up
from agentd.core.jobs.settings import Expect, Job
from agentd.core.part import Decided, Effect
from agentd.core.quantities import SECOND, format_duration
from agentd.core.times import moment

_BY_SCHEDULE = frozenset({"schedule", "missed", "after"})
"""The causes of runs that are expected to begin in time: no person, rule or failure asked for them."""
_AT_ONCE = 10 * SECOND
"""Microseconds in which a run whose time was over as it got its place is to begin: till then nobody is told that it
waits, for it does not; how late it began is told once it did."""
_SETTINGS = {"late": "start_within", "too-long": "at_most", "too-short": "at_least"}
_ON_PURPOSE = {"stopped", "cancelled"}


class Expectations:
    """Decides what is not as expected, and when that is over. Effects go to `effects`.

    A job is late from when a due time has had no run for `start_within` until a run begins and no other due time is
    overdue. Nothing is expected of a job that is off, and no begin while a person keeps all jobs from starting.
    """

    def __init__(self, roster: Roster, places: Places, course: Course, effects: list[Effect]) -> None:
        self._roster = roster
        self._places = places
        self._course = course
        self._effects = effects
        self._notes: list[tuple[int, str]] = []  # when to look at which job; some are out of date
        self._noted: dict[str, int] = {}  # the first of them by job
        self._not_before = 0  # no start is expected after an instant before this one
        self._outstanding: dict[str, int] = {}  # but after this one, of jobs that were due when the clock was set
        self._begins: dict[str, str] = {}  # how jobs that were late began
        self._resumed = False
        roster.watch = self._note

    # Time

    def wakeup(self) -> int | None:
        """Returns when the next expectation is broken, where nothing happens until then."""
        while self._notes:
            when, name = self._notes[0]
            entry = self._roster.entries.get(name)
            if self._noted.get(name) == when and entry is not None and self._next(entry) == when:
                return when
            heappop(self._notes)
            if self._noted.get(name) == when:
                del self._noted[name]
                if entry is not None:
                    self._note(entry)
        return None

    def tick(self, now: int) -> None:
        """Decides what is not as expected by now."""
        while (when := self.wakeup()) is not None and when <= now:
            entry = self._roster.entries[self._notes[0][1]]
            for at, event, run in sorted(self._deadlines(entry), key=lambda one: one[0]):
                if at <= now and event == "late" and not _memory(entry).late:
                    self._is_late(entry, run, now)
                elif at <= now and event == "too-long" and run is not None:
                    self._takes_too_long(entry, run, now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves what is remembered with the clock, before the due times move; those that it passes over count from
        now."""
        before, self._not_before = self._not_before, now
        self._outstanding.clear()
        for entry in self._roster.entries.values():
            if (expect := entry.job.expect) is None:
                continue
            if entry.due is not None and entry.due <= now - delta:
                self._outstanding[entry.job.name] = max(entry.due, before) + delta
            its, waits = _memory(entry), list(self._unbegun(entry)) if expect.start_within is not None else []
            for run in waits:
                if run.run_id in entry.running:  # till it begins, that is when it got its place
                    entry.running[run.run_id] = replace(run, started=run.started + delta)
            begun = {run.seq: _began_at(entry, run) + delta for run in self._running(entry)}
            self._remember(
                entry,
                replace(
                    its,
                    late_at=its.late_at and its.late_at + delta,
                    passed=its.passed and its.passed + delta,
                    due={run.seq: _since(entry, run) + delta for run in waits},
                    begun=begun,
                ),
            )

    # What happens to runs

    def came(self, entry: Entry, run: Run) -> None:
        """Takes note of a run that a due time led to."""
        if (expect := self._expected(entry)) is not None and expect.start_within is not None:
            if (since := self._counts_from(entry, run.due)) != run.due:
                its = _memory(entry)
                self._remember(entry, replace(its, due={**its.due, run.seq: since}))
            self._note(entry)

    def passed_over(self, entry: Entry, due: int) -> None:
        """Takes note of a due time that led to no run because the one before was not over."""
        self._pass_over(entry, self._counts_from(entry, due))

    def replaced(self, entry: Entry) -> None:
        """Takes note that a newer run takes the place of those that wait: their due times have had none."""
        for since in sorted(_since(entry, run) for run in self._unbegun(entry)):
            self._pass_over(entry, since)

    def began(self, entry: Entry, run: Run, *, before: bool = False) -> None:
        """Takes note that a run began; `before`: under an agentd before this one, or unseen."""
        expect, its, at = self._expected(entry), _memory(entry), run.started
        if expect is None or run.seq in its.begun:
            return
        since = _since(entry, run)
        its = replace(its, passed=its.passed if before and its.passed > at else 0)
        late = expect.start_within is not None and run.cause in _BY_SCHEDULE and at >= since + expect.start_within
        if late and not its.late:
            self._remember(entry, replace(its, begun={**its.begun, run.seq: at}))
            reason = f"{run.run_id} began {_span(at - since)} after it was due (start_within)"
            self._tell(entry, "late", f"{run.job} began late", reason, at, run.run_id, lasts=False)
        else:
            self._remember(entry, its)
        if its.late and (not before or at >= its.late_at):
            self._begins[run.job] = (
                f"{run.job} began {_span(at - since)} after it was due" if late else f"{run.job} began"
            )
            if self._resumed:
                self._look_late(entry, at)
        self._note(entry)

    def ended(self, entry: Entry, run: Run, now: int) -> None:
        """Takes note of the end of a run."""
        its = _memory(entry)
        took = run.ended - _began_at(entry, run)
        long = {seq: sentence for seq, sentence in its.long.items() if seq != run.seq}
        begun = {seq: at for seq, at in its.begun.items() if seq != run.seq}
        self._remember(entry, replace(its, long=long, begun=begun))
        if (expect := self._expected(entry)) is None:
            return
        if its.late and run.result in _ON_PURPOSE:  # as it was about to begin
            self._look_late(entry, now)
        if its.long and not long:
            title = f"{run.run_id} ended after {_span(took)}: {run.result}"
            self._over(entry, "too-long", "" if run.result in _ON_PURPOSE else title)
        elif expect.at_most and took >= expect.at_most and run.seq not in its.long and run.result not in _UNKNOWN:
            reason = f"{run.run_id} took {_span(took)}, no less than {format_duration(expect.at_most)} (at_most)"
            self._tell(entry, "too-long", f"{run.job} took too long", reason, now, run.run_id, lasts=False)
        if expect.at_least and run.result == "success":
            self._judge_success(entry, run, took, expect.at_least, now)

    def stopped(self, entry: Entry, now: int) -> None:
        """Takes note that a person stopped runs of a job: its due times so far have what the person wants."""
        if self._expected(entry) is not None:
            self._remember(entry, replace(_memory(entry), passed=0))
            if _memory(entry).late:
                self._look_late(entry, now)

    # What happens to jobs

    def excuse(self, now: int) -> None:
        """Takes note that a person lets jobs start again: what was due meanwhile is expected from now on."""
        self._not_before = now
        self._outstanding.clear()
        for entry in self._roster.entries.values():
            if (expect := self._expected(entry)) is not None and expect.start_within is not None:
                its = _memory(entry)
                due = dict.fromkeys((run.seq for run in self._unbegun(entry)), now)
                self._remember(entry, replace(its, due=due, passed=its.passed and now))
                self._note(entry)

    def changed(self, entry: Entry, before: Job) -> None:
        """Takes note of other settings: what is not expected any more, or otherwise, is forgotten and judged anew."""
        expect, old = self._expected(entry) or Expect(), before.expect or Expect()
        for event, setting in _SETTINGS.items():
            new = getattr(expect, setting)
            if new is None or new != getattr(old, setting):
                self._forget(entry, event)
        if expect.start_within is None:
            self._remember(entry, replace(_memory(entry), passed=0, due={}))
        self._note(entry)

    def removed(self, entry: Entry) -> None:
        """Takes note that a job is about to be no more."""
        for event in _SETTINGS:
            self._forget(entry, event)
        self._remember(entry, Watched())

    def resume(self, now: int) -> None:
        """Takes up what the last daemon remembered. What is not as expected already is not decided again."""
        for entry in self._roster.entries.values():
            if entry.state.watched is None and entry.job.expect is None:
                continue
            its = _not_ahead(_memory(entry), now)
            runs = {run.seq for run in entry.running.values()}
            self._remember(entry, replace(its, long={seq: text for seq, text in its.long.items() if seq in runs}))
            if its.long and not _memory(entry).long:
                self._over(entry, "too-long", "")
            for run in self._running(entry):
                self.began(entry, run, before=True)
            if entry.job.name in self._begins:
                self._look_late(entry, now)
            self.changed(entry, entry.job)
        self._resumed = True

    # How it is done

    def _expected(self, entry: Entry) -> Expect | None:
        """Returns what is expected of a job just now."""
        expect = entry.job.expect
        if expect is None or entry.off or self._roster.entries.get(entry.job.name) is not entry:
            return None
        return expect

    def _counts_from(self, entry: Entry, due: int) -> int:
        """Returns the instant after which a run for a due time that has come is expected to begin."""
        return due if due >= self._not_before else self._outstanding.pop(entry.job.name, self._not_before)

    def _pass_over(self, entry: Entry, since: int) -> None:
        expect, its = self._expected(entry), _memory(entry)
        if expect is not None and expect.start_within is not None and not its.passed:
            self._remember(entry, replace(its, passed=since))
            self._note(entry)

    def _unbegun(self, entry: Entry) -> Iterator[Run]:
        """Yields the runs that are expected to begin."""
        for run in (*entry.waiting, *entry.running.values()):
            if run.cause in _BY_SCHEDULE and not self._course.has_begun(run):
                yield run

    def _running(self, entry: Entry) -> Iterator[Run]:
        """Yields the runs that began."""
        return filter(self._course.has_begun, list(entry.running.values()))

    def _deadlines(self, entry: Entry) -> Iterator[tuple[int, str, Run | None]]:
        """Yields the instants at which a job stops being as expected, and the events that this is."""
        if (expect := self._expected(entry)) is None:
            return
        its, within = _memory(entry), expect.start_within
        if within is not None and not its.late and not self._places.by_hand:
            for run in self._unbegun(entry):
                placed = run.started + _AT_ONCE if run.run_id in entry.running else 0
                yield max(_since(entry, run) + within, placed), "late", run
            for since in self._owed(entry, within):
                yield since + within, "late", None
        if expect.at_most is not None:
            for run in self._running(entry):
                if run.seq not in its.long:
                    yield _began_at(entry, run) + expect.at_most, "too-long", run

    def _owed(self, entry: Entry, within: int) -> Iterator[int]:
        """Yields the due times that have no run: the one that was passed over, and the next one, unless that is left
        out by then (`missed`)."""
        if passed := _memory(entry).passed:
            yield passed
        if entry.due is not None and catch_up(entry.job.missed, [entry.due], entry.due + within, clock_step=False)[0]:
            yield max(entry.due, self._not_before)

    def _awaited(self, entry: Entry, within: int) -> Iterator[int]:
        """Yields the instants after which a run is expected to begin."""
        yield from (_since(entry, run) for run in self._unbegun(entry))
        yield from self._owed(entry, within)

    def _next(self, entry: Entry) -> int | None:
        return min((at for at, _, _ in self._deadlines(entry)), default=None)

    def _note(self, entry: Entry) -> None:
        """Has a job looked at in time; a note that comes too early does no harm."""
        name, when = entry.job.name, self._next(entry)
        if when is not None and ((noted := self._noted.get(name)) is None or when < noted):
            self._noted[name] = when
            heappush(self._notes, (when, name))

    def _is_late(self, entry: Entry, run: Run | None, now: int) -> None:
        within = _within(entry)
        due = moment(min(self._awaited(entry, within)), entry.zone)
        reason = (
            f"it was due at {due:%Y-%m-%d %H:%M:%S} and did not begin within "
            f"{format_duration(within)} (start_within): {self._why(entry, run)}"
        )
        self._remember(entry, replace(_memory(entry), late=reason, late_at=now))
        self._tell(entry, "late", f"{entry.job.name} is late", reason, now)

    def _why(self, entry: Entry, run: Run | None) -> str:
        """Returns why no run of a job begins."""
        if run is not None:
            return self._course.waits(entry, run)
        if self._places.closed:
            return self._places.closed
        under_way = next(iter(entry.running), "")
        return f"the run before is not over: {under_way}" if under_way else "the run before was still under way then"

    def _takes_too_long(self, entry: Entry, run: Run, now: int) -> None:
        its, most = _memory(entry), entry.job.expect.at_most if entry.job.expect is not None else None
        reason = f"{run.run_id} is under way for {format_duration(most or 0)} (at_most)"
        self._remember(entry, replace(its, long={**its.long, run.seq: reason}))
        self._tell(entry, "too-long", f"{entry.job.name} takes too long", reason, now, run.run_id)

    def _judge_success(self, entry: Entry, run: Run, took: int, least: int, now: int) -> None:
        its = _memory(entry)
        if took < least:
            reason = f"{run.run_id} succeeded after {_span(took)}, in less than {format_duration(least)} (at_least)"
            self._remember(entry, replace(its, short=reason))
            self._tell(entry, "too-short", f"{run.job} was suspiciously quick", reason, now, run.run_id)
        elif its.short:
            self._remember(entry, replace(its, short=""))
            self._over(entry, "too-short", f"{run.job} took its time again: {_span(took)}")

    def _look_late(self, entry: Entry, now: int) -> None:
        """Has a job be late no more, where no due time is overdue; people are told where a run began."""
        title = self._begins.pop(entry.job.name, "")
        within = _within(entry)
        if all(since + within > now for since in self._awaited(entry, within)):
            self._remember(entry, replace(_memory(entry), late="", late_at=0))
            self._over(entry, "late", title)
            self._note(entry)

    def _forget(self, entry: Entry, event: str) -> None:
        """Lets go what is not as expected, where it is so; nobody is told."""
        its = _memory(entry)
        if event in its.unmet:
            cleared = {"late": replace(its, late="", late_at=0), "too-long": replace(its, long={})}
            self._remember(entry, cleared.get(event, replace(its, short="")))
            self._over(entry, event, "")

    def _tell(
        self, entry: Entry, event: str, title: str, reason: str, now: int, run_id: str = "", *, lasts: bool = True
    ) -> None:
        self._effects += [
            Decided(now, "jobs", event, entry.job.name, reason, run_id),
            Unexpected(event, entry.job, title, reason, run_id, lasts),
        ]

    def _over(self, entry: Entry, event: str, title: str) -> None:
        self._effects.append(AsExpected(event, entry.job, title))

    def _remember(self, entry: Entry, its: Watched) -> None:
        """Stores what is remembered of a job, where that is something else now."""
        if its.due and self._resumed:  # runs that were taken back are of no interest
            there = {run.seq for run in self._unbegun(entry)}
            its = replace(its, due={seq: at for seq, at in its.due.items() if seq in there})
        watched = None if its == _NOTHING else its
        if watched != entry.state.watched:
            entry.state = replace(entry.state, watched=watched)
            self._effects.append(JobSaved(entry.job.name, entry.state))


_NOTHING = Watched()
_UNKNOWN = {"interrupted", *_ON_PURPOSE}
"""The results of runs of which it is not told that they took too long: it is not known how long, or a person knows."""


def _memory(entry: Entry) -> Watched:
    return entry.state.watched or _NOTHING


def _within(entry: Entry) -> int:
    return (entry.job.expect.start_within if entry.job.expect is not None else None) or 0


def _since(entry: Entry, run: Run) -> int:
    """Returns the instant after which a run is expected to begin."""
    return _memory(entry).due.get(run.seq, run.due)


def _began_at(entry: Entry, run: Run) -> int:
    return _memory(entry).begun.get(run.seq, run.started)


def _span(usec: int) -> str:
    """Returns a span for people: whole seconds, or milliseconds where it is shorter."""
    unit = SECOND if usec >= SECOND else 1000
    return format_duration(max(0, usec) // unit * unit)


def _not_ahead(its: Watched, now: int) -> Watched:
    """Returns what is remembered with no instant ahead of a clock that was set back while agentd was away."""
    return replace(
        its,
        late_at=min(its.late_at, now),
        passed=min(its.passed, now),
        due={seq: min(at, now) for seq, at in its.due.items()},
        begun={seq: min(at, now) for seq, at in its.begun.items()},
    )
