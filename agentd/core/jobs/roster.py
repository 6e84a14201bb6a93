"""The roster of jobs: their configuration and memory, and when each next has something to do."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from agentd.core.jobs import interval
from agentd.core.jobs.model import JobSaved, JobState, Run
from agentd.core.jobs.schedule import Schedule, begin, changed, dealt_with, stepped
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import Context
from agentd.core.part import AHEAD, Effect, Refused
from agentd.core.quantities import counted, nearest
from agentd.core.times import jitter_offset, timezone


class Entry:
    """A job on the roster: its configuration, its memory and what is under way. Only the core changes an entry."""

    __slots__ = ("due", "job", "last", "retry", "running", "schedule", "state", "waiting", "wake")

    def __init__(self, job: Job, state: JobState) -> None:
        self.job = job
        self.state = state
        self.schedule: Schedule
        self.due: int | None = None
        self.wake = 0  # when the due time is looked at: a little before it, or at it
        self.running: dict[str, Run] = {}
        self.waiting: list[Run] = []
        self.retry: Run | None = None
        self.last: Run | None = None

    @property
    def enabled(self) -> bool:
        return self.job.enabled if self.state.enabled is None else self.state.enabled

    @property
    def off(self) -> str:
        """The reason why the job does not run by itself; empty: it does."""
        if self.enabled:
            return ""
        return "disabled in the configuration" if self.state.enabled is None else "disabled by hand"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that the job's schedule is in."""
        return self.schedule.context.zone

    @property
    def active(self) -> int:
        """The number of runs that are under way or wait for a place."""
        return len(self.running) + len(self.waiting)

    @property
    def pending(self) -> list[Run]:
        """The runs that have not begun: those that wait for a place, and the retry that waits for its time."""
        return [*self.waiting, *([] if self.retry is None else [self.retry])]

    @property
    def runs(self) -> list[Run]:
        """The last run that ended, if any, those under way, and those that have not begun."""
        ended = [] if self.last is None else [self.last]
        if not (self.running or self.waiting or self.retry):  # as of nearly all jobs of thousands
            return ended
        return [*ended, *self.running.values(), *self.pending]

    @property
    def wanted(self) -> list[int]:
        """The instants at which the job has something to do."""
        retry = [] if self.retry is None else [self.retry.not_before]
        return retry if self.due is None else [self.wake, *retry]


class Roster:
    """The jobs by name. `states` is what is remembered of jobs, `host` seeds the jitter, `boot` is the instant of the
    boot, `lead` the time by which a due time is looked at in advance, `zone` the time zone of the jobs that name none;
    effects go to `effects`."""

    def __init__(
        self, states: dict[str, JobState], host: str, boot: int, lead: int, zone: str, effects: list[Effect]
    ) -> None:
        self.entries: dict[str, Entry] = {}
        self.removed: dict[str, Entry] = {}  # no longer configured, but with a run under way
        self.followers: dict[str, list[Entry]] = {}
        self._states = dict(states)
        self._host = host
        self._boot = boot
        self._lead = lead
        self._zone = zone
        self._effects = effects
        self._heap: list[tuple[int, str]] = []
        self.watch: Callable[[Entry], None] = lambda _: None
        """Learns that the due time of a job may be another, where something is expected of the job."""

    def all(self) -> list[Entry]:
        """Returns the configured jobs and the removed ones that still have a run under way."""
        return [*self.entries.values(), *self.removed.values()]

    def named(self, name: str) -> Entry:
        """Returns the job of that name. Raises Refused NoSuchJob with the nearest name."""
        if (gone := self.removed.get(name)) is not None and name not in self.entries:
            text = f'there is no job "{name}" any more; still under way: {", ".join(gone.running)}'
            raise Refused("NoSuchJob", f"{text} (agentctl stop RUN ends that)")
        if name not in self.entries:
            raise Refused("NoSuchJob", f'there is no job "{name}"{nearest(name, self.entries)}')
        return self.entries[name]

    def running(self, run_id: str) -> Entry | None:
        """Returns the job that the run under way belongs to, or None."""
        return next((entry for entry in self.of(run_id.rpartition(".")[0]) if run_id in entry.running), None)

    def of(self, name: str) -> list[Entry]:
        """Returns the configured job of that name, and the removed one that still has a run under way, if any."""
        return [entry for entry in (self.entries.get(name), self.removed.get(name)) if entry is not None]

    # The set of jobs; after a change of it, index()

    def add(self, job: Job, now: int) -> bool:
        """Puts a job on the roster, with what is remembered of it; returns whether that lies ahead of the clock."""
        state = self._states.pop(job.name, None)
        entry = self.removed.pop(job.name, None) or Entry(job, state or begin(self._fingerprint(job), now))
        if state is not None:
            entry.state = state
        entry.job = job
        trigger = interval.with_interval(job.trigger, entry.state.interval)
        entry.state = self._as_configured(entry, now)
        # Where newer state was lost, all counts as dealt with up to AHEAD after the last instant that is known.
        if ahead := entry.state.handled > now + self._lead + AHEAD:
            # The clock went back while agentd was away: by how much is unknown, at least to here.
            entry.state = stepped(entry.state, trigger, now - entry.state.handled, now)
        self.entries[job.name] = entry
        if entry.state != state:  # what is remembered of ten thousand jobs is not written again at each start
            self._effects.append(JobSaved(job.name, entry.state))
        return ahead

    def change(self, entry: Entry, job: Job, now: int) -> None:
        """Gives a job another configuration."""
        was_enabled, entry.job = entry.enabled, job
        entry.state = self._as_configured(entry, now)
        if entry.enabled and not was_enabled:
            self.plan(entry)
            entry.state = self.rested(entry, now)
        self._effects.append(JobSaved(job.name, entry.state))

    def move(self, zone: str, now: int) -> None:
        """Gives the jobs that name no time zone another one."""
        if zone != self._zone:
            self._zone = zone
            for entry in self.entries.values():
                if not entry.job.timezone:
                    self.change(entry, entry.job, now)

    def _as_configured(self, entry: Entry, now: int) -> JobState:
        """Returns what is remembered of a job under the schedule that it has now."""
        job, state, fingerprint = entry.job, entry.state, self._fingerprint(entry.job)
        if state.schedule == fingerprint:
            return state
        if job.trigger.elapsed and _without_zone(state.schedule) == _without_zone(fingerprint):
            return replace(state, schedule=fingerprint)  # another time zone means nothing to an interval
        trigger = interval.with_interval(job.trigger, state.interval)
        return changed(state, fingerprint, trigger, now, self._jitter(job))

    def _fingerprint(self, job: Job) -> str:
        """Returns a text that tells one schedule from another: times due under the old one are not due under the
        new."""
        return f"{job.trigger.phrase()} {self._zone_of(job)} {job.jitter}{'' if job.enabled else ' disabled'}"

    def _zone_of(self, job: Job) -> str:
        return job.timezone or self._zone

    def remove(self, entry: Entry) -> None:
        """Takes a job off the roster; its memory is kept, and the job itself while a run of it is under way."""
        del self.entries[entry.job.name]
        self._states[entry.job.name] = entry.state
        if entry.running:
            self.removed[entry.job.name] = entry

    def gone(self, name: str) -> Entry:
        """Returns a job that was taken out of the configuration while nobody looked, with a run still under way."""
        return self.removed.setdefault(name, Entry(Job(name=name, run=()), JobState()))

    def index(self) -> None:
        """Works out what depends on the set of jobs as a whole, and every due time."""
        for entry in self.entries.values():
            self.plan(entry)
        self._link()
        self._heap = [(when, entry.job.name) for entry in self.entries.values() for when in entry.wanted]
        heapify(self._heap)

    def override(self, entry: Entry, state: JobState, now: int) -> None:
        """Gives a job another memory, with what was changed at run time."""
        if state.interval != entry.state.interval:
            trigger = interval.with_interval(entry.job.trigger, state.interval)
            state = changed(state, state.schedule, trigger, now, self._jitter(entry.job))
        entry.state = state
        self._effects.append(JobSaved(entry.job.name, state))
        self.plan(entry)
        self._link()
        self.push(entry)

    def rested(self, entry: Entry, now: int) -> JobState:
        """Returns the memory of a job that was off: nothing from before now is due, an interval keeps its grid."""
        dues = entry.schedule.outstanding(entry.state, now, 2)
        return dealt_with(entry.state, entry.schedule.trigger, dues, [], now) if dues else entry.state

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves what every job remembers with the wall clock; index() is then due."""
        self._boot += delta
        for entry in self.entries.values():
            entry.state = stepped(entry.state, entry.schedule.trigger, delta, now)
            self._effects.append(JobSaved(entry.job.name, entry.state))
            self.plan(entry)

    # When

    def plan(self, entry: Entry) -> None:
        """Works out a job's next due time from its memory."""
        job, state = entry.job, entry.state
        entry.schedule = Schedule(
            interval.with_interval(job.trigger, state.interval),
            Context(zone=timezone(self._zone_of(job)), anchor=state.anchor, boot=self._boot),
            self._jitter(job),
        )
        entry.due = entry.schedule.next_due(state) if entry.enabled else None
        entry.wake = (entry.due or 0) - self._lead
        if job.expect is not None:
            self.watch(entry)

    def _jitter(self, job: Job) -> int:
        return jitter_offset(self._host, job.name, job.jitter)

    def push(self, entry: Entry) -> None:
        """Notes when a job is next wanted, after that changed."""
        for when in entry.wanted:
            heappush(self._heap, (when, entry.job.name))

    def wakeup(self) -> int | None:
        """Returns when the next job has something to do."""
        while self._heap:
            when, name = self._heap[0]
            if name in self.entries and when in self.entries[name].wanted:
                return when
            heappop(self._heap)  # this note is out of date
        return None

    def take(self, now: int) -> Entry | None:
        """Returns the next job that has something to do by now, or None."""
        when = self.wakeup()
        return None if when is None or when > now else self.entries[heappop(self._heap)[1]]

    def _link(self) -> None:
        self.followers = {}
        for entry in self.entries.values():
            upstream = entry.schedule.trigger.upstream
            if upstream is not None:
                self.followers.setdefault(upstream, []).append(entry)


def behind(jobs: list[str]) -> str:
    """Returns the sentence about a clock that shows less than what was dealt with before agentd started."""
    who = jobs[0] if len(jobs) == 1 else counted(len(jobs), "job")
    return (
        f"the clock was set back while agentd was away: due times of {who} that were dealt with lie ahead of it; "
        "schedules go on from now"
    )


def _without_zone(fingerprint: str) -> list[str]:
    """Returns the words of such a text but for the time zone, which stands before the jitter."""
    words = fingerprint.split(" ")
    del words[-3 if words[-1] == "disabled" else -2]
    return words
