"""The ends of runs, and what follows from them: another attempt, jobs that come after, somebody who is told."""

from msgspec.structs import asdict, replace

from agentd.core.jobs import runs
from agentd.core.jobs.course import ASKED_FOR, Course
from agentd.core.jobs.dues import Dues
from agentd.core.jobs.expectations import Expectations
from agentd.core.jobs.model import Notified, Outcome, Run, RunChanged, RunSaved, Saved
from agentd.core.jobs.places import Places
from agentd.core.jobs.roster import Entry, Roster
from agentd.core.part import Decided, Effect

_CUT_OFF = Outcome(result="interrupted", reason="agentd ended while the run was under way")


class Ends:
    """Concludes runs, those under this daemon and those that the last one left; effects go to `effects`."""

    def __init__(
        self,
        roster: Roster,
        places: Places,
        course: Course,
        dues: Dues,
        expectations: Expectations,
        effects: list[Effect],
    ) -> None:
        self._roster = roster
        self._places = places
        self._course = course
        self._dues = dues
        self._expectations = expectations
        self._effects = effects

    def conclude(self, entry: Entry, run: Run, outcome: Outcome, now: int, *, draining: bool = False) -> None:
        """Stores a run that ended and does what follows from its end; while `draining` no job comes after."""
        run = entry.last = _with(run, outcome, now)
        self._effects += [RunSaved(run), RunChanged("finished", run)]
        self._expectations.ended(entry, run, now)
        again = runs.retry(entry.job, run) if self._roster.entries.get(run.job) is entry else None
        if again is not None and entry.off:
            self._effects.append(Decided(now, "jobs", "retry", run.job, f"no other attempt: {entry.off}", run.run_id))
        elif again is not None:
            self._try_again(entry, run, *again, now)
            return
        if run.result == "success":
            self.notify(entry, "success", run, f"{run.job} succeeded")
        elif run.result not in {"stopped", "cancelled"}:
            self.notify(entry, "failure", run, f"{run.job} failed: {run.reason or run.result}")
        if not draining:
            self._follow(run, now)

    def _follow(self, run: Run, now: int) -> None:
        """Has the jobs that come after a run follow, or tells why one of them does not."""
        for follower in self._roster.followers.get(run.job, ()):
            if run.result != "success":
                if follower.enabled:
                    self._dues.skip(follower, f"{run.run_id} ended with {runs.ending(run)}: nothing to follow", now)
            elif follower.enabled:
                self._dues.offer(follower, now, "after", f"after {run.run_id}", now)
            else:
                self._dues.skip(follower, f"not after {run.run_id}: {follower.off}", now)

    def _try_again(self, entry: Entry, run: Run, pause: int, reason: str, now: int) -> None:
        self._course.give_up_retry(entry, "a later run failed", now)
        seq = self._course.number()
        other = Run(seq=seq, job=run.job, due=run.due, cause="retry", attempt=run.attempt + 1, reason=reason)
        entry.retry = replace(other, not_before=now + pause)
        self._effects += [RunSaved(entry.retry), Decided(now, "jobs", "retry", run.job, reason, entry.retry.run_id)]
        self._roster.push(entry)

    def notify(self, entry: Entry, event: str, run: Run, text: str) -> None:
        """Tells of an event that people may want to be told of."""
        self._effects.append(Notified(event, run, text, entry.job, bool(entry.off)))

    def outcome(self, run: Run) -> Run | None:
        """Returns how a run, with its retries, ended; None while it or a retry is still running or due."""
        if (entry := self._roster.entries.get(run.job)) is not None:

            def of_it(other: Run) -> bool:
                return other.seq == run.seq or (other.cause == "retry" and other.due == run.due)

            coming = [*entry.running.values(), *(() if self._places.held else entry.pending)]
            if any(map(of_it, coming)):
                return None
            if entry.last is not None and of_it(entry.last):
                return entry.last
        return replace(run, state="ended", result="interrupted", reason="how the run ended is not known")

    # After a restart

    def resume(self, saved: Saved, now: int) -> None:
        """Takes up what the last daemon left: runs that waited wait again; runs that were under way still are, or have
        ended: as their executor saw it, or cut off."""
        under_way = {run.run_id: run for run in saved.under_way}
        for run in saved.open_runs:
            entry = self._roster.entries.get(run.job)
            if run.run_id in under_way:
                self._course.take_up(entry or self._roster.gone(run.job), under_way[run.run_id], begun=True)
            elif run.state == "running":
                outcome = saved.outcomes.get(run.run_id, _CUT_OFF)
                if outcome.result == "interrupted" and not outcome.ended and saved.seen:
                    # Nobody saw the end: that was no earlier, and later nothing of the run was seen.
                    outcome = replace(outcome, ended=min(max(run.started, saved.seen), now))
                self._conclude_unseen(entry, run, outcome, now)
            elif entry is None or (entry.off and run.cause not in ASKED_FOR):
                why = "the job was removed" if entry is None else entry.off
                gone = replace(run, state="ended", started=0, ended=now, result="cancelled", reason=why)
                self._effects += [RunSaved(gone), Decided(now, "jobs", "stop", run.job, why, run.run_id)]
            else:
                self._resume_waiting(entry, replace(run, started=0), now)

    def _conclude_unseen(self, entry: Entry | None, run: Run, outcome: Outcome, now: int) -> None:
        """Concludes a run that ended while no agentd was there."""
        if outcome.result == "interrupted" and not outcome.reason:
            outcome = replace(outcome, reason=_CUT_OFF.reason)
        if entry is not None:
            if outcome.started and outcome.result != "start-failed":
                self._expectations.began(entry, _with(run, outcome, now), before=True)
            self.conclude(entry, run, outcome, now)
        else:
            run = _with(run, outcome, now)
            self._effects += [RunSaved(run), RunChanged("finished", run)]

    def _resume_waiting(self, entry: Entry, run: Run, now: int) -> None:
        """Lets a run wait again: for a place, or as a retry for its time."""
        if run.cause == "retry" and (run.not_before > now or (entry.due is not None and entry.due <= now)):
            # A retry is never farther away than its longest pause, whatever the clock did meanwhile.
            latest = now + max(entry.job.retries.max, entry.job.retries.backoff)
            self._course.give_up_retry(entry, "a later run failed", now)
            entry.retry = replace(run, not_before=min(run.not_before, latest))
            self._roster.push(entry)
        else:
            self._places.wait(entry, run)


def _with(run: Run, outcome: Outcome, now: int) -> Run:
    """Returns the run with its end; fields that the outcome leaves empty stay as they were."""
    known = {name: value for name, value in asdict(outcome).items() if value or name == "exit_code"}
    return replace(run, state="ended", **{"ended": now, **known})
