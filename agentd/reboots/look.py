"""A look at the machine: its inhibitors, the people who are logged in, whether its clock can be trusted.

Callers who only read share looks, and an answer may be some seconds old: however often they ask, logind is asked a
bounded number of times. Whoever acts looks anew.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from agentd.bus.connection import Bus, CallFailed
from agentd.core.quantities import HOUR
from agentd.core.reboots.model import Blocker, Facts
from agentd.core.reboots.policy import REQUIRED
from agentd.peers.logind import Logind
from agentd.reboots import machine
from agentd.tasks import Tasks

RECENT = 5.0
"""Seconds for which a look answers callers who only read."""
_PATIENCE = 5.0  # seconds; a look is taken again soon
_TIMEDATE = ("org.freedesktop.timedate1", "/org/freedesktop/timedate1", "org.freedesktop.timedate1")
_NO_TIMEDATE = {"ServiceUnknown", "NameHasNoOwner", "NoSuchUnit", "UnitMasked", "UnknownProperty"}
_Answer = TypeVar("_Answer")


class Look(Struct, frozen=True):
    """The facts that were seen, and logind's answer to a reboot: yes, no, challenge or na.

    Under an inhibitor the answer is yes: the inhibitor is among the facts itself. `scheduled` is the kind of shutdown
    that somebody has scheduled, and its instant: "" and 0 where nobody has, or logind does not tell.
    """

    facts: Facts
    can: str
    scheduled: tuple[str, int] = ("", 0)


class Looks:
    """Looks at the machine. `uptime` tells how long the machine is up, in microseconds, `clock` elapsed seconds;
    `forgets` why what is stored does not outlive a boot, as a sentence; `sign` the file that asks for a reboot."""

    def __init__(
        self,
        bus: Bus,
        logind: Logind,
        uptime: Callable[[], int],
        tasks: Tasks,
        clock: Callable[[], float] = time.monotonic,
        forgets: str = "",
        sign: Callable[[], str] = lambda: REQUIRED,
    ) -> None:
        self._bus = bus
        self._logind = logind
        self._uptime = uptime
        self._tasks = tasks
        self._clock = clock
        self._forgets = forgets
        self._sign = sign
        self._synchronised = False
        self._shared: asyncio.Task[Look] | None = None
        self._since = 0.0  # when the shared look began

    async def anew(self) -> Look:
        """Looks at the machine now. Whatever cannot be seen is among the blockers."""
        return await asyncio.shield(self._begin())

    async def recent(self) -> Look:
        """Returns a look that began at most RECENT seconds ago; callers at the same time share one."""
        task = self._shared
        if task is None or (task.done() and self._clock() - self._since >= RECENT):
            task = self._begin()
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Has the next reader look anew: something has changed."""
        self._shared = None

    def _begin(self) -> asyncio.Task[Look]:
        """Looks at the machine; readers share that from now on."""
        self._shared, self._since = self._tasks.do(self._look()), self._clock()
        return self._shared

    async def _look(self) -> Look:
        blockers = machine.package_manager()
        inhibitors, sessions, can, scheduled, clock = await asyncio.gather(
            _told(self._logind.inhibitors()),
            _told(self._logind.sessions()),
            _told(self._logind.can_reboot()),
            _told(self._logind.scheduled()),
            self._distrust(),
        )
        wanted = (inhibitors, sessions) if inhibitors else (inhibitors, sessions, can)
        failed = next((answer for answer in wanted if isinstance(answer, CallFailed)), None)
        if failed is not None or isinstance(inhibitors, CallFailed) or isinstance(sessions, CallFailed):
            inhibitors, sessions = [], []
            blockers.append(Blocker("logind", "systemd-logind", f"systemd-logind does not answer: {failed}"))
        elif not inhibitors and can != "yes":
            text = f"logind does not let agentd reboot this machine (CanReboot says {can})"
            blockers.append(Blocker("logind", "systemd-logind", text))
        facts = Facts(
            blockers=(*inhibitors, *blockers),
            sessions=tuple(sessions),
            clock=clock,
            required=machine.reboot_required(self._sign()),
            forgets=self._forgets,
        )
        answer = "yes" if inhibitors else "na" if isinstance(can, CallFailed) else can
        return Look(facts, answer, ("", 0) if isinstance(scheduled, CallFailed) else scheduled)

    async def _distrust(self) -> str:
        """Returns why the clock should not be trusted yet: a time service is on and has not reached anybody."""
        if self._synchronised or self._uptime() > 6 * HOUR:
            return ""
        try:
            if await self._timedate("NTP") and not await self._timedate("NTPSynchronized"):
                return "the clock is not synchronised yet (timedatectl)"
        except CallFailed as error:
            if error.name.rpartition(".")[2] not in _NO_TIMEDATE:
                return f"timedated does not answer ({error}), so nobody knows whether the clock is synchronised"
        self._synchronised = True
        return ""

    async def _timedate(self, name: str) -> Any:
        return await self._bus.get(_TIMEDATE, name, patience=_PATIENCE)


async def _told(question: Awaitable[_Answer]) -> _Answer | CallFailed:
    """Returns what a peer answers, or how it failed."""
    try:
        return await question
    except CallFailed as error:
        return error
