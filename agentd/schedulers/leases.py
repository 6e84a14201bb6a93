"""The clients whose leases end as they leave the bus."""

from collections.abc import Callable

from agentd.bus.connection import Bus, Undo
from agentd.core.schedulers.schedulers import Schedulers


def is_client(holder: str) -> bool:
    """Tells whether a lease ends with a client: its holder is a unique name on the bus, which no other client gets."""
    return holder.startswith(":")


class Leases:
    """Follows the clients that hold a lease. `on_gone` is told who left."""

    def __init__(self, bus: Bus, core: Schedulers, on_gone: Callable[[str], None]) -> None:
        self._bus, self._core, self._on_gone = bus, core, on_gone
        self._followed: dict[str, Undo] = {}

    async def take_up(self) -> None:
        """Follows those who held a lease before agentd was started anew. Raises CallFailed."""
        for holder in {one.holder for one in self._core.leases if is_client(one.holder)}:
            await self.follow(holder)

    async def follow(self, client: str) -> None:
        """Follows a client; one that left already is told at once. Raises CallFailed."""
        held = {one.holder for one in self._core.leases}
        for name in [name for name in self._followed if name not in held and name != client]:
            self._followed.pop(name)()
        if client not in self._followed:
            self._followed[client] = await self._bus.follow(client, lambda owner: self._changed(client, owner))
            self._changed(client, self._bus.owner(client))

    def close(self) -> None:
        """Follows nobody any more."""
        for undo in self._followed.values():
            undo()
        self._followed = {}

    def _changed(self, client: str, owner: str) -> None:
        if not owner and (undo := self._followed.pop(client, None)) is not None:
            undo()
            self._on_gone(client)
