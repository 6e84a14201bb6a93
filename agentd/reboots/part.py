"""The shell around the core's reboots: carries out what they want of logind, the fleet and the people."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agentd import log as logging
from agentd.bus.connection import Bus, CallFailed
from agentd.bus.server import Caller, Server
from agentd.core.part import Effect, Refused
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.reboots.model import (
    Blocker,
    Boot,
    Facts,
    RebootChanged,
    RebootIssues,
    RebootLooks,
    RebootOver,
    RebootWarns,
    RebootWithdrawn,
    SlotFreed,
    SlotWanted,
)
from agentd.core.reboots.policy import FleetPolicy
from agentd.core.reboots.reboots import Reboots
from agentd.linux import now
from agentd.peers.logind import Logind, user_name
from agentd.reboots import machine
from agentd.reboots.api import reboot_record

if TYPE_CHECKING:
    from agentd.reboots.fleet.lock import Fleet

log = logging.get()

_TIMEDATE = ("org.freedesktop.timedate1", "/org/freedesktop/timedate1", "org.freedesktop.timedate1")
_SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_NO_TIMEDATE = {"ServiceUnknown", "NameHasNoOwner", "NoSuchUnit", "UnitMasked", "UnknownProperty"}
_WALL_UNIT = "agentd-wall.service"
_MARGIN = 1.0  # seconds of logind's patience that are left for saving
_DOWNTIME = 600  # seconds a reboot is expected to take at most; twice that, and the fleet knows the host as overdue
_FREE_AGAIN = 60.0  # seconds between two tries to give the fleet its slot back


class Host(Protocol):
    """What is needed of the daemon."""

    def pump(self) -> None:
        """Has what was decided stored and carried out."""

    async def saved(self) -> None:
        """Returns when what was decided is stored and carried out."""


class Rebooter:
    """Carries out the effects of the core's reboots. `state` is where the message for people's terminals goes."""

    def __init__(self, bus: Bus, host: Host, state: Path, address: str | None = None) -> None:
        self.logind = Logind(bus, address, self._down, self._look_soon, self._trouble)
        self.fleet: Fleet | None = None
        self._bus = bus
        self._host = host
        self._message = state / "wall"
        self._tasks: set[asyncio.Task[None]] = set()
        self._synchronised = False
        self._policy: FleetPolicy | None = None
        self._no_fleet = "no fleet is configured"
        self._freeing = False
        self._asking = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._reboots: Reboots
        self._server: Server

    async def start(self, reboots: Reboots, server: Server) -> None:
        """Listens to logind from now on, where there is one. Raises CallFailed."""
        self._reboots, self._server = reboots, server
        await self.logind.start()

    def configure(self, policy: FleetPolicy | None, machine_id: str) -> None:
        """Whom to ask for slots from now on. A slot of another fleet is given back there."""
        if self.fleet is not None and policy != self._policy and self._reboots.ledger.slot:
            self._do(self._leave(self.fleet))
        self.fleet, self._policy, self._no_fleet = None, policy, "no fleet is configured"
        if policy is None:
            return

        from agentd.reboots.fleet.connect import connect  # noqa: PLC0415 - few have one, and it would cost memory

        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        host, credentials = socket.gethostname(), Path(folder) if folder else None
        try:
            self.fleet = connect(policy, host, machine_id, credentials, _DOWNTIME)
        except ValueError as error:
            self._no_fleet = str(error)
            log.error(f"there is no slot to be had: {error}", id="reboot")

    def jobs_changed(self) -> None:
        """Runs began or ended."""
        (self._quiet.clear if self._reboots.runs else self._quiet.set)()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.logind.close()

    def carry_out(self, effect: Effect) -> None:
        """Does what the core wants done."""
        if isinstance(effect, RebootLooks):
            self._do(self._look())
        elif isinstance(effect, RebootWarns):
            self._warn(effect.reason, effect.at)
        elif isinstance(effect, RebootWithdrawn):
            log.info(f"no reboot for now: {effect.why}", id="reboot")
            self._announce("RebootWithdrawn", effect.why)
            self._do(self._wall(f"The reboot that was announced does not come for now: {effect.why}"))
        elif isinstance(effect, SlotWanted):
            self._do(self._take_slot(effect.reason))
        elif isinstance(effect, SlotFreed):
            self._do(self._free_slot())
        elif isinstance(effect, RebootIssues):
            self._do(self._reboot(effect))
        elif isinstance(effect, RebootChanged):
            self._server.changed("Reboot.State", "Reboot.Blockers", "Manager.State")
        elif isinstance(effect, RebootOver):
            self._announce("RebootFinished", reboot_record(effect.reboot))

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(f"a defect in rebooting: {type(error).__name__}: {error}; please report it", id="defect")

    # Looking

    async def facts(self) -> Facts:
        """What the machine is like now. Where it cannot be seen, that is what holds a reboot."""
        blockers = machine.package_manager()
        try:
            inhibitors, sessions = await asyncio.gather(self.logind.inhibitors(), self.logind.sessions())
            # Under an inhibitor the answer is another; it is named itself.
            if not inhibitors and (can := await self.logind.can_reboot()) != "yes":
                text = f"logind does not let agentd reboot this machine (CanReboot says {can})"
                blockers.append(Blocker("logind", "systemd-logind", text))
        except CallFailed as error:
            inhibitors, sessions = [], []
            blockers.append(Blocker("logind", "systemd-logind", f"systemd-logind does not answer: {error}"))
        return Facts(
            blockers=(*inhibitors, *blockers),
            sessions=tuple(sessions),
            clock=await self._distrust(self._reboots.boot),
            required=machine.reboot_required(),
        )

    async def _look(self) -> None:
        facts = await self.facts()
        self._reboots.observed(facts, now())
        self._host.pump()

    def _look_soon(self) -> None:
        if self._reboots.pending is not None:
            self._do(self._look())

    async def _distrust(self, boot: Boot) -> str:
        """Why the clock should not be trusted yet: a time service is on and has not reached anybody."""
        if self._synchronised or now() - boot.at > 6 * HOUR:
            return ""
        try:
            if await self._bus.get(_TIMEDATE, "NTP") and not await self._bus.get(_TIMEDATE, "NTPSynchronized"):
                return "the clock is not synchronised yet (timedatectl)"
        except CallFailed as error:
            if error.name.rpartition(".")[2] not in _NO_TIMEDATE:
                return f"it is not known whether the clock is synchronised: timedated does not answer ({error})"
        self._synchronised = True
        return ""

    async def look(self) -> tuple[Facts, str]:
        """What the machine is like, and what logind says to a reboot: yes under an inhibitor, which is told itself."""
        facts = await self.facts()
        if any(blocker.kind == "inhibitor" for blocker in facts.blockers):
            return facts, "yes"
        try:
            return facts, await self.logind.can_reboot()
        except CallFailed:
            return facts, "na"

    async def user_of(self, caller: Caller) -> str:
        """Returns the user who calls, as they logged in: sudo does not change that. Or "", unknown."""
        try:
            pid = await self._bus.call_bus("GetConnectionUnixProcessID", "s", caller.sender)
            uid = await self._bus.call_bus("GetConnectionUnixUser", "s", caller.sender)
        except CallFailed:
            return ""
        return await self.logind.user_of(pid) or user_name(uid)

    # Telling people

    def _announce(self, member: str, *body: Any) -> None:
        self._server.emit("Reboot", member, *body)

    def _warn(self, reason: str, at: int) -> None:
        local = datetime.fromtimestamp(at / SECOND, UTC).astimezone()
        minutes = max(0, round((at - now()) / MINUTE))
        text = f"The machine reboots at {local:%H:%M} (in {minutes} min): {reason}"
        log.info(text, id="reboot")
        self._announce("RebootAnnounced", reason, at)
        self._do(self._wall(f"{text}\nSave your work. What is in the way of it: agentctl reboot status"))

    async def _wall(self, text: str) -> None:
        """Writes to the terminals of those who are logged in: a unit does that, agentd has no terminal's group."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._message.write_text, f"{text}\n")
            await self._bus.call(_SYSTEMD, "StartUnit", "ss", _WALL_UNIT, "replace")
        except (OSError, CallFailed) as error:
            log.warning(f"nobody could be told on the terminals: {error}", id="reboot")

    # Doing

    async def _reboot(self, effect: RebootIssues) -> None:
        reboot = effect.reboot
        await self._host.saved()
        pending = self._reboots.pending
        if pending is None or (pending.id, pending.state, pending.attempts) != (reboot.id, "issued", reboot.attempts):
            return  # it took so long to store that it was given up meanwhile
        log.warning(f"asking logind for a {reboot.kind}: {reboot.reason}", id="reboot")
        try:
            await self.logind.reboot(reboot.kind, f"agentd: {reboot.reason}")
        except CallFailed as error:
            # A peer that is gone may be gone because the machine goes down, and one that is slow may do it yet.
            if not error.away and not error.name.endswith(".Timeout"):
                self._reboots.refused(str(error), now())
                self._host.pump()

    def _trouble(self, what: str) -> None:
        log.warning(what, id="peer-trouble")

    def _down(self, down: bool) -> None:
        self._reboots.preparing(down, now())
        self._host.pump()
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self._do(self._end_gracefully()) if down else None

    async def _end_gracefully(self) -> None:
        """Gives what runs its time, saves, then lets the machine go down."""
        patience = max(0.0, await self.logind.patience() - _MARGIN)
        self.jobs_changed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), patience)
        if self._reboots.going_down:
            await self._host.saved()
            self.logind.release_lock()

    async def _take_slot(self, reason: str) -> None:
        why = await self._ask_fleet(lambda fleet: fleet.acquire(reason))
        self._reboots.slot_answered(why, now())
        self._host.pump()

    async def _free_slot(self) -> None:
        if self._freeing:
            return
        self._freeing = True
        try:
            while why := await self._ask_fleet(lambda fleet: fleet.release()):
                log.warning(f"the fleet's slot may still be held: {why}", id="reboot")
                await asyncio.sleep(_FREE_AGAIN)
                if self._reboots.wants_slot(now()):
                    return
        finally:
            self._freeing = False
        self._reboots.slot_freed()
        self._host.pump()

    async def _leave(self, fleet: "Fleet") -> None:
        """Gives the slot back to a fleet that is not configured any more."""
        while why := await self._ask(lambda _: fleet.release(), fleet):
            log.warning(f"the slot of the fleet that was configured before may still be held: {why}", id="reboot")
            await asyncio.sleep(_FREE_AGAIN)

    async def holders(self) -> list[Any]:
        """Who holds the fleet's slots. Raises Refused PeerFailed."""
        if self.fleet is None:
            raise Refused("Unsupported", "no fleet is configured (reboot.fleet in agentd.yaml(5))")
        try:
            async with self._listing:  # one question at a time, whoever asks
                return await asyncio.get_running_loop().run_in_executor(None, self.fleet.holders)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the peer, the caller gets a sentence
            raise Refused("PeerFailed", str(error)) from None

    async def _ask_fleet(self, question: "Callable[[Fleet], None]") -> str:
        """Why the fleet's lock did not do it, or ""."""
        return self._no_fleet if self.fleet is None else await self._ask(question, self.fleet)

    async def _ask(self, question: "Callable[[Fleet], None]", fleet: "Fleet") -> str:
        try:
            async with self._asking:
                await asyncio.get_running_loop().run_in_executor(None, question, fleet)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is no slot and no reboot
            return str(error)
        return ""
