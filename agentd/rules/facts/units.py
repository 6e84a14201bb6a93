"""Facts of systemd's units."""

from typing import TYPE_CHECKING

from agentd.bus.connection import CallFailed
from agentd.core.rules.kpis import Missing, Service

if TYPE_CHECKING:
    from agentd.peers.systemd import Systemd


class UnitFacts:
    """Units, as systemd tells of them."""

    def __init__(self, systemd: "Systemd") -> None:
        self._systemd = systemd

    async def failed(self, _: str) -> float:
        """Returns how many units failed. Raises Missing."""
        try:
            return float(await self._systemd.failed_units())
        except CallFailed as error:
            raise Missing(f"systemd: {error}") from None

    async def unit(self, name: str) -> Service:
        """Returns what systemd tells of a unit. Raises Missing."""
        try:
            loaded, active = await self._systemd.state_of(name)
            if loaded != "loaded":
                raise Missing(f"systemd has no such unit ({loaded})")
            memory = await self._systemd.number_of(name, "MemoryCurrent")
            restarts = await self._systemd.number_of(name, "NRestarts")
        except CallFailed as error:
            raise Missing(f"systemd: {error}") from None
        return Service(active in {"active", "reloading"}, memory, restarts)
