"""A machine with sched_ext in no time: a kernel, systemd's units, programs that misbehave, and agentd with its disk."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.jobs.model import Run, RunChanged, RunStarts
from agentd.core.jobs.settings import Job
from agentd.core.part import Decided, Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.schedulers.model import (
    Chosen,
    Ending,
    EndingWanted,
    Figures,
    Observed,
    Quarantine,
    SchedulerChecked,
    SchedulerFailed,
    SchedulerLooks,
    SchedulerStarts,
    SchedulerStops,
    State,
    Want,
)
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from tests.unit.schedulers import laws
from tests.unit.schedulers.disk import Disk, Killed

START = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC
MS = 1000
NAMES = ("scx_bpfland", "scx_lavd", "scx_rusty", "scx_flash", "scx_cosmos")
TRIAL = Chosen(name="custom:fifo", ops="custom_fifo")
JOBS = {
    "copy": Job(name="copy", run=("/x",), scheduler=Choice("scx_rusty")),
    "play": Job(name="play", run=("/x",), scheduler=Choice("scx_lavd", "gaming")),
    "quiet": Job(name="quiet", run=("/x",), scheduler=Choice("none")),
    "plain": Job(name="plain", run=("/x",)),
}


class Program(Struct):
    """A scheduler's program: what it does when its unit is started."""

    enables: int = 700 * MS
    does: str = "runs"  # | refuses | exits | hangs | misnames | ejects
    lives: int = 0  # ejects: after so long
    ending: Ending = Ending(kind="stall", reason="runnable task stall", message="x[1] failed to run for 5.0s")
    stops: int = 80 * MS
    pinned: bool = False  # its unit stays up when the kernel ejects it


class Unit(Struct, eq=False):
    """A unit agentd-scx@NAME.service that is not down."""

    name: str
    program: Program
    state: str = "starting"


def choose(choice: Choice, settings: SchedulerSettings) -> Chosen:
    """Returns what a catalogue of five schedulers makes of a choice."""
    if choice.name not in NAMES:
        raise Refused("NoSuchScheduler", f'there is no scheduler "{choice.name}"')
    mode = choice.mode or settings.mode
    ops = choice.name.removeprefix("scx_")
    return Chosen(name=choice.name, mode=mode, flags={"mode": mode, **choice.flags}, ops=ops, timeout=5 * SECOND)


class World:
    """`told` is the last observation that agentd was told of, `seen` all that it wanted done."""

    def __init__(self, settings: SchedulerSettings | None = None, *, take_up: bool = True) -> None:
        self.now = START
        self.settings = settings or SchedulerSettings()
        self.programs = {name: Program() for name in NAMES}
        self.units: dict[str, Unit] = {}
        self.state: State = "disabled"
        self.ops, self.seq, self.by = "", 0, ""
        self.loaded = 0  # when the scheduler that is on was enabled
        self.disables = 5 * MS  # for so long the kernel disables a scheduler, and tells when it begins
        self.boot = "boot-1"
        self.disk = Disk()
        self.runs: list[Run] = []
        self.jobs: Mapping[str, Job] = JOBS
        self.clients: set[str] = set()
        self.figures = Figures(pressure=0.1, run_delay=0.1, loop_lag=MS)
        self.checks: dict[str, str] = {}
        self.reasons: dict[str, Ending] = {}
        self.reason_after: int | None = 100 * MS
        self.cannot: dict[str, str] = {}
        self.profile = self.power = ""
        self.seen: list[Effect] = []
        self.counts: Counter[str] = Counter()
        self.told = Observed()
        self._events: list[tuple[int, int, int, Callable[[], None]]] = []
        self._ids = itertools.count()
        self._life = 0
        self._sequence = itertools.count(1)
        self._at_once = 0
        self.begin(take_up=take_up)

    # agentd

    def begin(self, *, take_up: bool = True, looks: bool = True) -> None:
        """agentd starts with what is stored; `looks`: at once it is known which schedulers there are."""
        self._life += 1
        self.disk.begin()
        saved = self.disk.saved
        self.core = Schedulers(self, choose, saved, self.settings, self.jobs, self.now, boot=self.boot)
        self.told = Observed()
        for lease in self.core.leases:
            if lease.holder not in self.clients:
                self.core.client_gone(lease.holder, self.now)
        if looks:
            self.core.can_run(self.cannot, self.now)
        self.core.profile_changed(self.profile, self.now)
        self.core.power_changed(self.power, self.now)
        if take_up:
            self.told = self.kernel
            self.core.take_up(self.kernel, set(self.units), self.now, TRIAL if self.by == "trial" else None)
        self.pump()

    @property
    def kernel(self) -> Observed:
        return Observed(state=self.state, ops=self.ops, seq=self.seq)

    def running(self) -> list[Run]:
        """The runs under way, as the core of jobs says."""
        return self.runs

    def pump(self) -> None:
        """Has everything stored and carried out that the core wants, as the daemon does."""
        try:
            while effects := self.core.effects():
                self.core.heard(effects, self.now)
                self.seen += effects
                if trouble := self.disk.add(effects, self.carry_out):
                    self.core.storable(trouble, self.now)
        except Killed:
            self.counts["killed"] += 1
            self.begin()

    def carry_out(self, effect: Effect) -> None:
        core = self.core
        if isinstance(effect, SchedulerChecked):
            name, trouble = effect.chosen.name, self.checks.get(effect.chosen.name, "")
            self.later(50 * MS, lambda: core.checked(name, trouble, self.now))
        elif isinstance(effect, SchedulerStarts) and core.starts(effect.chosen):
            self.start(effect.chosen)
        elif isinstance(effect, SchedulerStops):
            self.stop(effect.name)
        elif isinstance(effect, SchedulerLooks):
            self.later(MS, self.tell)
            if effect.guards:
                figures = self.figures
                self.later(2 * MS, lambda: core.guarded(figures, self.now))
        elif isinstance(effect, EndingWanted) and self.reason_after is not None:
            ending = self.reasons.get(effect.tenure.chosen.name, Ending())
            self.later(self.reason_after, lambda: core.ending_known(effect.tenure.number, ending, MS, self.now))
        elif isinstance(effect, SchedulerFailed):
            self.counts["failed"] += 1

    # time

    def later(self, span: int, what: Callable[[], None], *, of_agentd: bool = True) -> None:
        """Has something happen after a while; what is agentd's own is forgotten when it ends."""
        life = self._life if of_agentd else 0
        heapq.heappush(self._events, (self.now + span, next(self._ids), life, what))

    def after(self, span: int) -> None:
        """Lets time pass."""
        self.until(self.now + span)

    def until(self, then: int) -> None:
        self.pump()
        while True:
            woken = self.core.wakeup()
            happens = self._events[0][0] if self._events else None
            next_at = min((when for when in (woken, happens) if when is not None), default=then + 1)
            if next_at > then:
                break
            self._at_once = self._at_once + 1 if next_at <= self.now else 0
            assert self._at_once < 100, f"agentd wants to be woken again at once: {self.core.waits(self.now)}"
            self.now = max(self.now, next_at)
            if happens is not None and happens <= self.now:
                _, _, life, what = heapq.heappop(self._events)
                if life in (0, self._life):
                    what()
            else:
                self.core.tick(self.now)
            self.pump()
            laws.moment(self)
        self.now = max(self.now, then)

    # the kernel and systemd

    def tell(self) -> None:
        """agentd reads the kernel's state."""
        self.told = self.kernel
        self.core.observed(self.told, self.now)

    def uevent(self) -> None:
        self.later(MS, self.tell)

    def start(self, chosen: Chosen) -> None:
        """systemd starts a unit."""
        self.counts["started"] += 1
        laws.start(self, chosen)
        unit = self.units[chosen.name] = Unit(chosen.name, replace(self.programs[chosen.name]))
        does = unit.program.does
        if does == "refuses":
            self.reasons[unit.name] = Ending(kind="refused", reason="R7 invalid mem access")
            self.later(300 * MS, lambda: self.end(unit, failed=True), of_agentd=False)
        elif does == "exits":
            self.reasons[unit.name] = Ending(kind="exited", reason="exit code 1")
            self.later(20 * MS, lambda: self.end(unit), of_agentd=False)
        elif does != "hangs":
            self.later(unit.program.enables, lambda: self.enable(unit), of_agentd=False)

    def enable(self, unit: Unit) -> None:
        """A program has loaded its scheduler; another may have been quicker."""
        if self.units.get(unit.name) is not unit or unit.state != "starting":
            return
        if self.state != "disabled":
            self.reasons[unit.name] = Ending(kind="refused", reason="Device or resource busy")
            self.end(unit, failed=True)
            return
        unit.state = "up"
        shown = "mischief" if unit.program.does == "misnames" else f"{unit.name.removeprefix('scx_')}_1.1.4_x86_64"
        self.on_with(shown, unit.name)
        if unit.program.does == "ejects":
            self.later(unit.program.lives, lambda: self.eject(unit.program.ending, unit), of_agentd=False)

    def eject(self, ending: Ending, unit: Unit | None = None) -> None:
        """The kernel ends the scheduler that is on; its program ends as well, unless a pin keeps it."""
        if self.state != "enabled" or (unit is not None and self.units.get(unit.name) is not unit):
            return
        name = self.by
        self.reasons[name] = ending
        self.off()
        own = self.units.get(name)
        if own is not None and not own.program.pinned:
            self.later(5 * MS, lambda: self.end(own), of_agentd=False)

    def reload(self) -> None:
        """A program loads its scheduler again by itself, as after CPU hotplug."""
        if self.state == "enabled":
            self.seq += 1
            self.uevent()

    def kill(self) -> None:
        """Somebody kills a scheduler's program."""
        for unit in list(self.units.values()):
            self.reasons[unit.name] = Ending(kind="killed", reason="signal 9")
            self.end(unit)

    def stop(self, name: str) -> None:
        """systemd stops a unit."""
        core, unit = self.core, self.units.get(name)
        self.counts["stopped"] += 1
        if unit is None:
            self.later(10 * MS, lambda: core.unit_ended(name, self.now))
        elif unit.state != "stopping":
            unit.state = "stopping"
            self.later(unit.program.stops, lambda: self.end(unit), of_agentd=False)

    def end(self, unit: Unit, *, failed: bool = False) -> None:
        """A unit is down."""
        if self.units.get(unit.name) is not unit:
            return
        del self.units[unit.name]
        if self.by == unit.name:
            self.off()
        if failed:
            self.core.start_failed(unit.name, self.reasons[unit.name], self.now)
        self.core.unit_ended(unit.name, self.now)

    def load_other(self, ops: str = "simple") -> None:
        """Somebody loads a scheduler by hand."""
        if self.state == "disabled":
            self.on_with(ops, "other")

    def unload_other(self) -> None:
        if self.by == "other":
            self.off()

    def try_out(self) -> None:
        """A scheduler of one's own is tried. Raises Refused."""
        self.core.trial_begins(TRIAL, self.now)
        self.pump()
        if self.core.trial is not None:  # agentd was not killed before it had the unit started
            self.on_with(f"{TRIAL.ops}_1a2b3c4d", "trial")

    def end_trial(self) -> None:
        """The unit of a trial is over."""
        if self.by == "trial":
            self.off()
        self.told = self.kernel
        self.core.trial_over(self.told, self.now)
        self.pump()

    def on_with(self, ops: str, by: str) -> None:
        """The kernel enables a scheduler."""
        self.state, self.ops, self.by, self.seq, self.loaded = "enabled", ops, by, self.seq + 1, self.now
        self.uevent()

    def off(self) -> None:
        """The kernel disables the scheduler that is on."""
        boot = self.boot

        def done() -> None:
            if self.boot == boot and self.state == "disabling":
                self.state, self.ops = "disabled", ""

        self.state, self.by = "disabling", ""
        self.uevent()
        self.later(self.disables, done, of_agentd=False)

    def reboot(self, away: int = 30 * SECOND, clients: Collection[str] = ()) -> None:
        """The machine goes down at once, and comes up again."""
        self.units.clear()
        self.clients = set(clients)
        self.runs.clear()
        self._events.clear()
        self.state, self.ops, self.by, self.seq = "disabled", "", "", 0
        self.now += away
        self.boot = f"boot-{int(self.boot.removeprefix('boot-')) + 1}"
        self.begin()

    # people, programs and jobs

    def want(self, name: str, source: Any = "person", holder: str = "alice", span: int = 0, **how: Any) -> Want:
        """Somebody wants a scheduler. Raises Refused."""
        until = self.now + span if span else 0
        wish = Want(source=source, holder=holder, choice=Choice(name, **how), until=until)
        if source == "lease":
            self.clients.add(holder)
        want = self.core.want(wish, self.now)
        self.pump()
        return want

    def leave_bus(self, client: str) -> None:
        self.clients.discard(client)
        self.core.client_gone(client, self.now)
        self.pump()

    def run(self, job: str) -> Run:
        run = Run(seq=next(self._sequence), job=job, due=self.now, cause="schedule", started=self.now, state="running")
        self.runs.append(run)
        self.core.heard([RunStarts(run, self.jobs[job])], self.now)
        self.pump()
        return run

    def finish(self, run: Run) -> None:
        self.runs.remove(run)
        self.core.heard([RunChanged("finished", run)], self.now)
        self.pump()

    def have_room(self) -> None:
        """The disk has room again."""
        self.disk.full = False
        if self.disk.trouble:
            self.disk.trouble = ""
            try:
                self.disk.add([], self.carry_out)
                self.core.storable("", self.now)
            except Killed:
                self.begin()
        self.pump()

    def step_clock(self, delta: int) -> None:
        """The wall clock is set."""
        self.now += delta
        self._events = [(at + delta, number, life, what) for at, number, life, what in self._events]
        self.core.clock_stepped(delta, self.now)
        self.pump()

    @property
    def on(self) -> str:
        """The scheduler that is on by the kernel's word: its unit, "other" or "none"."""
        return self.by or "none"

    def told_of(self, kind: type) -> list[Any]:
        return [effect for effect in self.seen if isinstance(effect, kind)]

    def reasons_told(self) -> str:
        return "\n".join(effect.reason for effect in self.seen if isinstance(effect, Decided))

    def quarantine(self, name: str) -> Quarantine | None:
        return next((one for one in self.core.quarantines(self.now) if one.name == name), None)


__all__ = ["DAY", "HOUR", "MINUTE", "MS", "NAMES", "SECOND", "START", "TRIAL", "Program", "World"]
