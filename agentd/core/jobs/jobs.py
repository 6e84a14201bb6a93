"""The core of jobs: events and their instants go in, effects come out.

Every method that takes `now` leads to effects, which are taken with effects(); the caller stores the effects that are
part.Stored before the others are carried out.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from agentd.core.jobs import interval, runs
from agentd.core.jobs.course import Course
from agentd.core.jobs.dues import Dues
from agentd.core.jobs.ends import Ends
from agentd.core.jobs.expectations import Expectations
from agentd.core.jobs.model import JobDisabled, JobSaved, JobState, Outcome, Run, RunChanged, RunSaved, RunStops, Saved
from agentd.core.jobs.places import Places
from agentd.core.jobs.progress import Progress
from agentd.core.jobs.roster import Entry, Roster, behind
from agentd.core.jobs.settings import Job
from agentd.core.part import Core, Decided, Effect, Refused, Stored, by_whom
from agentd.core.quantities import SECOND, format_duration

_DRAINING = "agentd is stopping; nothing new starts"


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
        zone: str = "UTC",
        host: str = "",
        boot: int = 0,
        lead: int = 0,
    ) -> None:
        self.draining = False
        self._effects: list[Effect] = []
        self._roster = Roster(saved.states, host, boot, lead, zone, self._effects)
        self._places = Places(concurrency)
        self._course = Course(self._places, saved.next_seq, self._effects)
        self._expectations = Expectations(self._roster, self._places, self._course, self._effects)
        self._dues = Dues(self._roster, self._course, self._expectations, self._effects)
        self._ends = Ends(self._roster, self._places, self._course, self._dues, self._expectations, self._effects)
        self._progress = Progress(self._roster, self._ends, self._effects)
        self._unstorable: int | None = None  # since when nothing can be stored
        ahead = [job.name for job in jobs.values() if self._roster.add(job, now)]
        if ahead:
            self._effects.append(Decided(now, "jobs", "clock", "", behind(ahead)))
        for name, run in saved.last_runs.items():
            if name in self.entries:
                self.entries[name].last = run
        self._roster.index()
        self._ends.resume(saved, now)
        self._expectations.resume(now)
        self._admit(now)

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call: first all Stored ones in order, then the others in order."""
        if not self._effects:
            return []
        taken = self._effects.copy()
        self._effects.clear()
        return [e for e in taken if isinstance(e, Stored)] + [e for e in taken if not isinstance(e, Stored)]

    def wakeup(self) -> int | None:
        """Returns when tick() is next wanted; None: not before something else happens."""
        wanted = [self._progress.wakeup()]
        if not self.draining:
            wanted += [None if self._places.closed else self._roster.wakeup(), self._expectations.wakeup()]
        return min((when for when in wanted if when is not None), default=None)

    def tick(self, now: int) -> None:
        """Deals with everything that is due."""
        self._progress.tick(now)
        while not (self.draining or self._places.closed) and (entry := self._roster.take(now)) is not None:
            if entry.due is not None and entry.wake <= now:
                if entry.due <= now or self._places.free_for(entry):
                    self._dues.come(entry, max(now, entry.due))
                else:
                    entry.wake = entry.due  # the runs in its way may be over by then
            if entry.retry is not None and entry.retry.not_before <= now:  # and no due time took its place
                run, entry.retry = entry.retry, None
                self._places.wait(entry, run)
            self._roster.push(entry)
        self._admit(now)
        if not self.draining:
            self._expectations.tick(now)

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

    def is_running(self, name: str) -> bool:
        """Returns whether a run of that job is under way."""
        return name in self.entries and bool(self.entries[name].running)

    def waiting(self, now: int) -> list[Run]:
        """Returns the runs that wait for nothing but a place, in the order in which they get one."""
        if not self._places.closed:
            return [*self._places.waiting]
        held = [entry.retry for entry in self._roster.all()]
        return [*self._places.waiting, *(run for run in held if run is not None and run.not_before <= now)]

    def seen(self, run: Run) -> Run:
        """Returns a run as it is seen: one under way of which there is no process yet is "starting"."""
        return self._course.seen(run)

    def all_seen(self, above: int = 0) -> list[Run]:
        """Returns the runs that have not ended, and the last one of each job, as they are seen: the store may not know
        them so yet; only those with a number above that one."""
        found = [run for entry in self._roster.all() for run in entry.runs if run.seq > above]
        return list(map(self.seen, found))

    def known(self, run_id: str) -> Run | None:
        """Returns one of the runs that all_seen() has; None where there is no such run among them."""
        entries = self._roster.of(run_id.rpartition(".")[0])
        return next((self.seen(run) for entry in entries for run in entry.runs if run.run_id == run_id), None)

    def waits(self, run: Run) -> str:
        """Returns why a run that has not begun still waits, as a sentence; empty for one that has begun or ended."""
        entry = self.entries.get(run.job)
        if entry is None or run.state == "ended" or self._course.seen(run).state == "running":
            return ""
        return self._places.closed or (_DRAINING if self.draining else self._course.waits(entry, run))

    @property
    def held(self) -> str:
        """The reason why nothing starts for the time being, as a sentence; or empty."""
        return self._places.held

    @property
    def paused(self) -> bool:
        """Whether nothing starts because somebody paused the jobs, and for no other reason."""
        return self._places.paused

    @property
    def longest_stop(self) -> int:
        """The longest time, in microseconds, that a job has to stop."""
        return max((entry.job.stop_timeout for entry in self.entries.values()), default=0)

    def critical(self, run: Run) -> bool:
        """Tells whether the machine must not be rebooted while this run is under way."""
        return run.job in self.entries and self.entries[run.job].job.critical

    # Requests; `by` is the user who wants that, as far as it is a person and known

    def run(self, name: str, now: int, cause: str = "manual", by: str = "") -> Run:
        """Starts a run that a person or a rule wants, whether the job is enabled or not.

        Raises Refused NoSuchJob, Busy, Draining.
        """
        entry = self.entry(name)
        if self.draining or self._places.held:
            raise Refused("Draining", self._places.held or _DRAINING)
        if self._places.trouble:
            raise Refused("StoreUnavailable", self._places.trouble)
        verdict, reason = runs.overlap(entry.job, entry.active, len(entry.waiting))
        if verdict == "skip":
            under_way = next(iter(entry.running), "one that waits for a place")
            raise Refused("Busy", f"{name} was not started: {reason}: {under_way}; stop it with: agentctl stop {name}")
        if verdict == "replace":
            self._course.stop(entry, "stopped", "replaced by a run that was asked for", now, by=by)
        run = self._course.new(entry, now, cause, now)
        if cause == "manual":
            self._effects.append(Decided(now, "jobs", "start", name, f"asked to run{_by(by)}", run.run_id, by))
        self._admit(now)
        return run

    def stop(self, target: str, now: int, by: str = "") -> list[str]:
        """Stops a job's runs, or one run by its id. Raises Refused NoSuchJob, NoSuchRun."""
        for entry in self._roster.all():
            if target in entry.running or target in {run.run_id for run in entry.pending}:
                return self._stop(entry, now, by, only=target)
        name, _, number = target.rpartition(".")
        if number.isascii() and number.isdigit() and name in self.entries and target not in self.entries:
            raise Refused("NoSuchRun", f"the run {target} is not under way")
        return self._stop(self.entry(target), now, by)

    def step_interval(self, name: str, direction: int, now: int, by: str = "") -> tuple[int, int]:
        """Takes one bounded step: direction 1 is more often, -1 less. Returns old and new interval. Raises Refused."""
        entry = self.entry(name)
        old = entry.schedule.trigger.interval or 0
        new = interval.step(name, entry.schedule.trigger, direction)
        state = replace(entry.state, interval=new, preference=interval.preferred(entry.state.preference, direction))
        word = "increase" if direction > 0 else "decrease"
        text = f"{word}: every {format_duration(old)} to {format_duration(new)}"
        self._override(entry, state, "interval", text, now, by)
        return old, new

    def set_interval(self, name: str, new: int, now: int, by: str = "") -> int:
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
        state = replace(entry.state, interval=new, fixed=True)
        self._override(entry, state, "interval", f"set to every {format_duration(new)}", now, by)
        return old

    def prefer(self, name: str, preference: int, now: int, by: str = "") -> tuple[int, int]:
        """Sets by how many steps a person wants an adaptive job more often (4 at most) or less often (-4) than it would
        be; the interval moves by as many at once. Returns old and new interval. Raises Refused."""
        entry, most = self.entry(name), interval.MOST_PREFERENCE
        if not -most <= preference <= most:
            raise Refused("InvalidArgument", f"a preference lies between {-most} and {most}, not {preference}")
        if entry.job.trigger.key != "adaptive":
            raise Refused(
                "Unsupported",
                f"{name} is not adaptive, it runs {entry.job.trigger.phrase()}: a preference has no effect",
            )
        trigger = entry.schedule.trigger
        old = trigger.interval or 0
        new = interval.leaned(trigger, preference - entry.state.preference) or old
        state = replace(entry.state, interval=new if new != old else entry.state.interval, preference=preference)
        text = f"preference {preference:+d}: every {format_duration(old)} to {format_duration(new)}"
        self._override(entry, state, "interval", text, now, by)
        return old, new

    def adapt(self, name: str, new: int, now: int) -> None:
        """Gives an adaptive job another interval, in microseconds, within its bounds; one that a person fixed stays."""
        entry = self.entries.get(name)
        if entry is None or entry.state.fixed or entry.job.trigger.key != "adaptive":
            return
        low, high = entry.job.trigger.bounds
        self._roster.override(entry, replace(entry.state, interval=max(low, min(new, high))), now)

    def set_enabled(self, name: str, enabled: bool, now: int, by: str = "") -> list[str]:
        """Overrides the job's `enabled`. Due times of a disabled job are not made up for; what waited of it is taken
        back, but for the runs that were asked for: returns their ids. Raises Refused NoSuchJob."""
        entry = self.entry(name)
        state = entry.state
        if enabled and not entry.enabled:
            state = self._roster.rested(entry, now)
        word = "enable" if enabled else "disable"
        self._override(entry, replace(state, enabled=enabled), word, f"{word}d by hand", now, by)
        if not enabled:
            self._effects.append(JobDisabled(name))
        return self._course.take_back(entry, entry.off, now, by) if entry.off else []

    def reset(self, name: str, now: int, by: str = "") -> list[str]:
        """Forgets what was changed at run time; returns the ids of the runs taken back, where the configuration says
        that the job is off. Raises Refused NoSuchJob."""
        entry = self.entry(name)
        state = entry.state if entry.enabled else self._roster.rested(entry, now)
        state = replace(state, interval=None, fixed=False, enabled=None, preference=0)
        self._override(entry, state, "reset", "back to the configuration", now, by)
        return self._course.take_back(entry, entry.off, now, by) if entry.off else []

    def progress(self, run_id: str, text: str, now: int, tool: str = "") -> None:
        """Takes note of how far a run is, and of the tool that it uses, in its words. Raises Refused NoSuchRun."""
        entry = self._under_way(run_id)
        run = entry.running[run_id] = replace(entry.running[run_id], progress=": ".join(filter(None, (tool, text))))
        self._progress.said(entry, run, now, tool=bool(tool))

    def report_change(self, run_id: str) -> None:
        """Takes note that a run found what it looked for, in its own words. Raises Refused NoSuchRun."""
        self._effects.append(RunChanged("changed", self._under_way(run_id).running[run_id]))

    # Reports of the executor and of the machine

    def asked(self, run_id: str) -> bool:
        """Takes note that the start of a run is carried out now; returns whether that is still wanted."""
        return self._course.ask(self._roster.running(run_id), run_id)

    def started(self, run_id: str, at: int, invocation: str = "") -> None:
        """Takes note that the process of a run exists since `at`; `invocation` is systemd's id of the start."""
        entry = self._roster.running(run_id)
        if entry is not None:
            self._course.begin(run_id)
            run = entry.running[run_id] = replace(entry.running[run_id], started=at, invocation=invocation)
            self._effects.append(RunChanged("started", run))
            self._expectations.began(entry, run)
            self._ends.notify(entry, "start", run, f"{entry.job.name} started")

    def ended(self, run_id: str, outcome: Outcome, now: int) -> None:
        """Takes note of a run's end. A retry, jobs that follow and runs that wait for the place come next."""
        entry = self._roster.running(run_id)
        if entry is None:
            return
        self._progress.over(entry, entry.running[run_id])
        self._ends.conclude(entry, self._course.over(entry, run_id), outcome, now, draining=self.draining)
        if not entry.running:
            self._roster.removed.pop(entry.job.name, None)
        self._admit(now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Takes note that the wall clock was set by `delta` and shows `now`; elapsed time went on as before."""
        by = f"{delta / SECOND:+.6f}".rstrip("0").rstrip(".")
        self._effects.append(Decided(now, "jobs", "clock", "", f"the clock was set by {by} s"))
        self._progress.clock_stepped(delta)
        self._expectations.clock_stepped(delta, now)
        self._roster.clock_stepped(delta, now)
        if self._unstorable is not None:
            self._unstorable += delta
        for entry in self.entries.values():
            if entry.retry is not None:
                entry.retry = replace(entry.retry, not_before=entry.retry.not_before + delta)
                self._effects.append(RunSaved(entry.retry))
            if entry.due is not None and entry.due <= now:
                self._dues.come(entry, now, clock_step=True)
        self._roster.index()
        self._admit(now)

    def configure(self, jobs: Mapping[str, Job], concurrency: int, zone: str, now: int) -> list[str]:
        """Takes other jobs, and the time zone of those that name none. Runs under way go on; returns a sentence for
        each job that differs."""
        changes = []
        self._places.concurrency = concurrency
        self._roster.move(zone, now)
        for name in [name for name in self.entries if name not in jobs]:
            changes.append(f"{name} removed")
            for run in self._course.unbegun(self.entries[name]):
                self._course.cancel(self.entries[name], run, "the job was removed", now)
            self._expectations.removed(self.entries[name])
            self._roster.remove(self.entries[name])
        for name, job in jobs.items():
            if name not in self.entries:
                changes.append(f"{name} added: {job.trigger.phrase()}")
                self._roster.add(job, now)
            elif job != self.entries[name].job:
                changes.append(f"{name} changed")
                before = self.entries[name].job
                self._roster.change(self.entries[name], job, now)
                self._expectations.changed(self.entries[name], before)
                if self.entries[name].off:
                    self._course.take_back(self.entries[name], self.entries[name].off, now)
        self._roster.index()
        self._admit(now)
        return changes

    def drain(self) -> None:
        """Starts nothing new from here on; runs that wait are kept for the next agentd."""
        self.draining = True
        self._progress.drain()

    def storable(self, trouble: str, now: int) -> None:
        """Starts nothing new while nothing can be stored; then `missed` decides about what came due meanwhile, and
        about what was decided and could not begin."""
        self._places.trouble = trouble
        if trouble:
            self._unstorable = now if self._unstorable is None else self._unstorable
            return
        since, self._unstorable = self._unstorable, None
        if since is not None and not (self.draining or self._places.held):
            for entry in self.entries.values():
                self._dues.come_late(entry, now, since)
                self._roster.push(entry)
            self.tick(now)

    def hold(self, who: str, why: str, *, pause: bool = False) -> None:
        """Starts nothing new until `who` releases it; `why` is a sentence. A `pause` leads to no end of anything."""
        self._places.hold(who, why, pause=pause)

    def release(self, who: str, now: int) -> None:
        """Starts things again unless somebody else holds them; what came due meanwhile follows its policy for missed
        runs."""
        paused, free = self._places.by_hand, self._places.release(who)
        if paused and not self._places.by_hand:
            self._expectations.excuse(now)
        if free:
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
        run = self._course.new(self.entries[name], now, cause, now)
        self._course.start(self.entries[name], run, now)
        return run

    def outcome(self, run: Run) -> Run | None:
        """Returns how a run, with its retries, ended; None while it or a retry is still running or due.

        Retries that are held back do not count. Only the last run of each job is known.
        """
        return self._ends.outcome(run)

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

    # How it is done

    def _under_way(self, run_id: str) -> Entry:
        if (entry := self._roster.running(run_id)) is None:
            raise Refused("NoSuchRun", f"the run {run_id} is not under way")
        return entry

    def _admit(self, now: int) -> None:
        """Gives free places to the runs that wait; stores the runs that go on waiting."""
        if not (self.draining or self._places.closed):
            self._course.admit(self.entries, now)
        self._effects += map(RunSaved, self._places.unsaved())

    def _stop(self, entry: Entry, now: int, by: str, only: str = "") -> list[str]:
        ids = self._course.stop(entry, "stopped", f"asked to stop{_by(by)}", now, only, by)
        self._expectations.stopped(entry, now)
        return ids

    def _override(self, entry: Entry, state: JobState, kind: str, reason: str, now: int, by: str) -> None:
        self._roster.override(entry, state, now)
        self._expectations.changed(entry, entry.job)
        self._effects.append(Decided(now, "jobs", kind, entry.job.name, f"{reason}{by_whom(by)}", by=by))


def _by(user: str) -> str:
    """Returns " by alice", or "" where it is not known who, or no person."""
    return f" by {user}" if user else ""
