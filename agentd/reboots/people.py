"""The people of a machine: they ask for reboots, and are told of them."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

from agentd import log as logging
from agentd.bus.connection import Bus, CallFailed
from agentd.bus.server import Caller
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.model import RebootWarns, RebootWithdrawn
from agentd.part import Host
from agentd.peers.logind import Logind, user_name
from agentd.peers.systemd import MANAGER
from agentd.reboots.terminals import Terminals
from agentd.tasks import Tasks

log = logging.get()

_PATIENCE = 5.0  # seconds for which a program that asks for a reboot waits for systemd
_KNOWN = 32  # callers whose user is remembered


class People:
    """Knows callers by the users they logged in as, and tells everybody of reboots: in the log, by signals and on
    terminals."""

    def __init__(self, host: Host, bus: Bus, logind: Logind, terminals: Terminals, tasks: Tasks) -> None:
        self._host = host
        self._bus = bus
        self._logind = logind
        self._terminals = terminals
        self._tasks = tasks
        self._known: dict[str, asyncio.Task[str]] = {}  # by the unique name on the bus, which is never used again

    async def user(self, caller: Caller) -> str:
        """Returns the user who calls, as they logged in: sudo does not change that; "" where that is not known."""
        self._known.pop(caller.sender, None)
        return await self.known_user(caller)

    async def known_user(self, caller: Caller) -> str:
        """Returns the user, as above, for a caller who only reads: each caller is looked up once."""
        if (asked := self._known.get(caller.sender)) is None:
            asked = self._known[caller.sender] = self._tasks.do(self._user(caller.sender))
            for forgotten in list(self._known)[:-_KNOWN]:
                del self._known[forgotten]
        return await asyncio.shield(asked)

    async def program(self, caller: Caller) -> str:
        """Returns what a program that calls is called where it does not say: its service, or the user who runs it, so
        that no two programs that name no cause are taken for one another."""
        unit = ""
        with contextlib.suppress(CallFailed):
            pid = await self._bus.call_bus("GetConnectionUnixProcessID", "s", caller.sender)
            (path,) = await self._bus.call(MANAGER, "GetUnitByPID", "u", pid, patience=_PATIENCE)
            unit = str(await self._bus.get((MANAGER[0], path, f"{MANAGER[0]}.Unit"), "Id", patience=_PATIENCE))
        if unit.endswith(".service") and not unit.startswith("user@"):
            return unit
        return f"user {await self.user(caller) or 'unknown'}"

    async def _user(self, sender: str) -> str:
        try:
            pid = await self._bus.call_bus("GetConnectionUnixProcessID", "s", sender)
            uid = await self._bus.call_bus("GetConnectionUnixUser", "s", sender)
        except CallFailed:
            return ""
        return await self._logind.user_of(pid) or user_name(uid)

    def tell(self, member: str, *body: Any) -> None:
        """Sends a signal of the interface Reboot."""
        self._host.server.emit("Reboot", member, *body)

    def warn(self, effect: RebootWarns) -> None:
        """Tells everybody that a reboot comes."""
        log.info(self._announcement(effect), id="reboot")
        self.tell("RebootAnnounced", effect.reason, effect.at)
        self._terminals.write(effect.reboot, lambda: self._advice(effect))

    def withdraw(self, effect: RebootWithdrawn) -> None:
        """Tells everybody that the announced reboot does not come for now."""
        log.info(f"no reboot for now: {effect.why}", id="reboot")
        self.tell("RebootWithdrawn", effect.why)
        text = f"The reboot that was announced does not come for now: {effect.plainly}"
        self._terminals.write(effect.reboot, lambda: text)

    def _announcement(self, effect: RebootWarns) -> str:
        local = datetime.fromtimestamp(effect.at / SECOND, UTC).astimezone()
        minutes = max(0, round((effect.at - self._host.now()) / MINUTE))
        return f"The machine reboots at {local:%H:%M} (in {minutes} min): {effect.reason}"

    def _advice(self, effect: RebootWarns) -> str:
        """Returns the announcement for terminals; "" once its instant has passed: it came too late to be of use."""
        if effect.at < self._host.now():
            return ""
        return f"{self._announcement(effect)}\nSave your work. To see what is in its way: agentctl reboot status"
