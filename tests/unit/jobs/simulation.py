"""A machine with a clock that can be set, on which the real core of jobs runs; and what is due, worked out another way.

The enumeration uses dates and zoneinfo alone: neither cronsim nor agentd's triggers.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import JobSaved, JobState, Outcome, Run, RunSaved, RunStarts, Saved
from agentd.core.jobs.settings import Job, Missed
from agentd.core.jobs.triggers import parse
from agentd.core.part import Effect
from agentd.core.parts import Parts
from agentd.core.quantities import DAY, MINUTE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUCCESS = Outcome(result="success")
Dates = Callable[[date], bool]


def every_day(_: date) -> bool:
    return True


def instant(moment: datetime) -> int:
    """Microseconds since 1970 of a time with a zone."""
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def wall(at: int, zone: ZoneInfo) -> datetime:
    """What a clock on the wall shows."""
    return (EPOCH + timedelta(microseconds=at)).astimezone(zone).replace(tzinfo=None)


def offset(at: int, zone: ZoneInfo) -> int:
    """By how much the wall clock is ahead of UTC."""
    return (wall(at, zone) - EPOCH.replace(tzinfo=None)) // timedelta(microseconds=1) - at


def first_showing(shown: datetime, zone: ZoneInfo) -> int:
    """The first instant at which the wall clock shows that time, or a later one because it was set forward."""
    at = instant(shown.replace(tzinfo=zone))  # fold=0: the first of two
    if wall(at, zone) == shown:
        return at
    at = instant(shown.replace(tzinfo=zone, fold=1))  # in a gap that is before it
    while wall(at, zone) < shown:
        at += MINUTE
    return at


def days(begin: int, end: int, zone: ZoneInfo) -> Iterator[date]:
    """The local dates from the day before to the day after, those that the calendar skips included."""
    day = wall(begin, zone).date() - timedelta(days=1)
    while day <= wall(end, zone).date() + timedelta(days=1):
        yield day
        day += timedelta(days=1)


def fixed(zone: ZoneInfo, begin: int, end: int, times: list[str], on: Dates = every_day) -> list[int]:
    """What is due in (begin, end] at times of day: each once, also where the clock is set forward or back."""
    due = set()
    for day in filter(on, days(begin, end, zone)):
        for time in times:
            hour, minute = map(int, time.split(":"))
            due.add(first_showing(datetime(day.year, day.month, day.day, hour, minute), zone))  # noqa: DTZ001
    return sorted(at for at in due if begin < at <= end)


def on_the_wall(
    zone: ZoneInfo, begin: int, end: int, minutes: range, hours: range = range(24), on: Dates = every_day
) -> list[int]:
    """Each real time in (begin, end] at which the wall clock shows one of the minutes in one of the hours."""
    due: list[int] = []
    for day in range(begin // DAY * DAY, end + 1, DAY):
        ahead = offset(day, zone)
        if ahead == offset(day + DAY, zone):  # the clock is not set on this day (of UTC)
            midnight = (day + ahead) // DAY * DAY - ahead
            for first in (midnight, midnight + DAY):
                if not on((EPOCH + timedelta(microseconds=first + ahead)).date()):
                    continue
                shown_at = (first + (hour * 60 + minute) * MINUTE for hour in hours for minute in minutes)
                due += [at for at in shown_at if day <= at < day + DAY]
        else:
            for at in range(max(day, begin // MINUTE * MINUTE), min(day + DAY, end + 1), MINUTE):
                shown = wall(at, zone)
                if shown.minute in minutes and shown.hour in hours and on(shown.date()):
                    due.append(at)
    return sorted({at for at in due if begin < at <= end})


def changes(zone: ZoneInfo, begin: int, end: int) -> list[int]:
    """The midnights (UTC) of days on which the clocks change."""
    return [day for day in range(begin // DAY * DAY, end, DAY) if offset(day, zone) != offset(day + DAY, zone)]


def job(name: str, when: object, zone: str = "UTC", missed: Missed | None = None) -> Job:
    """A job as the configuration would make it."""
    return Job(name=name, run=("true",), when=parse(when), timezone=zone, missed=missed or Missed())  # type: ignore[arg-type]


class Memory:
    """What a store would keep of the effects."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.runs: dict[int, Run] = {}

    def write(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, JobSaved):
                self.states[effect.job] = effect.state
            elif isinstance(effect, RunSaved):
                self.runs[effect.run.seq] = effect.run

    def saved(self) -> Saved:
        """What the next daemon is given."""
        ended = sorted((run for run in self.runs.values() if run.state == "ended"), key=lambda run: run.seq)
        return Saved(
            states=dict(self.states),
            open_runs=tuple(run for _, run in sorted(self.runs.items()) if run.state != "ended"),
            last_runs={run.job: run for run in ended},
            next_seq=max(self.runs, default=0) + 1,
        )


class Start:
    """A run that was started: its due time, what the clock showed, how much time had really gone by."""

    def __init__(self, run: Run, shown: int, elapsed: int) -> None:
        self.run = run
        self.due = run.due
        self.shown = shown
        self.elapsed = elapsed

    def __repr__(self) -> str:
        return f"{self.run.run_id} due {wall(self.due, ZoneInfo('UTC'))} at {wall(self.shown, ZoneInfo('UTC'))}"


def failed(name: str, error: Exception) -> None:
    """Ends a test: no core has a defect."""
    raise AssertionError(f"a defect in {name}") from error


class Machine:
    """A machine whose jobs take no time. `elapsed` goes on steadily, `now` is what its clock shows."""

    def __init__(self, jobs: list[Job], now: int) -> None:
        self.config = Config(jobs={job.name: job for job in jobs})
        self.memory = Memory()
        self.elapsed = 0
        self.now = now
        self.starts: dict[str, list[Start]] = {job.name: [] for job in jobs}
        self._start(Saved())

    def _start(self, saved: Saved) -> None:
        self.engine = Jobs(self.config.jobs, saved, self.now)
        self.parts = Parts({"jobs": self.engine}, failed)
        self._carry_out()

    def pass_time(self, span: int) -> None:
        """Time goes by, with everything that becomes due meanwhile."""
        end = self.now + span
        while (wakeup := self.parts.wakeup()) is not None and wakeup <= end:
            self._wait_until(max(wakeup, self.now))
            self.parts.tick(self.now)
            self._carry_out()
        self._wait_until(end)

    def set_clock(self, delta: int) -> dict[str, list[Start]]:
        """Somebody sets the clock; returns what that starts."""
        before = {name: len(starts) for name, starts in self.starts.items()}
        self.now += delta
        self.parts.clock_stepped(delta, self.now)
        self._carry_out()
        return {name: starts[before[name] :] for name, starts in self.starts.items()}

    def restart(self, now: int) -> dict[str, list[Start]]:
        """The daemon starts anew, with a clock that shows something; returns what that starts at once."""
        before = {name: len(starts) for name, starts in self.starts.items()}
        self.now = now
        self._start(self.memory.saved())
        self.parts.tick(now)
        self._carry_out()
        return {name: starts[before[name] :] for name, starts in self.starts.items()}

    def dues(self, name: str) -> list[int]:
        return [start.due for start in self.starts[name]]

    def _wait_until(self, at: int) -> None:
        self.elapsed += at - self.now
        self.now = at

    def _carry_out(self) -> None:
        while effects := self.parts.effects(self.now):
            self.memory.write(effects)
            for effect in effects:
                if isinstance(effect, RunStarts):
                    self.starts[effect.run.job].append(Start(effect.run, self.now, self.elapsed))
                    self.engine.ended(effect.run.run_id, SUCCESS, self.now)
