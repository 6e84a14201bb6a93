"""The door to agentd: whoever changes something needs permission and is named in the log, as is whoever got none."""

import time
from collections.abc import Awaitable, Callable

from agentd import log as logging
from agentd.bus.connection import Bus, CallFailed
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.peers import logind

log = logging.get()

_PATIENCE = 1.0  # seconds that a call waits for logind to name its caller; a stop does not wait for a logind that hangs
_PAUSE = 1.0  # seconds between two lines about refused changes
Authorize = Callable[[Caller], Awaitable[None]]
"""Raises Refused AccessDenied when the caller may not do that."""
_OF_RUNS = frozenset({"org.agentd1.report-progress", "org.agentd1.tell"})
"""The actions that runs do by themselves, over and over: what they tell has its own place."""


class Door:
    """Lets callers in that `authorize` allows to do what they ask for; without it, whoever reaches the bus."""

    def __init__(
        self, bus: Bus, authorize: Authorize | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._authorize = authorize
        self._clock = clock
        self._quiet_until = 0.0
        self._untold = 0  # refusals since the last line about one

    async def admit(self, caller: Caller) -> str:
        """Returns who calls, as they logged in: sudo does not change that; "" where it is not known. Raises Refused
        AccessDenied."""
        try:
            if self._authorize is not None:
                await self._authorize(caller)
        except Refused as refusal:
            await self._tell_refused(caller, refusal)
            raise
        if caller.action in _OF_RUNS:
            return ""
        who = await self._name(caller.sender)
        asked = f"{who or 'somebody'} asked for {caller.member}{_about(caller)}"
        log.info(asked, id="asked", **({"by": who} if who else {}))
        return who

    async def _name(self, sender: str) -> str:
        try:
            pid = await self._bus.call_bus("GetConnectionUnixProcessID", "s", sender)
            uid = await self._bus.call_bus("GetConnectionUnixUser", "s", sender)
        except CallFailed:
            return ""
        return await logind.session_user(self._bus, pid, _PATIENCE) or logind.user_name(uid)

    async def _tell_refused(self, caller: Caller, refusal: Refused) -> None:
        """Tells the log of a refused change, at most once a second: whoever asks again and again fills no disk."""
        self._untold += 1
        if self._clock() < self._quiet_until:
            return
        self._quiet_until = self._clock() + _PAUSE
        others = f" (and {self._untold - 1} more since the last such line)" if self._untold > 1 else ""
        self._untold = 0
        who = await self._name(caller.sender)
        text = f"{who or 'somebody'} was refused {caller.member}{_about(caller)}: {refusal}{others}"
        log.warning(text, id="refused", **({"by": who} if who else {}))


def _about(caller: Caller) -> str:
    """Returns what a call is about, where its first argument can stand in a line: a job, a run, a scheduler."""
    first = caller.arguments[0] if caller.arguments else ""
    return f" {first}" if isinstance(first, str) and 0 < len(first) <= 120 and first.isprintable() else ""
