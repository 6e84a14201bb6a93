"""The engine: what happened and when it happened go in, what is to be done comes out.

Every method that takes `now` returns nothing; the effects it led to are taken with `effects()`. The caller
stores those of model.STORED before it carries out any other.
"""

import difflib
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from msgspec.structs import replace

from agentd.core import interval, runs
from agentd.core.model import (
    STORED,
    Config,
    Decided,
    Effect,
    Job,
    JobSaved,
    JobState,
    Notified,
    Outcome,
    Refused,
    Run,
    RunSaved,
    RunStarts,
    RunStops,
    Saved,
    Told,
)
from agentd.core.schedule import CATCH_UP, Schedule, begin, catch_up, changed, jitter_offset, stepped
from agentd.core.triggers import Context, timezone
from agentd.core.units import SECOND, format_duration

_CUT_OFF = Outcome(result="interrupted", reason="agentd ended while it was under way")


class Entry:
    """A job in the engine: its configuration, its memory and what is under way. Others only read it."""

    __slots__ = ("due", "job", "last", "retry", "running", "schedule", "state", "waiting")

    def __init__(self, job: Job, state: JobState) -> None:
        self.job = job
        self.state = state
        self.schedule: Schedule
        self.due: int | None = None
        self.running: dict[str, Run] = {}
        self.waiting: list[Run] = []
        self.retry: Run | None = None
        self.last: Run | None = None

    @property
    def enabled(self) -> bool:
        return self.job.enabled if self.state.enabled is None else self.state.enabled

    @property
    def active(self) -> int:
        return len(self.running) + len(self.waiting)


class Engine:
    """Decides which job runs when. `host` seeds the jitter, `boot` is the instant of the machine's boot."""

    def __init__(self, config: Config, saved: Saved, now: int, host: str = "", boot: int = 0) -> None:
        self.config = config
        self.draining = False
        self.entries: dict[str, Entry] = {}
        self._host = host
        self._boot = boot
        self._states = dict(saved.states)
        self._seq = saved.next_seq
        self._effects: list[Effect] = []
        self._heap: list[tuple[int, str]] = []
        self._waiting: dict[int, Run] = {}  # for a place, in order of arrival
        self._unsaved: dict[int, Run] = {}
        self._under_way = 0
        self._removed: dict[str, Entry] = {}  # no longer configured, but with a run under way
        self._followers: dict[str, list[Entry]] = {}
        for job in config.jobs.values():
            self._add(job, now)
        for name, run in saved.last_runs.items():
            if name in self.entries:
                self.entries[name].last = run
        self._index()
        self._resume(saved.open_runs, saved.outcomes, now)
        self._admit(now)

    # What the caller asks of every event

    def effects(self) -> list[Effect]:
        """The effects since the last call: those to be stored first, each group in order."""
        taken, self._effects = self._effects, []
        return [e for e in taken if isinstance(e, STORED)] + [e for e in taken if not isinstance(e, STORED)]

    def wakeup(self) -> int | None:
        """When tick() is next wanted; None: not before something else happens."""
        while self._heap and not self.draining:
            when, name = self._heap[0]
            if when in self._wanted(self.entries.get(name)):
                return when
            heappop(self._heap)
        return None

    def tick(self, now: int) -> None:
        """Deals with everything that is due."""
        while (when := self.wakeup()) is not None and when <= now:
            _, name = heappop(self._heap)
            self._act(self.entries[name], now)
        self._admit(now)

    # Requests

    def entry(self, name: str) -> Entry:
        """The job of that name. Raises Refused NoSuchJob with the nearest name."""
        if name not in self.entries:
            near = difflib.get_close_matches(name, self.entries, 1)
            raise Refused("NoSuchJob", f'there is no job "{name}"' + (f" (did you mean {near[0]}?)" if near else ""))
        return self.entries[name]

    def run(self, name: str, now: int) -> Run:
        """Starts a run by hand, whether the job is enabled or not. Raises Refused NoSuchJob, Busy, Draining."""
        entry = self.entry(name)
        if self.draining:
            raise Refused("Draining", "agentd is stopping; nothing new starts")
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
        for entry in (*self.entries.values(), *self._removed.values()):
            known = {run.run_id for run in (*entry.running.values(), *entry.waiting, *self._retries(entry))}
            if target in known:
                return self._stop(entry, "stopped", "asked to stop", now, only=target)
        name, _, number = target.rpartition(".")
        if number.isdigit() and name in self.entries and target not in self.entries:
            raise Refused("NoSuchRun", f"the run {target} is not under way")
        return self._stop(self.entry(target), "stopped", "asked to stop", now)

    def step_interval(self, name: str, direction: int, now: int) -> tuple[int, int]:
        """One bounded step: direction 1 is more often, -1 less. Returns old and new interval. Raises Refused."""
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
        """Overrides the job's `enabled`. What came due while it was disabled is not made up for."""
        entry = self.entry(name)
        state = entry.state
        if enabled and not entry.enabled:
            state = self._fresh(entry, state, now)
        word = "enable" if enabled else "disable"
        self._override(entry, replace(state, enabled=enabled), word, f"{word}d by hand", now)

    def reset(self, name: str, now: int) -> None:
        """Forgets what was changed at run time."""
        entry = self.entry(name)
        state = entry.state if entry.enabled else self._fresh(entry, entry.state, now)
        state = replace(state, interval=None, enabled=None, preference=0)
        self._override(entry, state, "reset", "back to the configuration", now)

    def progress(self, run_id: str, text: str) -> None:
        """A run tells how far it is. Raises Refused NoSuchRun."""
        entry = self._entry_of(run_id)
        if entry is None:
            raise Refused("NoSuchRun", f"the run {run_id} is not under way")
        run = entry.running[run_id] = replace(entry.running[run_id], progress=text)
        self._effects += [RunSaved(run), Told("progress", run)]
        self._notify(entry.job, "progress", run, text)

    # What the executor and the machine report

    def started(self, run_id: str, at: int) -> None:
        """The process of a run exists since `at`."""
        entry = self._entry_of(run_id)
        if entry is not None:
            run = entry.running[run_id] = replace(entry.running[run_id], started=at)
            self._effects.append(Told("started", run))
            self._notify(entry.job, "start", run, f"{entry.job.name} started")

    def ended(self, run_id: str, outcome: Outcome, now: int) -> None:
        """A run is over. Its retry, the jobs that follow it and those that wait for its place come next."""
        entry = self._entry_of(run_id)
        if entry is None:
            return
        run = _with(entry.running.pop(run_id), outcome, now)
        self._under_way -= 1
        self._conclude(entry, run, now)
        if not entry.running:
            self._removed.pop(entry.job.name, None)
        self._admit(now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """The wall clock was set by delta and shows `now`; elapsed time went on as if it had not."""
        self._boot += delta
        self._effects.append(Decided(now, "clock", "", "", f"the clock was set by {delta / SECOND:+.6g} s"))
        for entry in self.entries.values():
            trigger = entry.schedule.trigger
            entry.state = stepped(entry.state, trigger, delta, now)
            if entry.retry is not None:
                entry.retry = replace(entry.retry, not_before=entry.retry.not_before + delta)
                self._effects.append(RunSaved(entry.retry))
            self._effects.append(JobSaved(entry.job.name, entry.state))
            self._plan(entry)
            if entry.enabled and entry.due is not None and entry.due <= now:
                self._due(entry, now, clock_step=True)
        self._rebuild()
        self._admit(now)

    def reconfigure(self, config: Config, now: int) -> list[str]:
        """Takes another configuration. Runs under way go on; returns a sentence for each job that differs."""
        changes = []
        old, self.config = self.config, config
        for name in [name for name in self.entries if name not in config.jobs]:
            changes.append(f"{name} removed")
            self._remove(self.entries.pop(name), now)
        for name, job in config.jobs.items():
            if name not in self.entries:
                changes.append(f"{name} added: {job.trigger.phrase()}")
                self._add(job, now)
            elif job != old.jobs.get(name):
                changes.append(f"{name} changed")
                self._change(self.entries[name], job, now)
        self._index()
        self._admit(now)
        return changes

    def drain(self) -> None:
        """Nothing new starts from here on; what waits is kept for the next start."""
        self.draining = True

    def stop_all(self, result: str, reason: str, now: int) -> None:
        """Stops what is under way."""
        for entry in (*self.entries.values(), *self._removed.values()):
            for run_id in entry.running:
                self._effects.append(Decided(now, "stop", entry.job.name, run_id, reason))
                self._effects.append(RunStops(run_id, result))

    def save_all(self) -> None:
        """Stores everything once more: the store that had it is gone."""
        for entry in (*self.entries.values(), *self._removed.values()):
            self._effects.append(JobSaved(entry.job.name, entry.state))
            self._effects += map(RunSaved, (*entry.running.values(), *entry.waiting, *self._retries(entry)))

    @property
    def under_way(self) -> int:
        """How many runs are under way."""
        return self._under_way

    def running(self) -> list[Run]:
        """The runs under way, those of removed jobs included."""
        return [run for entry in (*self.entries.values(), *self._removed.values()) for run in entry.running.values()]

    # Due times

    def _act(self, entry: Entry, now: int) -> None:
        if entry.retry is not None and entry.retry.not_before <= now:
            run, entry.retry = entry.retry, None
            self._wait(entry, run)
        if entry.enabled and entry.due is not None and entry.due <= now:
            self._due(entry, now, clock_step=False)
        self._push(entry)

    def _due(self, entry: Entry, now: int, *, clock_step: bool) -> None:
        job = entry.job
        most = CATCH_UP if job.missed.policy == "all" and not clock_step else 2
        dues = entry.schedule.outstanding(entry.state, now, most)
        if not dues:
            self._plan(entry)
            return
        chosen, reason = catch_up(job.missed, dues, now, clock_step=clock_step)
        entry.state = replace(entry.state, handled=dues[-1])
        if not chosen:
            self._skip(entry, reason, now)
        cause = "missed" if reason or len(chosen) > 1 else "schedule"
        for due in chosen:
            self._offer(entry, due, cause, reason, now, catching_up=len(chosen) > 1)
        self._effects.append(JobSaved(job.name, entry.state))
        self._plan(entry)

    def _offer(self, entry: Entry, due: int, cause: str, reason: str, now: int, *, catching_up: bool = False) -> None:
        """A due time wants a run: overlap decides."""
        self._give_up_retry(entry, "the next due time came", now)
        verdict, why = runs.overlap(entry.job, entry.active, len(entry.waiting))
        if verdict == "skip" and not (catching_up and len(entry.waiting) < runs.QUEUE):
            self._skip(entry, why, now)
            return
        if verdict == "replace" and not catching_up:
            self._stop(entry, "stopped", why, now)
        run = self._new(entry, due, cause, now, reason)
        if verdict == "queue":
            self._effects.append(Decided(now, "queue", run.job, run.run_id, why))

    def _skip(self, entry: Entry, reason: str, now: int) -> None:
        entry.state = replace(entry.state, last_skip=reason, last_skip_at=now)
        self._effects += [
            Decided(now, "skip", entry.job.name, "", reason),
            JobSaved(entry.job.name, entry.state),
        ]

    def _conclude(self, entry: Entry, run: Run, now: int) -> None:
        """Stores an ended run and does what follows from its end."""
        entry.last = run
        self._effects += [RunSaved(run), Told("finished", run)]
        again = runs.retry(entry.job, run) if self.entries.get(run.job) is entry else None
        if again is not None:
            pause, reason = again
            entry.retry = replace(
                Run(seq=self._seq, job=run.job, due=run.due, cause="retry", attempt=run.attempt + 1),
                not_before=now + pause,
                reason=reason,
            )
            self._seq += 1
            self._effects += [RunSaved(entry.retry), Decided(now, "retry", run.job, entry.retry.run_id, reason)]
            self._push(entry)
        elif run.result == "success":
            self._notify(entry.job, "success", run, f"{run.job} succeeded")
            for follower in self._followers.get(run.job, ()):
                if follower.enabled and not self.draining:
                    self._offer(follower, now, "after", f"after {run.run_id}", now)
        elif run.result not in {"stopped", "cancelled"}:
            self._notify(entry.job, "failure", run, f"{run.job} failed: {run.reason or run.result}")

    # Runs on their way to a place

    def _new(self, entry: Entry, due: int, cause: str, now: int, reason: str = "") -> Run:
        run = Run(seq=self._seq, job=entry.job.name, due=due, cause=cause, not_before=now, reason=reason)
        self._seq += 1
        self._wait(entry, run)
        return run

    def _wait(self, entry: Entry, run: Run) -> None:
        entry.waiting.append(run)
        self._waiting[run.seq] = run
        self._unsaved[run.seq] = run

    def _admit(self, now: int) -> None:
        """Gives free places to those that wait, first come first served; stores the ones that go on waiting."""
        if not self.draining:
            chosen: list[tuple[Entry, Run]] = []
            taken: dict[str, int] = {}
            for run in self._waiting.values():
                if self._under_way + len(chosen) >= self.config.concurrency:
                    break
                entry = self.entries[run.job]
                if len(entry.running) + taken.get(run.job, 0) < entry.job.concurrency:
                    chosen.append((entry, run))
                    taken[run.job] = taken.get(run.job, 0) + 1
            for entry, run in chosen:
                self._start(entry, run, now)
        self._effects.extend(RunSaved(run) for run in self._unsaved.values())
        self._unsaved.clear()

    def _start(self, entry: Entry, run: Run, now: int) -> None:
        del self._waiting[run.seq]
        self._unsaved.pop(run.seq, None)
        entry.waiting.remove(run)
        run = replace(run, state="running", started=now)
        entry.running[run.run_id] = run
        self._under_way += 1
        self._effects += [RunSaved(run), RunStarts(run, entry.job)]

    def _stop(self, entry: Entry, result: str, reason: str, now: int, only: str = "") -> list[str]:
        """Stops runs under way and takes back those that wait."""
        ids = []
        for run in (*entry.waiting, *self._retries(entry)):
            if only in ("", run.run_id):
                ids.append(run.run_id)
                self._cancel(entry, run, reason, now)
        for run_id in entry.running:
            if only in ("", run_id):
                ids.append(run_id)
                self._effects += [Decided(now, "stop", entry.job.name, run_id, reason), RunStops(run_id, result)]
        return ids

    def _cancel(self, entry: Entry, run: Run, reason: str, now: int) -> None:
        self._waiting.pop(run.seq, None)
        self._unsaved.pop(run.seq, None)
        if entry.retry is not None and entry.retry.seq == run.seq:
            entry.retry = None
        entry.waiting = [other for other in entry.waiting if other.seq != run.seq]
        run = replace(run, state="ended", ended=now, result="cancelled", reason=reason)
        self._effects += [RunSaved(run), Decided(now, "stop", run.job, run.run_id, reason), Told("finished", run)]

    def _give_up_retry(self, entry: Entry, reason: str, now: int) -> None:
        if entry.retry is not None:
            self._cancel(entry, entry.retry, reason, now)

    def _resume(self, open_runs: Iterable[Run], outcomes: Mapping[str, Outcome], now: int) -> None:
        """What the last daemon left: runs that waited wait again, runs that were under way have ended: as their
        executor saw it, or cut off."""
        for run in open_runs:
            entry = self.entries.get(run.job)
            if run.state == "running":
                outcome = outcomes.get(run.run_id, _CUT_OFF)
                if outcome.result == "interrupted":
                    outcome = replace(outcome, reason=_CUT_OFF.reason)
                cut = _with(run, outcome, now)
                if entry is not None:
                    self._conclude(entry, cut, now)
                else:
                    self._effects.append(RunSaved(cut))
            elif entry is None:
                gone = replace(run, state="ended", ended=now, result="cancelled", reason="the job was removed")
                self._effects.append(RunSaved(gone))
            elif run.cause == "retry" and run.not_before > now:
                # A retry is never farther away than its longest pause, whatever the clock did meanwhile.
                latest = now + max(entry.job.retries.max, entry.job.retries.backoff)
                entry.retry = replace(run, not_before=min(run.not_before, latest))
                self._push(entry)
            else:
                self._wait(entry, run)

    # The set of jobs

    def _add(self, job: Job, now: int) -> None:
        schedule = _fingerprint(job)
        state = self._states.pop(job.name, None)
        entry = self._removed.pop(job.name, None) or Entry(job, state or begin(schedule, now))
        if state is not None:
            entry.state = state
        entry.job = job
        trigger = interval.with_interval(job.trigger, entry.state.interval)
        if entry.state.schedule != schedule:
            entry.state = changed(entry.state, schedule, trigger, now)
        if entry.state.handled > now:
            # The clock went back while nobody looked: by how much is unknown, at least to here.
            entry.state = stepped(entry.state, trigger, now - entry.state.handled, now)
        self.entries[job.name] = entry
        self._effects.append(JobSaved(job.name, entry.state))

    def _change(self, entry: Entry, job: Job, now: int) -> None:
        was_enabled, entry.job = entry.enabled, job
        fingerprint = _fingerprint(job)
        if entry.state.schedule != fingerprint:
            trigger = interval.with_interval(job.trigger, entry.state.interval)
            entry.state = changed(entry.state, fingerprint, trigger, now)
        if entry.enabled and not was_enabled:
            self._plan(entry)
            entry.state = self._fresh(entry, entry.state, now)
        self._effects.append(JobSaved(job.name, entry.state))

    def _remove(self, entry: Entry, now: int) -> None:
        for run in (*entry.waiting, *self._retries(entry)):
            self._cancel(entry, run, "the job was removed", now)
        self._states[entry.job.name] = entry.state
        if entry.running:
            self._removed[entry.job.name] = entry

    def _index(self) -> None:
        """Works out what depends on the set of jobs as a whole, and every due time."""
        for entry in self.entries.values():
            self._plan(entry)
        self._link()
        self._rebuild()

    def _link(self) -> None:
        self._followers = {}
        for entry in self.entries.values():
            upstream = entry.schedule.trigger.upstream
            if upstream is not None:
                self._followers.setdefault(upstream, []).append(entry)

    def _override(self, entry: Entry, state: JobState, kind: str, reason: str, now: int) -> None:
        if state.interval != entry.state.interval:
            trigger = interval.with_interval(entry.job.trigger, state.interval)
            state = changed(state, state.schedule, trigger, now)
        entry.state = state
        self._effects += [JobSaved(entry.job.name, state), Decided(now, kind, entry.job.name, "", reason)]
        self._plan(entry)
        self._link()
        self._push(entry)

    def _fresh(self, entry: Entry, state: JobState, now: int) -> JobState:
        """The memory of a job that was off: nothing from before now is due, an interval keeps its grid."""
        due = entry.schedule.next_due(state)
        return state if due is None or due > now else replace(state, handled=now)

    def _plan(self, entry: Entry) -> None:
        """Works out the job's next due time from its state."""
        job, state = entry.job, entry.state
        entry.schedule = Schedule(
            interval.with_interval(job.trigger, state.interval),
            Context(zone=timezone(job.timezone), anchor=state.anchor, boot=self._boot),
            jitter_offset(self._host, job.name, job.jitter),
        )
        entry.due = entry.schedule.next_due(state) if entry.enabled else None

    def _push(self, entry: Entry) -> None:
        for when in self._wanted(entry):
            heappush(self._heap, (when, entry.job.name))

    def _rebuild(self) -> None:
        self._heap = [(when, entry.job.name) for entry in self.entries.values() for when in self._wanted(entry)]
        heapify(self._heap)

    @staticmethod
    def _wanted(entry: Entry | None) -> list[int]:
        """When the job has something to do."""
        if entry is None:
            return []
        wanted = [] if entry.due is None else [entry.due]
        return [*wanted, entry.retry.not_before] if entry.retry is not None else wanted

    @staticmethod
    def _retries(entry: Entry) -> tuple[Run, ...]:
        return () if entry.retry is None else (entry.retry,)

    def _entry_of(self, run_id: str) -> Entry | None:
        name = run_id.rpartition(".")[0]
        for entry in (self.entries.get(name), self._removed.get(name)):
            if entry is not None and run_id in entry.running:
                return entry
        return None

    def _notify(self, job: Job, event: str, run: Run, text: str) -> None:
        if event in job.notify:
            self._effects.append(Notified(event, run, text))


def _with(run: Run, outcome: Outcome, now: int) -> Run:
    """The run with its end."""
    return replace(
        run,
        state="ended",
        started=outcome.started or run.started,
        ended=outcome.ended or now,
        result=outcome.result,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        cpu_usec=outcome.cpu_usec,
        peak_memory=outcome.peak_memory,
        reason=outcome.reason or run.reason,
        tail=outcome.tail,
    )


def _fingerprint(job: Job) -> str:
    """Tells one schedule from another: what was due under the old one is not due under the new."""
    return f"{job.trigger.phrase()} {job.timezone} {job.jitter}{'' if job.enabled else ' disabled'}"
