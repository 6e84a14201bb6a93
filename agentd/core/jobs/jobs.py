"""The core of jobs: events and their instants go in, effects come out.

Every method that takes `now` leads to effects, which are taken with effects(); the caller stores the effects that are
part.Stored before the others are carried out.
"""

from collections.abc import Mapping

from msgspec.structs import asdict, replace

from agentd.core.jobs import interval, runs
from agentd.core.jobs.model import (
    JobSaved,
    JobState,
    Notified,
    Outcome,
    Run,
    RunChanged,
    RunSaved,
    RunStarts,
    RunStops,
    Saved,
)
from agentd.core.jobs.places import Places
from agentd.core.jobs.roster import Entry, Roster
from agentd.core.jobs.schedule import CATCH_UP, catch_up, dealt_with
from agentd.core.jobs.settings import Job
from agentd.core.part import Core, Decided, Effect, Refused, Stored
from agentd.core.quantities import SECOND, format_duration

_CUT_OFF = Outcome(result="interrupted", reason="agentd ended while the run was under way")


class Jobs(Core):
    """Decides which job runs when. `host` seeds the jitter, `boot` is the instant of the machine's boot.

    With a `lead`, what can start without waiting is decided so long before it is due: storing it then delays nothing.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        saved: Saved,
        now: int,
        *,
        concurrency: int = 100,
        host: str = "",
        boot: int = 0,
        lead: int = 0,
    ) -> None:
        self.draining = False
        self._effects: list[Effect] = []
        self._roster = Roster(saved.states, host, boot, lead, self._effects)
        self._places = Places(concurrency)
        self._seq = saved.next_seq
        for job in jobs.values():
            self._roster.add(job, now)
        for name, run in saved.last_runs.items():
            if name in self.entries:
                self.entries[name].last = run
        self._roster.index()
        self._resume(saved, now)
        self._admit(now)

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call: first all Stored ones in order, then the others in order."""
        taken = self._effects.copy()
        self._effects.clear()
        return [e for e in taken if isinstance(e, Stored)] + [e for e in taken if not isinstance(e, Stored)]

    def wakeup(self) -> int | None:
        """Returns when tick() is next wanted; None: not before something else happens."""
        return None if self.draining or self._places.held else self._roster.wakeup()

    def tick(self, now: int) -> None:
        """Deals with everything that is due."""
        while not (self.draining or self._places.held) and (entry := self._roster.take(now)) is not None:
            if entry.due is not None and entry.wake <= now:
                if entry.due <= now or self._places.free_for(entry):
                    self._due(entry, max(now, entry.due), clock_step=False)
                else:
                    entry.wake = entry.due  # the runs in its way may be over by then
            if entry.retry is not None and entry.retry.not_before <= now:  # and no due time took its place
                run, entry.retry = entry.retry, None
                self._places.wait(entry, run)
            self._roster.push(entry)
        self._admit(now)

    # For others to read

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The configured jobs by name."""
        return self._roster.entries

    def entry(self, name: str) -> Entry:
        """Returns the job of that name. Raises Refused NoSuchJob with the nearest name."""
        return self._roster.named(name)

    def running(self) -> list[Run]:
        """Returns the runs under way, those of removed jobs included."""
        return [run for entry in self._roster.all() for run in entry.running.values()]

    @property
    def held(self) -> str:
        """The reason why nothing starts for the time being, as a sentence; or empty."""
        return self._places.held

    @property
    def longest_stop(self) -> int:
        """The longest time, in microseconds, that a job has to stop."""
        return max((entry.job.stop_timeout for entry in self.entries.values()), default=0)

    def critical(self, run: Run) -> bool:
        """Tells whether the machine must not be rebooted while this run is under way."""
        return run.job in self.entries and self.entries[run.job].job.critical

    # Requests

    def run(self, name: str, now: int) -> Run:
        """Starts a run by hand, whether the job is enabled or not. Raises Refused NoSuchJob, Busy, Draining."""
        entry = self.entry(name)
        if self.draining or self._places.held:
            raise Refused("Draining", self._places.held or "agentd is stopping; nothing new starts")
        verdict, reason = runs.overlap(entry.job, entry.active, len(entry.waiting))
        if verdict == "skip":
            under_way = next(iter(entry.running), "one that waits for a place")
            raise Refused("Busy", f"{name} was not started: {reason}: {under_way}; stop it with: agentctl stop {name}")
        if verdict == "replace":
            self._stop(entry, "stopped", "replaced by a run that was asked for", now)
        run = self._new(entry, now, "manual", now)
        self._admit(now)
        return run

    def stop(self, target: str, now: int) -> list[str]:
        """Stops a job's runs, or one run by its id. Raises Refused NoSuchJob, NoSuchRun."""
        for entry in self._roster.all():
            if target in entry.running or target in {run.run_id for run in entry.pending}:
                return self._stop(entry, "stopped", "asked to stop", now, only=target)
        name, _, number = target.rpartition(".")
        if number.isascii() and number.isdigit() and name in self.entries and target not in self.entries:
            raise Refused("NoSuchRun", f"the run {target} is not under way")
        return self._stop(self.entry(target), "stopped", "asked to stop", now)

    def step_interval(self, name: str, direction: int, now: int) -> tuple[int, int]:
        """Takes one bounded step: direction 1 is more often, -1 less. Returns old and new interval. Raises Refused."""
        entry = self.entry(name)
        old = entry.schedule.trigger.interval or 0
        new = interval.step(name, entry.schedule.trigger, direction)
        state = replace(entry.state, interval=new, preference=entry.state.preference + direction)
        word = "increase" if direction > 0 else "decrease"
        self._override(entry, state, "interval", f"{word}: every {format_duration(old)} to {format_duration(new)}", now)
        return old, new

    def set_interval(self, name: str, new: int, now: int) -> int:
        """Overrides the trigger by an interval; returns the old one (0: had none). Raises Refused."""
        entry = self.entry(name)
        low, high = entry.schedule.trigger.bounds
        if not low <= new <= high:
            raise Refused(
                "InvalidArgument",
                f"{name} can run every {format_duration(low)} to every {format_duration(high)}, "
                f"not every {format_duration(new)}",
            )
        old = entry.schedule.trigger.interval or 0
        state = replace(entry.state, interval=new)
        self._override(entry, state, "interval", f"set to every {format_duration(new)}", now)
        return old

    def set_enabled(self, name: str, enabled: bool, now: int) -> None:
        """Overrides the job's `enabled`. Due times of a disabled job are not made up for. Raises Refused NoSuchJob."""
        entry = self.entry(name)
        state = entry.state
        if enabled and not entry.enabled:
            state = self._roster.rested(entry, now)
        word = "enable" if enabled else "disable"
        self._override(entry, replace(state, enabled=enabled), word, f"{word}d by hand", now)

    def reset(self, name: str, now: int) -> None:
        """Forgets what was changed at run time. Raises Refused NoSuchJob."""
        entry = self.entry(name)
        state = entry.state if entry.enabled else self._roster.rested(entry, now)
        state = replace(state, interval=None, enabled=None, preference=0)
        self._override(entry, state, "reset", "back to the configuration", now)

    def progress(self, run_id: str, text: str) -> None:
        """Takes note of how far a run is, in its own words. Raises Refused NoSuchRun."""
        entry = self._roster.running(run_id)
        if entry is None:
            raise Refused("NoSuchRun", f"the run {run_id} is not under way")
        run = entry.running[run_id] = replace(entry.running[run_id], progress=text)
        self._effects += [RunSaved(run), RunChanged("progress", run)]
        self._notify(entry.job, "progress", run, text)

    # Reports of the executor and of the machine

    def started(self, run_id: str, at: int, invocation: str = "") -> None:
        """Takes note that the process of a run exists since `at`; `invocation` is systemd's id of the start."""
        entry = self._roster.running(run_id)
        if entry is not None:
            run = entry.running[run_id] = replace(entry.running[run_id], started=at, invocation=invocation)
            self._effects.append(RunChanged("started", run))
            self._notify(entry.job, "start", run, f"{entry.job.name} started")

    def ended(self, run_id: str, outcome: Outcome, now: int) -> None:
        """Takes note of a run's end. A retry, jobs that follow and runs that wait for the place come next."""
        entry = self._roster.running(run_id)
        if entry is None:
            return
        run = _with(entry.running.pop(run_id), outcome, now)
        self._places.taken -= 1
        self._conclude(entry, run, now)
        if not entry.running:
            self._roster.removed.pop(entry.job.name, None)
        self._admit(now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Takes note that the wall clock was set by `delta` and shows `now`; elapsed time went on as before."""
        by = f"{delta / SECOND:+.6f}".rstrip("0").rstrip(".")
        self._effects.append(Decided(now, "jobs", "clock", "", f"the clock was set by {by} s"))
        self._roster.clock_stepped(delta, now)
        for entry in self.entries.values():
            if entry.retry is not None:
                entry.retry = replace(entry.retry, not_before=entry.retry.not_before + delta)
                self._effects.append(RunSaved(entry.retry))
            if entry.due is not None and entry.due <= now:
                self._due(entry, now, clock_step=True)
        self._roster.index()
        self._admit(now)

    def configure(self, jobs: Mapping[str, Job], concurrency: int, now: int) -> list[str]:
        """Takes other jobs. Runs under way go on; returns a sentence for each job that differs."""
        changes = []
        self._places.concurrency = concurrency
        for name in [name for name in self.entries if name not in jobs]:
            changes.append(f"{name} removed")
            for run in self.entries[name].pending:
                self._cancel(self.entries[name], run, "the job was removed", now)
            self._roster.remove(self.entries[name])
        for name, job in jobs.items():
            if name not in self.entries:
                changes.append(f"{name} added: {job.trigger.phrase()}")
                self._roster.add(job, now)
            elif job != self.entries[name].job:
                changes.append(f"{name} changed")
                self._roster.change(self.entries[name], job, now)
        self._roster.index()
        self._admit(now)
        return changes

    def drain(self) -> None:
        """Starts nothing new from here on; runs that wait are kept for the next agentd."""
        self.draining = True

    def hold(self, who: str, why: str) -> None:
        """Starts nothing new until `who` releases it; `why` is a sentence."""
        self._places.hold(who, why)

    def release(self, who: str, now: int) -> None:
        """Starts things again unless somebody else holds them; what came due meanwhile follows its policy for missed
        runs."""
        if self._places.release(who):
            self.tick(now)

    def gone(self, part: str, now: int) -> None:
        """Starts things again that a part held which was shut off: holders sign with the name of their part."""
        self.release(part, now)

    def run_hook(self, name: str, cause: str, now: int) -> Run | None:
        """Starts a job that prepares or checks a reboot, at once, whatever else is held; returns its run.

        Where the job runs already, that run is returned; None: there is no such job, or agentd is stopping.
        """
        if name not in self.entries or self.draining:
            return None
        if under_way := self.entries[name].running:
            return next(reversed(under_way.values()))
        run = self._new(self.entries[name], now, cause, now)
        self._start(self.entries[name], run, now)
        return run

    def outcome(self, run: Run) -> Run | None:
        """Returns how a run, with its retries, ended; None while it or a retry is still running or due.

        Retries that are held back do not count. Only the last run of each job is known.
        """
        if (entry := self.entries.get(run.job)) is not None:

            def of_it(other: Run) -> bool:
                return other.seq == run.seq or (other.cause == "retry" and other.due == run.due)

            coming = [*entry.running.values(), *(() if self._places.held else entry.pending)]
            if any(map(of_it, coming)):
                return None
            if entry.last is not None and of_it(entry.last):
                return entry.last
        return replace(run, state="ended", result="interrupted", reason="how the run ended is not known")

    def stop_all(self, result: str, reason: str, now: int) -> None:
        """Stops the runs under way; they count as `result`."""
        for entry in self._roster.all():
            for run_id in entry.running:
                self._effects.append(Decided(now, "jobs", "stop", entry.job.name, reason, run_id))
                self._effects.append(RunStops(run_id, result))

    def save_all(self) -> None:
        """Stores everything once more: the store that had it is gone."""
        for entry in self._roster.all():
            self._effects.append(JobSaved(entry.job.name, entry.state))
            self._effects += map(RunSaved, (*entry.running.values(), *entry.pending))

    # Due times

    def _due(self, entry: Entry, now: int, *, clock_step: bool) -> None:
        job = entry.job
        most = CATCH_UP if job.missed.policy == "all" and not clock_step else 2
        dues = entry.schedule.outstanding(entry.state, now, most)
        chosen, reason = catch_up(job.missed, dues, now, clock_step=clock_step) if dues else ([], "")
        entry.state = dealt_with(entry.state, entry.schedule.trigger, dues, chosen, now)
        if dues and not chosen:
            self._skip(entry, reason, now)
        cause = "missed" if reason or len(chosen) > 1 else "schedule"
        for due in chosen:
            self._offer(entry, due, cause, reason, now, catching_up=len(chosen) > 1)
        self._effects.append(JobSaved(job.name, entry.state))
        self._roster.plan(entry)

    def _offer(self, entry: Entry, due: int, cause: str, reason: str, now: int, *, catching_up: bool = False) -> None:
        """Has a due time lead to a run, where overlap says so."""
        self._give_up_retry(entry, "the next due time came", now)
        verdict, why = runs.overlap(entry.job, entry.active, len(entry.waiting))
        if verdict == "skip" and not (catching_up and len(entry.waiting) < runs.QUEUE):
            self._skip(entry, why, now)
            return
        if verdict == "replace" and not catching_up:
            self._stop(entry, "stopped", why, now)
        run = self._new(entry, due, cause, now, reason)
        if verdict == "queue":
            self._effects.append(Decided(now, "jobs", "queue", run.job, why, run.run_id))

    def _skip(self, entry: Entry, reason: str, now: int) -> None:
        entry.state = replace(entry.state, last_skip=reason, last_skip_at=now)
        self._effects += [
            Decided(now, "jobs", "skip", entry.job.name, reason),
            JobSaved(entry.job.name, entry.state),
        ]

    def _conclude(self, entry: Entry, run: Run, now: int) -> None:
        """Stores an ended run and does what follows from its end."""
        entry.last = run
        self._effects += [RunSaved(run), RunChanged("finished", run)]
        again = runs.retry(entry.job, run) if self.entries.get(run.job) is entry else None
        if again is not None:
            pause, reason = again
            self._give_up_retry(entry, "a later run failed", now)
            entry.retry = replace(
                Run(seq=self._seq, job=run.job, due=run.due, cause="retry", attempt=run.attempt + 1),
                not_before=now + pause,
                reason=reason,
            )
            self._seq += 1
            self._effects += [RunSaved(entry.retry), Decided(now, "jobs", "retry", run.job, reason, entry.retry.run_id)]
            self._roster.push(entry)
        elif run.result == "success":
            self._notify(entry.job, "success", run, f"{run.job} succeeded")
            for follower in self._roster.followers.get(run.job, ()):
                if follower.enabled and not self.draining:
                    self._offer(follower, now, "after", f"after {run.run_id}", now)
        elif run.result not in {"stopped", "cancelled"}:
            self._notify(entry.job, "failure", run, f"{run.job} failed: {run.reason or run.result}")

    # Runs on their way to a place

    def _new(self, entry: Entry, due: int, cause: str, now: int, reason: str = "") -> Run:
        run = Run(seq=self._seq, job=entry.job.name, due=due, cause=cause, not_before=now, reason=reason)
        self._seq += 1
        self._places.wait(entry, run)
        return run

    def _admit(self, now: int) -> None:
        """Gives free places to the runs that wait, first come first served; stores the runs that go on waiting."""
        if not (self.draining or self._places.held):
            for entry, run in self._places.next(self.entries):
                self._start(entry, run, now)
        self._effects += map(RunSaved, self._places.unsaved())

    def _start(self, entry: Entry, run: Run, now: int) -> None:
        self._places.forget(entry, run)
        self._places.taken += 1
        run = replace(run, state="running", started=now)
        entry.running[run.run_id] = run
        self._effects += [RunSaved(run), RunStarts(run, entry.job)]

    def _stop(self, entry: Entry, result: str, reason: str, now: int, only: str = "") -> list[str]:
        """Stops runs under way, and takes back runs that wait; returns their ids."""
        ids = []
        for run in entry.pending:
            if only in ("", run.run_id):
                ids.append(run.run_id)
                self._cancel(entry, run, reason, now)
        for run_id in entry.running:
            if only in ("", run_id):
                ids.append(run_id)
                self._effects += [
                    Decided(now, "jobs", "stop", entry.job.name, reason, run_id),
                    RunStops(run_id, result),
                ]
        return ids

    def _cancel(self, entry: Entry, run: Run, reason: str, now: int) -> None:
        self._places.forget(entry, run)
        if entry.retry is not None and entry.retry.seq == run.seq:
            entry.retry = None
        run = replace(run, state="ended", ended=now, result="cancelled", reason=reason)
        self._effects += [
            RunSaved(run),
            Decided(now, "jobs", "stop", run.job, reason, run.run_id),
            RunChanged("finished", run),
        ]

    def _give_up_retry(self, entry: Entry, reason: str, now: int) -> None:
        if entry.retry is not None:
            self._cancel(entry, entry.retry, reason, now)

    def _resume(self, saved: Saved, now: int) -> None:
        """Takes up what the last daemon left: runs that waited wait again; runs that were under way still are, or have
        ended: as their executor saw it, or cut off."""
        under_way = {run.run_id: run for run in saved.under_way}
        for run in saved.open_runs:
            entry = self.entries.get(run.job)
            if run.run_id in under_way:
                (entry or self._roster.gone(run.job)).running[run.run_id] = under_way[run.run_id]
                self._places.taken += 1
            elif run.state == "running":
                outcome = saved.outcomes.get(run.run_id, _CUT_OFF)
                if outcome.result == "interrupted" and not outcome.reason:
                    outcome = replace(outcome, reason=_CUT_OFF.reason)
                cut = _with(run, outcome, now)
                if entry is not None:
                    self._conclude(entry, cut, now)
                else:
                    self._effects += [RunSaved(cut), RunChanged("finished", cut)]
            elif entry is None:
                gone = replace(run, state="ended", ended=now, result="cancelled", reason="the job was removed")
                self._effects.append(RunSaved(gone))
            elif run.cause == "retry" and (run.not_before > now or (entry.due is not None and entry.due <= now)):
                # A retry is never farther away than its longest pause, whatever the clock did meanwhile.
                latest = now + max(entry.job.retries.max, entry.job.retries.backoff)
                self._give_up_retry(entry, "a later run failed", now)
                entry.retry = replace(run, not_before=min(run.not_before, latest))
                self._roster.push(entry)
            else:
                self._places.wait(entry, run)

    def _override(self, entry: Entry, state: JobState, kind: str, reason: str, now: int) -> None:
        self._roster.override(entry, state, now)
        self._effects.append(Decided(now, "jobs", kind, entry.job.name, reason))

    def _notify(self, job: Job, event: str, run: Run, text: str) -> None:
        if event in job.notify:
            self._effects.append(Notified(event, run, text))


def _with(run: Run, outcome: Outcome, now: int) -> Run:
    """Returns the run with its end; fields that the outcome leaves empty stay as they were."""
    known = {name: value for name, value in asdict(outcome).items() if value or name == "exit_code"}
    return replace(run, state="ended", **{"ended": now, **known})
