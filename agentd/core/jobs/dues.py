"""The due times that have come: each leads to a run, or is passed over for a reason that is told."""

from msgspec.structs import replace

from agentd.core.jobs import runs
from agentd.core.jobs.course import ASKED_FOR, Course
from agentd.core.jobs.expectations import Expectations
from agentd.core.jobs.model import JobSaved
from agentd.core.jobs.roster import Entry, Roster
from agentd.core.jobs.schedule import CATCH_UP, catch_up, dealt_with
from agentd.core.part import Decided, Effect
from agentd.core.quantities import counted
from agentd.core.times import moment


class Dues:
    """Deals with due times; what becomes of them goes to `course`, effects go to `effects`."""

    def __init__(self, roster: Roster, course: Course, expectations: Expectations, effects: list[Effect]) -> None:
        self._roster = roster
        self._course = course
        self._expectations = expectations
        self._effects = effects

    def come(self, entry: Entry, now: int, *, clock_step: bool = False) -> None:
        """Deals with all due times up to now, which no run was made for yet."""
        most = CATCH_UP if entry.job.missed.policy == "all" and not clock_step else 2
        dues = entry.schedule.outstanding(entry.state, now, most)
        chosen, reason = catch_up(entry.job.missed, dues, now, clock_step=clock_step) if dues else ([], "")
        entry.state = dealt_with(entry.state, entry.schedule.trigger, dues, chosen, now)
        if dues and not chosen:
            self.skip(entry, reason, now)
        self._follow_up(entry, chosen, reason, now, several=len(chosen) > 1)

    def come_late(self, entry: Entry, now: int, since: int) -> None:
        """Deals with all due times up to now after nothing could be stored from `since` on. Runs that were decided and
        could not begin count among them again: `missed` says which are made up for; one sentence tells of the others.
        """
        late = [run for run in self._course.decided(entry) if run.cause not in ASKED_FOR]
        tries = [run for run in late if run.cause == "retry"]
        waited = {run.due: run for run in late if run.cause != "retry"}
        policy = entry.job.missed.policy
        most = CATCH_UP if policy == "all" else CATCH_UP + 1
        came = entry.due is not None and entry.due <= now
        dues = entry.schedule.outstanding(entry.state, now, most) if came else []
        if not (dues or waited):
            return
        chosen, reason = catch_up(entry.job.missed, sorted({*waited, *dues}), now, clock_step=False)
        stop = f"nothing could be stored from {_span(entry, since, now)}"
        for run in (*(run for due, run in waited.items() if due not in chosen), *(tries if dues and chosen else ())):
            self._course.cancel(entry, run, f"{stop}: {reason or 'the next due time came'}", now)
        fresh = [due for due in chosen if due not in waited]
        if dues:
            entry.state = dealt_with(entry.state, entry.schedule.trigger, dues, fresh, now)
        if passed := len(set(dues) - set(fresh)):
            many = f"more than {CATCH_UP} due times" if len(dues) > CATCH_UP else counted(passed, "due time")
            self.skip(entry, f"{stop}: {many} passed (missed: {policy})", now)
        self._follow_up(entry, fresh, reason, now, several=len(chosen) > 1)

    def offer(self, entry: Entry, due: int, cause: str, reason: str, now: int, *, catching_up: bool = False) -> None:
        """Has a due time lead to a run, where overlap says so."""
        self._course.give_up_retry(entry, "the next due time came", now)
        verdict, why = runs.overlap(entry.job, entry.active, len(entry.waiting), self._before(entry))
        if verdict == "skip" and len(entry.waiting) < runs.QUEUE:
            if catching_up:
                verdict = "go"  # that is, as soon as the runs before it are over
            elif entry.job.missed.policy == "all" and any(run.cause == "missed" for run in entry.waiting):
                verdict, why = "queue", "waits for the runs that are made up for (missed: all)"
        if verdict == "skip":
            self._expectations.passed_over(entry, due)
            self.skip(entry, why, now)
            return
        if verdict == "replace" and not catching_up:
            self._expectations.replaced(entry)
            self._course.stop(entry, "stopped", why, now)
        run = self._course.new(entry, due, cause, now, reason)
        self._expectations.came(entry, run)
        if verdict == "queue":
            self._effects.append(Decided(now, "jobs", "queue", run.job, why, run.run_id))

    def _before(self, entry: Entry) -> str:
        """Returns what the run before did, as it is known."""
        if entry.waiting:
            return "the run before still waited for a place"
        if self._course.stuck(entry):
            return "the run before could not begin: nothing can be stored"
        return runs.UNDER_WAY

    def _follow_up(self, entry: Entry, chosen: list[int], reason: str, now: int, *, several: bool) -> None:
        cause = "missed" if reason or several else "schedule"
        for due in chosen:
            self.offer(entry, due, cause, reason, now, catching_up=several)
        self._effects.append(JobSaved(entry.job.name, entry.state))
        self._roster.plan(entry)

    def skip(self, entry: Entry, reason: str, now: int) -> None:
        """Takes note that a job does not run, and why."""
        entry.state = replace(entry.state, last_skip=reason, last_skip_at=now)
        self._effects += [
            Decided(now, "jobs", "skip", entry.job.name, reason),
            JobSaved(entry.job.name, entry.state),
        ]


def _span(entry: Entry, since: int, now: int) -> str:
    """Returns two instants as the clocks of the job show them: "18:00:43 to 18:02:44"."""
    first, last = moment(since, entry.zone), moment(now, entry.zone)
    form = "%H:%M:%S" if first.date() == last.date() else "%Y-%m-%d %H:%M:%S"
    return f"{first:{form}} to {last:{form}}"
