"""power-profiles-daemon as a peer, or what stands in for it (tuned-ppd, tlp-pd): which power profile is active.

The daemon is never started by a question: it is asked while it runs, by its unique name, and after that told by it.
"""

from collections.abc import Callable
from typing import Any

from agentd.bus.connection import PROPERTIES, Bus, CallFailed, Undo
from agentd.tasks import Tasks

_SERVICES = (
    ("org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"),
    ("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles"),  # before 0.20, and some that stand in for it
)
"""Names of the service, the newer first; the interface is called as the service. New ones own both names."""
_PATIENCE = 5.0  # seconds
_LONGEST = 100  # characters of a profile's name


class Profiles:
    """The active power profile. `on_change` is told each new one ("": nobody tells any more), `on_defect` of errors in
    dealing with the daemon."""

    def __init__(
        self, bus: Bus, on_change: Callable[[str], None], on_defect: Callable[[str, BaseException], None]
    ) -> None:
        self.active = ""
        """The profile: power-saver, balanced, performance, or what else the daemon has; "" where nobody tells one."""
        self._bus = bus
        self._on_change = on_change
        self._undo: list[Undo] = []
        self._looks = 0  # a look that was overtaken by a newer one tells nothing
        self._tasks = Tasks(lambda error: on_defect("hearing of power profiles", error))

    async def start(self) -> None:
        """Listens from now on, and asks what is active where the daemon runs. Raises CallFailed where the bus does not
        answer."""
        for name, path in _SERVICES:
            self._undo.append(await self._bus.follow(name, lambda _: self._look_soon()))
            self._undo.append(await self._bus.watch((name, path, PROPERTIES), "PropertiesChanged", self._changed))
        await self._look()

    def close(self) -> None:
        """Calls back no more."""
        self._tasks.close()
        for undo in self._undo:
            undo()
        self._undo = []

    def _changed(self, arguments: list[Any]) -> None:
        if "ActiveProfile" in {*arguments[1], *arguments[2]}:
            self._look_soon()

    def _look_soon(self) -> None:
        self._tasks.do(self._look())

    async def _look(self) -> None:
        self._looks += 1
        look = self._looks
        found = ""
        for name, path in _SERVICES:
            if not (owner := self._bus.owner(name)):
                continue
            try:
                found = str(await self._bus.get((owner, path, name), "ActiveProfile", patience=_PATIENCE))[:_LONGEST]
                break
            except CallFailed:  # it left meanwhile, which is told; or it does not serve this name's interface
                continue
        if look == self._looks and found != self.active:
            self.active = found
            self._on_change(found)
