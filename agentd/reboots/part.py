"""Reboots, plugged in: logind is asked for what the core wants, and the core is told of shutdowns."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from agentd import log as logging
from agentd.bus.connection import Bus, CallFailed
from agentd.core.config import Config
from agentd.core.part import Effect
from agentd.core.quantities import SECOND
from agentd.core.reboots.model import (
    PART,
    TIMES,
    Boot,
    Ledger,
    NothingRuns,
    RebootChanged,
    RebootIssues,
    RebootLooks,
    RebootOver,
    RebootWarns,
    RebootWithdrawn,
    SlotFreed,
    SlotWanted,
    Times,
)
from agentd.core.reboots.policy import doubts
from agentd.core.reboots.reboots import Reboots
from agentd.core.reboots.work import Work
from agentd.part import Host, Part, when_asked
from agentd.peers.logind import Logind
from agentd.peers.systemd import Systemd
from agentd.reboots import api, checks, machine, mounts
from agentd.reboots.look import Looks
from agentd.reboots.people import People
from agentd.reboots.records import CONTRACT, properties, reboot_record
from agentd.reboots.slots import Slots
from agentd.reboots.tables import RebootTables
from agentd.reboots.terminals import Terminals
from agentd.tasks import Tasks

log = logging.get()

_NO_MEMORY = (
    "no reboot is remembered, and the limits on automatic reboots are kept by the time between two boots alone;"
    " have the state directory on a disk"
)
_BETWEEN_LOOKS = 1.0  # seconds between two looks because inhibitors or sessions changed
_MARGIN = 1.0  # seconds of logind's patience that are left for saving


class Shell:
    """Carries out what the core of reboots wants. `address` is that of the bus (None: the system's), `calm` the seconds
    between two messages on terminals about one reboot."""

    def __init__(
        self,
        host: Host,
        bus: Bus,
        systemd: Systemd,
        reboots: Reboots,
        machine_id: str,
        address: str | None,
        calm: float = 60.0,
    ) -> None:
        self.reboots = reboots
        self.tasks = Tasks(lambda error: host.defect("rebooting", error))
        self.logind = Logind(bus, address, self.prepare, self.look_soon, self._trouble)
        self.forgets = mounts.forgets(host.folder)
        self.looks = Looks(
            bus,
            self.logind,
            lambda: host.now() - reboots.boot.at,
            self.tasks,
            forgets=self.forgets,
            sign=lambda: reboots.policy.required_file,
        )
        self.people = People(host, bus, self.logind, Terminals(host, systemd, self.tasks, calm), self.tasks)
        self.slots = Slots(host, reboots, machine_id, self.tasks)
        self._host = host
        self._looks_soon = False
        self._looked = -_BETWEEN_LOOKS
        self._quiet = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {
            RebootLooks: lambda _: self.tasks.do(self._look()),
            RebootWarns: self.people.warn,
            RebootWithdrawn: self.people.withdraw,
            SlotWanted: lambda effect: self.tasks.do(self.slots.take(effect.reason)),
            SlotFreed: lambda _: self.tasks.do(self.slots.free()),
            RebootIssues: lambda effect: self.tasks.do(self._reboot(effect)),
            RebootChanged: lambda _: self._host.server.changed("Reboot.State", "Reboot.Blockers", "Manager.State"),
            RebootOver: lambda effect: self.people.tell("RebootFinished", reboot_record(effect.reboot)),
            NothingRuns: lambda _: self._quiet.set(),
        }

    def configure(self, config: Config, now: int) -> None:
        """Takes the policy that is in force from now on."""
        self.slots.configure(config.reboot.fleet)
        self.reboots.configure(config.reboot, config.timezone, now)

    def close(self) -> None:
        """Ends what is under way, and lets the machine go down."""
        self.tasks.close()
        self.logind.close()

    def look_soon(self) -> None:
        """Looks at the machine, where a reboot is pending: inhibitors or sessions are others than they were. However
        often they change, that is looked at once a second."""
        self.looks.forget()
        if self.reboots.pending is not None and not self._looks_soon:
            self._looks_soon = True
            self.tasks.do(self._look_soon())

    async def _look_soon(self) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._looked + _BETWEEN_LOOKS - clock()))
        self._looks_soon, self._looked = False, clock()  # what changes from here on is looked at again
        await self._look()

    def warnings(self) -> list[str]:
        """Returns the things that somebody should see to, as sentences."""
        memory = [f"{self.forgets}: {_NO_MEMORY}"] if self.forgets else []
        policy, never = self.reboots.policy, ""
        if policy.only_if_required and policy.all_windows and not policy.asks_job:
            never = machine.unwritten(policy.required_file)
        silent = [f"reboot.only_if_required: {never}, so that no window reboots the machine"] if never else []
        return [*memory, *silent, *doubts(policy)]

    def prepare(self, down: bool) -> None:
        """Has the machine go down once work has had its time, or go on where it does not go down after all."""
        self._host.hear(PART, lambda: self.reboots.preparing(down, self._host.now()))
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self.tasks.do(self._end_gracefully()) if down else None

    async def _look(self) -> None:
        look = await self.looks.anew()
        self._host.hear(PART, lambda: self.reboots.observed(look.facts, self._host.now()))

    async def _reboot(self, effect: RebootIssues) -> None:
        reboot = effect.reboot
        await self._host.saved()
        pending = self.reboots.pending
        if pending is None or (pending.id, pending.state, pending.attempts) != (reboot.id, "issued", reboot.attempts):
            return  # storing took so long that the reboot was given up meanwhile
        if pending.taken_back:
            return  # somebody cancelled a shutdown while that was stored
        if self._host.now() >= reboot.until:
            late = "its time was over before that was stored"
            self._host.hear(PART, lambda: self.reboots.refused(late, self._host.now()))
            return
        log.warning(f"asking logind for a {reboot.kind}: {reboot.reason}", id="reboot")
        try:
            await self.logind.reboot(reboot.kind, f"agentd: {reboot.reason}")
        except CallFailed as error:
            # A logind that is gone may be gone because the machine goes down, and a slow one may reboot it yet.
            if not error.away and not error.name.endswith(".Timeout"):
                why = str(error)
                self._host.hear(PART, lambda: self.reboots.refused(why, self._host.now()))

    async def _end_gracefully(self) -> None:
        """Gives what runs its time, saves, then lets the machine go down."""
        patience = max(0.0, await self.logind.patience() - _MARGIN)
        self._quiet.clear()
        if self.reboots.runs:  # NothingRuns tells when they have ended
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), patience)
        if self.reboots.going_down:
            await self._host.saved()
            self.logind.release_lock()

    @staticmethod
    def _trouble(what: str) -> None:
        log.warning(what, id="peer-trouble")


async def plug(  # noqa: PLR0913 - each thing that the part builds on is handed in
    host: Host,
    jobs: Work,
    bus: Bus,
    systemd: Systemd,
    config: Config,
    boot: Boot,
    machine_id: str,
    *,
    address: str | None = None,
    times: Times = TIMES,
) -> Part:
    """Returns reboots as a part, on the bus of logind at `address` (None: the system's). `jobs` is the core of jobs,
    `boot` this boot of the machine, `machine_id` that of machine-id(5). Raises sqlite3.Error."""
    ledger: Ledger = await host.take_up(RebootTables())
    policy, now = config.reboot, host.now()
    reboots = Reboots(jobs, ledger, boot, policy, config.timezone, now, host=machine_id, times=times)
    shell = Shell(host, bus, systemd, reboots, machine_id, address, times.calm / SECOND)
    shell.slots.configure(policy.fleet)
    methods, _ = when_asked(CONTRACT, lambda: api.Api(host, reboots, shell.looks, shell.people, shell.slots))
    return Part(
        name=PART,
        vital=True,
        core=reboots,
        does=shell.does(),
        contract=CONTRACT,
        methods=methods,
        properties=properties(reboots),
        configure=shell.configure,
        warnings=shell.warnings,
        start=shell.logind.start,
        close=shell.close,
        checks=lambda: checks.checks(bus, shell.looks, shell.slots, lambda: reboots.policy.fleet),
    )
