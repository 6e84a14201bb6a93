"""The fleet's slot, as the keeper of slots has it: taken, given back, and who holds the others."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agentd import log as logging
from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.core.reboots.model import PART
from agentd.core.reboots.policy import FleetPolicy
from agentd.core.reboots.reboots import Reboots
from agentd.part import Host
from agentd.tasks import Tasks

if TYPE_CHECKING:
    from agentd.reboots.fleet.lock import Fleet, Holder

log = logging.get()

_DOWNTIME = 600  # seconds a reboot is expected to take at most; twice that, and the fleet knows the host as overdue
_FREE_AGAIN = 60.0  # seconds between two tries to give the fleet its slot back
_GOOD_FOR = 10 * SECOND  # the keeper's word about who holds its slots, for whoever asks
_NO_FLEET = "no fleet is configured"


class Slots:
    """Asks the fleet for this machine's slot and tells the core what it says. `machine_id` is that of machine-id(5)."""

    def __init__(self, host: Host, reboots: Reboots, machine_id: str, tasks: Tasks) -> None:
        self.fleet: Fleet | None = None
        self._host = host
        self._reboots = reboots
        self._machine_id = machine_id
        self._tasks = tasks
        self._policy: FleetPolicy | None = None
        self._no_fleet = _NO_FLEET
        self._freeing = False
        self._asking = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._told: tuple[int, list[Holder] | str] | None = None  # when the keeper was asked, and who holds, or why not

    def configure(self, policy: FleetPolicy | None) -> None:
        """Asks that fleet for slots from now on. A slot of another fleet is given back there."""
        if self.fleet is not None and policy != self._policy and self._reboots.ledger.slot:
            self._tasks.do(self._leave(self.fleet))
        self.fleet, self._policy, self._no_fleet, self._told = None, policy, _NO_FLEET, None
        if policy is None:
            return

        from agentd.reboots.fleet.connect import connect  # noqa: PLC0415 - few have one, and it would cost memory

        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        name, credentials = socket.gethostname(), Path(folder) if folder else None
        try:
            self.fleet = connect(policy, name, self._machine_id, credentials, _DOWNTIME)
        except ValueError as error:
            self._no_fleet = str(error)
            log.error(f"the fleet cannot be used, so no reboot gets a slot: {error}", id="reboot")

    async def take(self, reason: str) -> None:
        """Asks for a slot and tells the core the answer."""
        why = await self._ask_fleet(lambda fleet: fleet.acquire(reason))
        self._host.hear(PART, lambda: self._reboots.slot_answered(why, self._host.now()))

    async def free(self) -> None:
        """Gives the slot back, however often that must be tried, unless the slot is wanted again meanwhile."""
        if self._freeing:
            return
        self._freeing, told = True, ""
        try:
            while why := await self._ask_fleet(lambda fleet: fleet.release()):
                if why != told:  # once, not every minute of a server's night
                    log.warning(f"the fleet's slot may still be held: {why}", id="reboot")
                told = why
                await asyncio.sleep(_FREE_AGAIN)
                if self._reboots.wants_slot(self._host.now()):
                    return
        finally:
            self._freeing = False
        self._host.hear(PART, self._reboots.slot_freed)

    async def holders(self) -> "list[Holder]":
        """Returns the machines that hold the fleet's slots, as ten seconds ago at most: anybody may ask, and the
        keeper is asked with the fleet's password. Raises Refused Unsupported, PeerFailed.
        """
        async with self._listing:  # who waits here gets the answer to the question under way
            fleet, told = self._configured(), self._told
            if told is None or not 0 <= self._host.now() - told[0] < _GOOD_FOR:
                told = await self._list(fleet)
                if fleet is self.fleet:
                    self._told = told
        if isinstance(told[1], str):
            raise Refused("PeerFailed", told[1])
        return told[1]

    async def evict(self, holder: str, who: str) -> str:
        """Frees the slot of another machine, because a person (`who`) says that it does not come back; returns its id.

        Raises Refused Unsupported, PeerFailed, NoSuchHolder, Busy, InvalidArgument.
        """
        async with self._listing:
            fleet, self._told = self._configured(), None
            try:
                key = await asyncio.get_running_loop().run_in_executor(None, fleet.evict, holder)
            except Refused:
                raise
            except Exception as error:  # noqa: BLE001 - as below
                raise Refused("PeerFailed", str(error)) from None
        shown = key if key == holder else f"{holder} ({key})"
        text = f"the slot of {shown} in the fleet was freed by {who or 'somebody'}"
        log.warning(text, id="reboot")
        now = self._host.now()
        self._host.hear(PART, lambda: self._reboots.book.decide(now, text))
        return key

    def _configured(self) -> "Fleet":
        """Returns the keeper of the fleet's slots. Raises Refused Unsupported."""
        if self.fleet is None:
            raise Refused("Unsupported", "no fleet is configured (reboot.fleet in agentd.yaml(5))")
        return self.fleet

    async def _list(self, fleet: "Fleet") -> "tuple[int, list[Holder] | str]":
        """Asks the keeper who holds slots; returns when the answer came, and the answer or why there is none."""
        try:
            said: list[Holder] | str = await asyncio.get_running_loop().run_in_executor(None, fleet.holders)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the peer, the caller gets a sentence
            said = str(error)
        return self._host.now(), said

    async def _leave(self, fleet: "Fleet") -> None:
        """Gives the slot back to a fleet that is no longer configured."""
        told = ""
        while why := await self._ask(lambda _: fleet.release(), fleet):
            if why != told:
                log.warning(f"the slot of the fleet that was configured before may still be held: {why}", id="reboot")
            told = why
            await asyncio.sleep(_FREE_AGAIN)

    async def _ask_fleet(self, question: "Callable[[Fleet], None]") -> str:
        """Returns why the fleet's keeper of slots did not do it, or ""."""
        return self._no_fleet if self.fleet is None else await self._ask(question, self.fleet)

    async def _ask(self, question: "Callable[[Fleet], None]", fleet: "Fleet") -> str:
        try:
            async with self._asking:
                await asyncio.get_running_loop().run_in_executor(None, question, fleet)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is no slot and no reboot
            return str(error)
        finally:
            self._told = None  # a slot taken or given back shows at once
        return ""
