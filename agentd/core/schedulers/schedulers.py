"""The core of schedulers: wishes and what happens to the machine go in, one scheduler at a time comes out.

wants.py has the wishes in their order, standings.py says which of them wins, steering.py takes the next step towards
it, course.py has the states in between, judge.py says what an end means. Everything that may change the winner ends
with Steering.steer().
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from agentd.core.jobs.model import RunChanged, RunStarts
from agentd.core.jobs.settings import Job
from agentd.core.part import Core, Effect, Refused
from agentd.core.schedulers import story
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.course import Course, Phase
from agentd.core.schedulers.judge import Judge
from agentd.core.schedulers.model import (
    KERNELS_OWN,
    TIMES,
    Chosen,
    Ending,
    Figures,
    Observed,
    Quarantine,
    Saved,
    Source,
    Standing,
    Tenure,
    Times,
    Want,
)
from agentd.core.schedulers.probation import Probation
from agentd.core.schedulers.quarantine import Quarantines
from agentd.core.schedulers.settings import SchedulerSettings
from agentd.core.schedulers.standings import Choose, Standings
from agentd.core.schedulers.steering import Steering
from agentd.core.schedulers.wants import Wants, Work


class Schedulers(Core):
    """Decides which CPU scheduler the machine has. `boot` is the id of this boot of the machine.

    Nothing is decided before take_up() was told what the kernel says and which units are up.
    """

    def __init__(
        self,
        work: Work,
        choose: Choose,
        saved: Saved,
        settings: SchedulerSettings,
        jobs: Mapping[str, Job],
        now: int,
        *,
        boot: str,
        times: Times = TIMES,
    ) -> None:
        self._book = Book(saved, boot)
        self._wants = Wants(saved, self._book)
        self._quarantines = Quarantines(saved.quarantines, self._book, now)
        self._judge = Judge(self._book, self._wants, self._quarantines, times)
        self._probation = Probation(self._book, self._judge, settings, times)
        self._course = Course(self._book, self._judge, self._probation, times)
        self._standings = Standings(choose, settings, self._course, self._quarantines)
        self._steering = Steering(self._wants, self._standings, self._course, self._quarantines, work, jobs, times)

    # For others to read

    @property
    def seen(self) -> Observed:
        """The kernel's word, as of the last look: the state that is shown."""
        return self._course.seen

    @property
    def phase(self) -> Phase:
        """The state of the course: asleep (before take_up()), resting, checking, starting, stopping."""
        return self._course.phase

    @property
    def tenure(self) -> Tenure | None:
        """The tenure that has not ended, of agentd's scheduler or of somebody else's."""
        return self._book.tenure

    @property
    def trial(self) -> Chosen | None:
        """The scheduler of one's own that is being tried."""
        return self._course.trial

    @property
    def last_good(self) -> Chosen | None:
        """The last scheduler that ended its probation well."""
        return self._book.last_good

    @property
    def leases(self) -> list[Want]:
        """The leases; the holder of each is the bus name of its client."""
        return self._wants.of("lease")

    def standings(self, now: int) -> list[Standing]:
        """Returns all wishes in their order, which of them wins, and why each other does not."""
        return self._steering.standings(now)

    def quarantines(self, now: int) -> list[Quarantine]:
        """Returns the quarantines that are not over."""
        return self._quarantines.all(now)

    def starts(self, chosen: Chosen) -> bool:
        """Tells whether a start that was decided is still wanted."""
        tenure = self._course.starts
        return tenure is not None and tenure.chosen == chosen

    @property
    def calm(self) -> int:
        """Until when a switch is put off because there was another just now; 0: none is."""
        return self._steering.calm

    @property
    def conflict(self) -> str:
        """A sentence about a scheduler that somebody else loaded; empty where there is none."""
        foreign = self._course.foreign
        return "" if foreign is None else story.foreign(foreign)

    def waits(self, now: int) -> str:
        """Returns what agentd is about or waits for, or why the first wish is not served, as a sentence; empty where
        the machine has the scheduler that is wanted first."""
        subject, trial = self._course.subject, self._course.trial
        if trial is not None:
            return story.tried(trial)
        way = story.way(self.phase, "" if subject is None else subject[0].name, self.tenure)
        return way or story.waits(self.standings(now), self._steering.calm, now)

    def fate(self, want: Want, now: int) -> str | None:
        """Returns what became of a wish that want() has taken: "" where its scheduler is on, a sentence where something
        else is, None while that is not known yet."""
        standing = next((one for one in self.standings(now) if one.want in (want, replace(want, proven=True))), None)
        if standing is None:
            failed = [one for one in self.quarantines(now) if one.name == want.choice.name and one.failed >= want.since]
            return failed[0].why if failed else "the wish was taken back"
        if standing.why or standing.chosen is None:
            return standing.why
        if self.phase not in {"resting", "checking"}:
            return None
        on = KERNELS_OWN if self._course.own is None else self._course.own.chosen
        return "" if on.same(standing.chosen) else None

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call, in order."""
        return self._book.take()

    def wakeup(self) -> int | None:
        """Returns when tick() is next wanted; None: not before something else happens."""
        if self._steering.draining or self.phase == "asleep":
            return None
        wanted = [when for when, _ in self._agenda()] + [when for when in (self._wants.due, self._steering.due) if when]
        return min(wanted, default=None)

    def tick(self, now: int) -> None:
        """Deals with everything that is due."""
        if self._steering.draining or self.phase == "asleep":
            return
        self._end_what_is_over(now)
        for when, deal_with in self._agenda():
            if when <= now:
                deal_with(now)
        self._steering.steer(now)

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Takes note of runs that began or ended: their jobs may want a scheduler."""
        runs = (effect.run for effect in effects if isinstance(effect, RunStarts | RunChanged))
        if any(self._steering.minds(run.job) for run in runs):
            self._steering.steer(now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves along, with all that counts elapsed time."""
        for one in (
            self._book,
            self._wants,
            self._quarantines,
            self._judge,
            self._probation,
            self._course,
            self._steering,
        ):
            one.clock_stepped(delta)
        self._steering.steer(now)

    def storable(self, trouble: str, now: int) -> None:
        """Starts no scheduler while nothing can be stored; what has to leave leaves all the same."""
        self._standings.trouble = self._course.trouble = trouble
        self._steering.steer(now)

    def gone(self, part: str, now: int) -> None:
        """Lets go what a part has wished for that was shut off."""
        if part == "jobs":
            self._steering.jobs = {}
        self._wants.remove(self._wants.of("rule") if part == "rules" else [])
        self._steering.steer(now)

    def drain(self) -> None:
        """Begins nothing new from here on: agentd stops, and what runs goes on."""
        self._steering.draining = True
        if self._book.tenure is not None:
            self._book.save(replace(self._book.tenure, orderly=True))

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
        self._book.save_all()
        self._wants.save()
        self._quarantines.save_all()

    def configure(self, settings: SchedulerSettings, jobs: Mapping[str, Job], now: int) -> None:
        """Takes the settings and the jobs that are in force from now on."""
        self._standings.settings = self._probation.settings = settings
        self._steering.jobs = jobs
        self._steering.steer(now)

    # Wishes

    def want(self, want: Want, now: int) -> Want:
        """Takes a wish of a client (a lease), a person or a rule, in the place of what the same holder wished for.

        Raises Refused where the catalogue does not know the scheduler or its flags, and Unavailable, Busy, Draining or
        InvalidArgument.
        """
        want = replace(want, since=now, proven=False)
        if self._steering.draining:
            raise Refused("Draining", "agentd is stopping; nothing new starts")
        if want.until and want.until <= now:
            raise Refused("InvalidArgument", "the time of the wish is over already: expected an instant to come")
        chosen = self._standings.chosen(want.choice)
        if why := self._standings.why_not(chosen, want, now):
            raise Refused("Unavailable", f"{chosen.name} cannot be had: {why}")
        self._wants.put(want)
        because = f": {want.reason}" if want.reason else ""
        self._book.decide(now, "want", chosen.name, f"{story.named(want)} wants {chosen.name}{because}")
        self._steering.steer(now)
        return want

    def release(self, source: Source, holder: str, now: int, why: str = "") -> list[Want]:
        """Takes the wishes of a holder back, and returns those that there were; `why` is the rest of a sentence."""
        gone = self._wants.remove(self._wants.of(source, holder))
        for want in gone:
            self._book.decide(now, "want", want.choice.name, f"{story.named(want)} {why or 'takes the wish back'}")
        self._steering.steer(now)
        return gone

    def fires(self, rules: Collection[str], now: int) -> None:
        """Takes back what other rules than these wished for, which fired when the last agentd ended."""
        for holder in {want.holder for want in self._wants.of("rule")} - {*rules}:
            self.release("rule", holder, now, "does not fire any more")

    def client_gone(self, name: str, now: int) -> None:
        """Ends the leases of a client that has left the bus."""
        self.release("lease", name, now, "has left the bus")

    def restore(self, now: int) -> list[Want]:
        """Takes all persons' choices back, and returns those that there were."""
        gone = self._wants.remove(self._wants.of("person"))
        if gone:
            self._book.decide(now, "want", "", "the choices of persons are taken back: agentctl sched restore")
        self._steering.steer(now)
        return gone

    def clear(self, name: str, now: int, why: str = "agentctl sched clear") -> list[str]:
        """Forgets that a scheduler failed, or ("") that any did; returns the names of those that may be tried again."""
        names = [one.name for one in self.quarantines(now) if name in {"", one.name}]
        for one in names:
            self._quarantines.lift(one)
            self._book.decide(now, "clear", one, f"{one} may be tried again: {why}")
        self._steering.steer(now)
        return names

    def keep(self, person: str, now: int) -> Tenure:
        """Ends the probation of the scheduler that is on, and makes the lease that has brought it that person's choice.

        Raises Refused NothingToKeep.
        """
        own, winner = self._course.own, next((one for one in self.standings(now) if one.wins), None)
        if own is None or winner is None or winner.chosen is None or not winner.chosen.same(own.chosen):
            raise Refused("NothingToKeep", "no scheduler of agentd's is on that stays (agentctl sched status)")
        if winner.want.source == "lease":
            self._wants.put(replace(winner.want, source="person", holder=person, since=now, until=0))
            self._wants.remove([winner.want])
        self._book.decide(now, "keep", own.chosen.name, f"{person} keeps {own.chosen.name}")
        self._probation.end(now)
        self._steering.steer(now)
        return own

    def restart(self, person: str, now: int) -> Tenure:
        """Has the scheduler of agentd's stopped and started again. Raises Refused NothingToRestart."""
        own = self._course.own
        if own is None:
            raise Refused("NothingToRestart", "no scheduler of agentd's is on (agentctl sched status)")
        self._course.leave(own, Ending(kind="stopped", reason=f"{person} has it restarted"), now)
        return own

    # What happens

    def take_up(self, seen: Observed, up: Collection[str], now: int, trial: Chosen | None = None) -> None:
        """Goes on from what is stored. `up` are the schedulers whose units are up, coming up or going down, `trial` is
        one of one's own that is being tried. Leases whose clients have left meanwhile are best ended before, with
        client_gone()."""
        self._course.trial = trial
        self._end_what_is_over(now)
        self._report(lambda: self._course.take_up(seen, up, now), now)

    def trial_begins(self, trial: Chosen, now: int) -> None:
        """Has every wish wait while a scheduler of one's own is tried, until trial_over(). Raises Refused where none
        can be tried now."""
        self._steering.make_way(trial, now)
        self._book.decide(now, "trial", trial.name, story.tried(trial))

    def trial_over(self, seen: Observed, now: int) -> None:
        """Takes note that the trial is over, and what the kernel says then: wishes count again."""
        self._course.trial = None
        self.observed(seen, now)

    def observed(self, seen: Observed, now: int) -> None:
        """Takes the kernel's word."""
        self._report(lambda: self._course.observed(seen, now), now)

    def checked(self, name: str, trouble: str, now: int) -> None:
        """Takes the answer to SchedulerChecked: why the scheduler cannot be started, as a sentence, or ""."""
        self._report(lambda: self._course.checked(name, trouble, now), now)

    def start_failed(self, name: str, ending: Ending, now: int) -> None:
        """Takes note that a unit did not come up."""
        self._report(lambda: self._course.start_failed(name, ending, now), now)

    def unit_ended(self, name: str, now: int) -> None:
        """Takes note that a unit is down: the answer to SchedulerStops, or by itself."""
        self._report(lambda: self._course.unit_ended(name, now), now)

    def ending_known(self, number: int, ending: Ending, noticed: int, now: int) -> None:
        """Takes the answer to EndingWanted: why the tenure of that number ended, and how long after the kernel's own
        word that was noticed (-1: not known)."""
        self._report(lambda: self._course.ending_known(number, ending, noticed, now), now)

    def guarded(self, figures: Figures, now: int) -> None:
        """Takes the figures of the guards: a scheduler on probation that breaks one has to leave; one that keeps them
        has proved good when its time is over."""
        own = self._course.own
        if own is None or not own.probation:
            return
        if why := self._probation.tripped(figures):
            self._report(lambda: self._course.fail(own, Ending(kind="guard", reason=why), now), now)
        else:
            self._report(lambda: self._probation.kept(now), now)

    def can_run(self, cannot: Mapping[str, str], now: int) -> None:
        """Takes a sentence for each scheduler that this machine cannot run as it is, by name; others it can. Also told
        where the catalogue has changed. Before it is told, no wish for a scheduler is decided, and what is on stays."""
        self._standings.cannot = cannot
        self._steering.steer(now)

    def profile_changed(self, profile: str, now: int) -> None:
        """Takes the power profile: performance, balanced, power-saver, or "" where nobody says."""
        self._wants.profile = profile
        self._steering.steer(now)

    def power_changed(self, power: str, now: int) -> None:
        """Takes where the power comes from: ac, battery, or "" where nobody says."""
        self._wants.power = power
        self._steering.steer(now)

    def sleeping(self, asleep: bool, now: int) -> None:
        """Takes note that the machine is about to be suspended, or is back: what ends over that is nobody's fault."""
        self._judge.asleep = asleep
        if not asleep:
            self._judge.slept = now
            self._course.woke(now)
            self._probation.woke(now)

    # Inside

    def _agenda(self) -> list[tuple[int, Callable[[int], None]]]:
        return [*self._course.agenda(), *self._probation.agenda(self._course.own)]

    def _end_what_is_over(self, now: int) -> None:
        for want in self._wants.over(now):
            self._book.decide(now, "want", want.choice.name, f"the time of {story.named(want)} is over")

    def _report(self, take: Callable[[], None], now: int) -> None:
        foreign = self._course.foreign
        take()
        if foreign is not None and self._course.foreign is None:
            self._steering.calm_down(now)
        self._steering.steer(now)
