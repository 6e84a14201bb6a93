"""The members of org.agentd1.Scheduler about the monitor; the code that measures is loaded with the first session."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.tasks import Threads

if TYPE_CHECKING:
    from agentd.schedulers.monitoring import Monitor


class Metering:
    """The monitor, which is made when it is first started."""

    def __init__(self, threads: Threads, make: "Callable[[type[Monitor]], Monitor]") -> None:
        self._threads, self._make = threads, make
        self._made: Monitor | None = None

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (self.StartMonitor, self.StopMonitor, self.GetMonitor)
        return {handler.__name__: handler for handler in handlers}

    def close(self) -> None:
        """Reads no more."""
        if self._made is not None:
            self._made.close()

    async def StartMonitor(self, options: dict[str, Any], caller: Caller) -> Any:
        if self._made is None:
            kind = await self._threads.do(_load)
            self._made = self._made or self._make(kind)  # another call may have come first
        return await self._made.start(options, caller)

    async def StopMonitor(self) -> bool:
        return self._made is not None and await self._made.stop()

    def GetMonitor(self) -> Any:
        return ({}, (), ()) if self._made is None else self._made.get()


def _load() -> "type[Monitor]":
    """Loads what measures, apart from the loop: that takes some milliseconds."""
    from agentd.schedulers.monitoring import Monitor  # noqa: PLC0415 - few ever measure

    return Monitor
