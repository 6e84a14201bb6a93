"""The steering: takes the next step of the course towards the scheduler of the wish that wins."""

import itertools
from collections.abc import Mapping

from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.schedulers import story
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.course import Course
from agentd.core.schedulers.model import Chosen, Ending, Standing, Tenure, Times, Want
from agentd.core.schedulers.quarantine import Quarantines
from agentd.core.schedulers.settings import wanted_by
from agentd.core.schedulers.standings import Standings
from agentd.core.schedulers.wants import ASKED, Wants, Work


class Steering:
    """`jobs` are those in force. While `draining`, nothing is begun. `due` is when a wish can be served that cannot be
    now, `calm` until when a switch is put off; 0: nothing is."""

    def __init__(
        self,
        wants: Wants,
        standings: Standings,
        course: Course,
        quarantines: Quarantines,
        work: Work,
        jobs: Mapping[str, Job],
        times: Times,
    ) -> None:
        self.jobs = jobs
        self.draining = False
        self.due = 0
        self.calm = 0
        self._wants = wants
        self._standings = standings
        self._course = course
        self._quarantines = quarantines
        self._work = work
        self._times = times
        self._calmed = 0  # when the machine went back to the kernel's own, and nobody had asked for that

    def standings(self, now: int) -> list[Standing]:
        """Returns all wishes in their order, which of them wins, and why each other does not."""
        return self._standings.of(self._wants.in_order(self._standings.settings, self.jobs, self._work), now)

    def minds(self, job: str) -> bool:
        """Tells whether a job wants a scheduler while it runs."""
        return job in self.jobs and wanted_by(self.jobs[job]) is not None

    def calm_down(self, now: int) -> None:
        """Has older wishes wait a little, and those of the machine: the scheduler of somebody else has just left."""
        self._calmed = now

    def steer(self, now: int) -> None:
        """Takes the next step, where there is one; none is taken while a scheduler leaves."""
        self.due = self.calm = 0
        course = self._course
        if self.draining or course.trial is not None or course.phase in {"asleep", "stopping"}:
            return
        standings = self.standings(now)
        if self._standings.unsure(standings[0].want):
            return  # what is on may be what is wanted
        winner = next((one for one in standings if one.wins), None)
        self.due = self._quarantines.next(itertools.takewhile(lambda one: one is not winner, standings), now)
        if winner is None or winner.chosen is None:  # somebody else's scheduler is on
            course.desist(now)
        elif course.phase == "starting":
            self._while_starting(winner.chosen, winner.want, now)
        elif course.subject is None or not course.subject[0].same(winner.chosen):
            course.desist(now)
            self._at_rest(winner.chosen, winner.want, now)

    def make_way(self, trial: Chosen, now: int) -> None:
        """Has every wish wait from now on: a scheduler of one's own is tried. Raises Refused where that cannot be."""
        course, other = self._course, self._course.foreign
        if self.draining:
            raise Refused("Draining", "agentd is stopping; nothing new starts")
        if course.trial is not None:
            raise Refused("Busy", f"{course.trial.name} is being tried: try again when that is over")
        if course.seen.state == "absent":
            raise Refused("Unavailable", "this kernel has no sched_ext, so there is nothing to try a scheduler in")
        if other is not None:
            raise Refused("Busy", story.foreign(other))
        if course.own is not None:
            first = "first agentctl sched stop, and afterwards agentctl sched restore"
            raise Refused("Busy", f"{course.own.chosen.name} is on, and only one scheduler can be: {first}")
        if course.phase not in {"resting", "checking"} or course.seen.on or course.seen.moving:
            raise Refused("Busy", "another scheduler begins or ends just now: try again in a moment")
        course.desist(now)
        course.trial = trial

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        self._calmed = self._calmed and self._calmed + delta

    def _while_starting(self, target: Chosen, want: Want, now: int) -> None:
        """Has a scheduler that starts leave again where another is wanted meanwhile."""
        tenure = self._course.starts
        if tenure is not None and not tenure.chosen.same(target):
            self._course.leave(tenure, _replaced(target, want), now)

    def _at_rest(self, target: Chosen, want: Want, now: int) -> None:
        course, own = self._course, self._course.own
        on = NONE if own is None else own.chosen.name
        if on == target.name and (own is None or own.chosen.same(target)):
            course.settle()
            if want.source == "person" and (own is None or not own.probation):
                self._wants.proven(want)
            return
        self.calm = self._calm(want, own)
        if self.calm > now:
            self.due = min(self.due or self.calm, self.calm)
        elif course.seen.moving:
            return  # somebody else is about to load one, or to leave
        elif own is not None and target.name == NONE:
            course.leave(own, _replaced(target, want), now)
            self._calmed = 0 if want.source in ASKED or own.source in ASKED else now
        elif course.fit is None or not course.fit.same(target):
            course.check(target, want, now)
        elif own is not None:
            course.leave(own, _replaced(target, want), now)
        else:
            course.start(target, want, now)

    def _calm(self, want: Want, own: Tenure | None) -> int:
        """Returns until when a switch is put off that nobody has asked for just now: where nobody had asked for what is
        on either, or something has just left."""
        if own is not None and want.source not in ASKED and own.source not in ASKED:
            return own.enabled + self._times.calm
        older = want.source not in ASKED or want.since <= self._calmed
        return self._calmed + self._times.calm if own is None and self._calmed and older else 0


def _replaced(target: Chosen, want: Want) -> Ending:
    """Returns the end of a scheduler that agentd has leave for another."""
    name = "the kernel's own scheduler" if target.name == NONE else target.name
    return Ending(kind="stopped", reason=f"{name} is wanted by {story.named(want)}")
