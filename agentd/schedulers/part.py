"""Schedulers, plugged in: units are started and stopped as the core wants, and the core is told the kernel's word."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field

from agentd import log as logging
from agentd.bus.connection import Bus
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.part import Effect
from agentd.core.schedulers.catalogue import NONE, OWN
from agentd.core.schedulers.model import (
    PART,
    TIMES,
    Chosen,
    Ending,
    EndingWanted,
    Exit,
    Observed,
    SchedulerChanged,
    SchedulerChecked,
    SchedulerFailed,
    SchedulerLooks,
    SchedulerStarts,
    SchedulerStops,
    Tenure,
    Times,
)
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import Follow, SchedulerSettings, wanted_by
from agentd.part import Host, Part, when_asked
from agentd.peers import logind, profiles
from agentd.schedulers import api, customs, journal, power, sysfs
from agentd.schedulers import units as services
from agentd.schedulers.guarding import Guarding
from agentd.schedulers.inventory import Inventory
from agentd.schedulers.leases import Leases
from agentd.schedulers.loader import Loader
from agentd.schedulers.metering import Metering
from agentd.schedulers.own import PLACES, Own, Places, any_version
from agentd.schedulers.programs import Programs
from agentd.schedulers.properties import properties
from agentd.schedulers.tables import SchedulerTables
from agentd.schedulers.uevents import Event, Uevents
from agentd.tasks import Tasks, Threads

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Scheduler.xml")
_STANDALONE = "agentd runs standalone here, without the right to load a scheduler"
_PROCESS = 0.8  # seconds until systemd has told how the program of a scheduler ended
_SHOWN = ("State", "Current", "Ops", "LoadedBy", "Probation")


class Units(Protocol):
    """The units of schedulers, such as SchedulerUnits."""

    async def take_up(self) -> list[str]:
        """Listens from now on; returns the schedulers whose units run. Raises CallFailed."""

    async def began(self, tenure: Tenure) -> bool:
        """Tells whether the unit of a scheduler was started in its tenure."""

    async def start(self, chosen: Chosen) -> str:
        """Asks for a start; returns "" or why nothing was started, as a sentence."""

    async def stop(self, name: str) -> str:
        """Asks for a stop; returns "" or why that failed, as a sentence."""

    async def run(self, unit: str) -> str:
        """Starts a unit of a verification and waits for its end; returns "" or why that failed, as a sentence."""

    async def trial(self) -> str:
        """Returns the scheduler of one's own whose trial is under way, or "". Raises CallFailed."""

    async def trials_over(self) -> None:
        """Returns once no trial is under way."""

    def close(self) -> None:
        """Leaves everything as it is."""


class Machine(Struct, frozen=True, kw_only=True):
    """The machine as the part sees it: the folder below which the kernel's files are, the folders of programs and the
    user who must own them, what reads its journal, and the places of schedulers of one's own."""

    root: Path = Path("/")
    programs: Programs = field(default_factory=Programs)
    read: Callable[[str, int, int], journal.Lines] = journal.read
    times: Times = TIMES
    own: Places = PLACES


class Shell:
    """Carries out what the core of schedulers wants, and tells it of the machine. `units` is None where agentd may
    start none."""

    def __init__(
        self, host: Host, core: Schedulers, inventory: Inventory, threads: Threads, bus: Bus, machine: Machine, own: Own
    ) -> None:
        self._host, self._core, self._inventory, self._threads, self._bus = host, core, inventory, threads, bus
        self._machine, self._own = machine, own
        self.tasks = Tasks(lambda error: host.defect("what schedulers do", error))
        self.units: Units | None = None
        self.leases = Leases(bus, core, lambda name: host.hear(PART, lambda: core.client_gone(name, host.now())))
        self.news = asyncio.Event()
        """Is set, and replaced by another, whenever something of schedulers changed."""
        self.trouble = ""
        """The reason why the kernel's state is not known, as a sentence."""
        self._uevents = Uevents(self._heard, self._power_changed)
        self._profiles: profiles.Profiles | None = None
        self._guarding = Guarding(threads, machine.root)
        self._told = ("", 0)  # the scheduler that was told to run last
        self._rested = asyncio.Event()  # as `news`, of units that came to rest
        self._exits: dict[str, Exit] = {}  # how the unit of each scheduler ended last
        self._looking: asyncio.Task[None] | None = None

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {
            SchedulerChecked: lambda effect: self.tasks.do(self._check(effect)),
            SchedulerStarts: lambda effect: self.tasks.do(self._start(effect)),
            SchedulerStops: lambda effect: self.tasks.do(self._stop(effect.name)),
            SchedulerLooks: self._look,
            EndingWanted: lambda effect: self.tasks.do(self._explain(effect)),
            SchedulerChanged: lambda _: self._changed(),
            SchedulerFailed: self._failed,
        }

    @property
    def deaf(self) -> str:
        """The reason why the kernel's news cannot be heard, as a sentence, or empty."""
        return self._uevents.trouble

    # The machine

    async def start(self) -> None:
        """Listens to the machine, and takes up what runs."""
        seen = self._observe()
        if seen.state != "absent":
            self._uevents.start()
        up = [] if self.units is None else await self.units.take_up()
        tried = "" if self.units is None else await self.units.trial()
        trial = any_version(tried) if tried else None
        await self.leases.take_up()
        seen = self._observe()  # nothing since then is missed
        self._hear(lambda now: self._core.take_up(seen, up, now, trial))
        if trial is not None:
            self.tasks.do(self.trial_over())
        if seen.state != "absent" and self.units is not None:
            await logind.watch_sleep(self._bus, lambda asleep: self._hear(lambda now: self._core.sleeping(asleep, now)))

    def prepare(self, config: Config) -> None:
        """Looks which schedulers there are, where one is wanted or may be by what is configured. Elsewhere nothing of
        the catalogue is kept in memory before somebody asks."""
        wanted = any(one.want.choice.name != NONE for one in self._core.standings(self._host.now()))
        of_jobs = any(wanted_by(job) is not None for job in config.jobs.values())
        of_rules = any(step.do.verb == "SetScheduler" for rule in config.rules.values() for step in rule.steps)
        if wanted or of_jobs or of_rules or config.scheduler.follow != Follow():
            self.tasks.do(self.inventory())

    def follow(self, settings: SchedulerSettings) -> None:
        """Listens to what the settings follow."""
        modes, supplies = settings.follow.power_profile, settings.follow.power
        if self.units is None or self._core.seen.state == "absent":
            return
        if self._profiles is None and modes != type(modes)():
            self._profiles = profiles.Profiles(self._bus, self._profile_changed, self._host.defect)
            self.tasks.do(self._profiles.start())
        if supplies != type(supplies)():
            self._power_changed()

    def close(self) -> None:
        """Listens no more; what runs goes on."""
        self.tasks.close()
        self._uevents.close()
        self.leases.close()
        if self._profiles is not None:
            self._profiles.close()
        if self.units is not None:
            self.units.close()

    async def inventory(self, *, again: bool = False) -> None:
        """Looks which schedulers there are: once, or `again`."""
        if self._looking is None or (again and self._looking.done()):
            self._looking = self.tasks.do(self._take_inventory())
        await asyncio.shield(self._looking)

    async def _take_inventory(self) -> None:
        self._inventory.seen = await self._threads.do(self._inventory.look)
        for warning in self._inventory.seen.warnings:
            log.warning(warning, id="scheduler")
        self._hear(lambda now: self._core.can_run(self._inventory.cannot(), now))

    # News

    def _hear(self, tell: Callable[[int], object]) -> None:
        self._host.hear(PART, lambda: tell(self._host.now()))

    def _heard(self, _: Event | None) -> None:
        self._look(SchedulerLooks())

    def _observe(self) -> Observed:
        """Returns the kernel's word; the last one known where it cannot be read."""
        try:
            seen, self.trouble = sysfs.observe(self._machine.root), ""
        except sysfs.Unreadable as error:
            if not self.trouble:
                log.warning(str(error), id="scheduler")
            seen, self.trouble = self._core.seen, str(error)
        return seen

    def _look(self, effect: SchedulerLooks) -> None:
        seen = self._observe()
        self._hear(lambda now: self._core.observed(seen, now))
        if effect.guards and (tenure := self._core.tenure) is not None:
            self.tasks.do(self._guard(tenure.chosen.name))

    async def _guard(self, name: str) -> None:
        figures = await self._guarding.figures(name)
        self._hear(lambda now: self._core.guarded(figures, now))

    def _power_changed(self) -> None:
        found = power.read(self._machine.root)
        source = "" if found.source == "unknown" else found.source
        self._hear(lambda now: self._core.power_changed(source, now))

    def _profile_changed(self, profile: str) -> None:
        self._hear(lambda now: self._core.profile_changed(profile, now))

    def unit_ended(self, name: str, how: Exit) -> None:
        """Takes note that the unit of a scheduler came to rest."""
        self._exits[name] = how
        rested, self._rested = self._rested, asyncio.Event()
        rested.set()
        seen = self._observe()
        self._hear(lambda now: self._core.observed(seen, now))
        self._hear(lambda now: self._core.unit_ended(name, now))

    async def trial_over(self) -> None:
        """Waits until no scheduler of one's own is tried any more: then the others may begin again."""
        if self.units is not None:
            await self.units.trials_over()
        seen = self._observe()
        self._hear(lambda now: self._core.trial_over(seen, now))

    # Deeds

    async def _check(self, effect: SchedulerChecked) -> None:
        name = effect.chosen.name
        trouble = await self._threads.do(lambda: self._inventory.recheck(name))
        self._hear(lambda now: self._core.checked(name, trouble, now))

    async def _start(self, effect: SchedulerStarts) -> None:
        name = effect.chosen.name
        self._exits.pop(name, None)
        await self._host.saved()
        failed = await self._threads.do(lambda: self._own.hand_out(name)) if name.startswith(OWN) else ""
        if not self._core.starts(effect.chosen):
            return  # storing took so long that the start was given up meanwhile
        if not failed:
            failed = _STANDALONE if self.units is None else await self.units.start(effect.chosen)
        if failed:
            ending = Ending(kind="refused", reason=failed)
            self._hear(lambda now: self._core.start_failed(name, ending, now))

    async def _stop(self, name: str) -> None:
        failed = "" if self.units is None else await self.units.stop(name)
        if failed:
            log.warning(failed, id="peer-trouble")

    async def _explain(self, effect: EndingWanted) -> None:
        tenure, gone = effect.tenure, self._host.now()
        own = tenure.loaded_by == "agentd"
        if own and self.units is not None and not tenure.enabled and not await self.units.began(tenure):
            unstarted = Ending(kind="unstarted")
            self._hear(lambda now: self._core.ending_known(tenure.number, unstarted, -1, now))
            return
        name, ops = tenure.chosen.name, tenure.ops or tenure.chosen.ops
        with contextlib.suppress(TimeoutError):  # the kernel tells sooner than systemd of a program that was killed
            async with asyncio.timeout(_PROCESS if own else 0):
                while name not in self._exits:
                    await self._rested.wait()
        unit, how = (services.unit_of(name), self._exits.get(name)) if own else ("", None)
        found = await journal.why(unit, ops, tenure.since, gone, how, look=self._machine.read)
        noticed = max(0, gone - found.told) if found.told else -1
        self._hear(lambda now: self._core.ending_known(tenure.number, found.ending, noticed, now))

    def _changed(self) -> None:
        seen, tenure = self._core.seen, self._core.tenure
        runs = (seen.ops, seen.seq) if seen.on else ("", 0)
        if runs != self._told and not seen.moving and self._core.trial is None:
            self._told = runs
            name = NONE if not seen.on else tenure.chosen.name if tenure and tenure.loaded_by == "agentd" else seen.ops
            reason = tenure.reason if seen.on and tenure else "the kernel's own scheduler runs again"
            self._host.server.emit("Scheduler", "Switched", name, reason or "somebody else loaded it")
        self._host.server.changed(*(f"Scheduler.{name}" for name in _SHOWN))
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _failed(self, effect: SchedulerFailed) -> None:
        log.error(effect.sentence, id="scheduler", scheduler=effect.name)
        self._host.server.emit("Scheduler", "SchedulerFailed", effect.name, effect.ending.kind, effect.sentence)


MakeUnits = Callable[[Callable[[str, Exit], None]], Units]
"""Makes what starts and stops schedulers; is handed a function that is to be told which one's unit ended, and how."""


async def plug(
    host: Host,
    jobs: Jobs,
    bus: Bus,
    config: Config,
    boot: str,
    units: MakeUnits | None = None,
    machine: Machine | None = None,
) -> Part:
    """Returns schedulers as a part. `jobs` is the core of jobs, `boot` the id of this boot; without `units` the part
    shows what there is and starts nothing. Raises sqlite3.Error."""
    machine = machine or Machine()
    tables = SchedulerTables()
    saved = await host.take_up(tables)
    own, threads = Own(host.folder / "custom", machine.own), Threads()
    inventory = Inventory(machine.programs, own, "" if units else _STANDALONE, machine.root)
    settings, now, times = config.scheduler, host.now(), machine.times
    core = Schedulers(jobs, inventory.choose, saved, settings, config.jobs, now, boot=boot, times=times)
    shell = Shell(host, core, inventory, threads, bus, machine, own)
    shell.units = units(shell.unit_ended) if units else None
    metering = Metering(threads, lambda monitor: monitor(host, core, bus, threads, machine.root))

    @cache
    def answers() -> "api.Api":
        others = {**metering.methods(), **customs.Customs(host, core, shell, threads, own).methods()}
        return api.Api(host, core, shell, inventory, bus, others)

    methods, _ = when_asked(CONTRACT, answers)
    loader = Loader(host, core, shell, inventory, answers, bus)

    async def start() -> None:
        await shell.start()
        shell.follow(config.scheduler)
        loader.follow(config.scheduler)

    def configure(changed: Config, now: int) -> Sequence[str]:
        core.configure(changed.scheduler, changed.jobs, now)
        shell.follow(changed.scheduler)
        loader.follow(changed.scheduler)
        shell.prepare(changed)
        return ()

    def close() -> None:
        loader.close()
        shell.close()
        metering.close()
        threads.close()

    def warnings() -> list[str]:
        conflict = core.conflict
        texts = (tables.warning, shell.trouble, shell.deaf, loader.trouble, conflict, *inventory.seen.warnings)
        return [text for text in texts if text]

    return Part(
        name=PART,
        core=core,
        does=shell.does(),
        contract=CONTRACT,
        methods=methods,
        properties=properties(core),
        configure=configure,
        warnings=warnings,
        start=start,
        started=lambda: shell.prepare(config),
        close=close,
    )
