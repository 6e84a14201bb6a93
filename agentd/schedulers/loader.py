"""The name org.scx.Loader: agentd has it while the settings say so, for scxctl and others that call scx_loader.

The name has a connection of its own. The bus's policy about a name holds for all that is sent to the connection that
has the name: where scx_loader is installed too, its policy would keep callers away from org.agentd1.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agentd import log as logging
from agentd.bus.connection import Bus, BusError, CallFailed
from agentd.bus.contract import Offer
from agentd.bus.server import Object, Server
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import SchedulerSettings
from agentd.part import Host
from agentd.schedulers.inventory import Inventory
from agentd.tasks import Tasks

if TYPE_CHECKING:
    from agentd.schedulers.api import Api, Watches
    from agentd.schedulers.loader_api import LoaderApi

log = logging.get()

NAME = "org.scx.Loader"
CONTRACT = Path(__file__).with_name(f"{NAME}.xml")
_OBJECT = Object(name=NAME, path="/org/scx/Loader", asks=True)
_SETTING = "scheduler.serve_scx_loader"
_TAKEN = (
    f"another program has the name {NAME}, so scxctl talks to that one ({_SETTING}): end it, as by systemctl disable "
    f"--now scx_loader, and agentd takes over; or set {_SETTING} to false"
)


class Loader:
    """The service of that name, for as long as the settings want it."""

    def __init__(
        self,
        host: Host,
        core: Schedulers,
        shell: "Watches",
        inventory: Inventory,
        api: "Callable[[], Api]",
        bus: Bus,
    ) -> None:
        self._host, self._core, self._shell, self._inventory, self._api = host, core, shell, inventory, api
        self._bus = bus
        self.trouble = ""
        """The reason why callers are not answered, as a sentence."""
        self._settings = SchedulerSettings()
        self._tasks = Tasks(lambda error: host.defect(NAME, error))
        self._serving: asyncio.Task[None] | None = None
        self._compare: Callable[[], None] | None = None

    def follow(self, settings: SchedulerSettings) -> None:
        """Takes the name or leaves it, as the settings say; tries again where it was lost."""
        self._settings = settings
        if not settings.serve_scx_loader:
            self.close()
            self._say("")
        elif self._serving is None or self._serving.done():
            self._serving = self._tasks.do(self._serve())
        elif self._compare is not None:
            self._compare()

    def close(self) -> None:
        """Leaves the name."""
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None

    async def _serve(self) -> None:
        """Has the name, or waits for it, until cancelled."""
        from agentd.schedulers.loader_api import LoaderApi  # noqa: PLC0415 - only where it is wanted

        api = LoaderApi(self._core, self._shell, self._inventory, self._api(), lambda: self._settings)
        try:
            await self._shell.inventory()
            with contextlib.closing(await self._bus.beside()) as bus:
                server = self._host.server.beside(bus, [Offer(CONTRACT, api.methods(), api.properties())], _OBJECT)
                await self._answer(bus, server, api)
        except (BusError, CallFailed) as error:
            self._say(f"{NAME} is not served: {error}; a reload tries it again ({_SETTING})")

    async def _answer(self, bus: Bus, server: Server, api: "LoaderApi") -> None:
        """Answers on a connection until cancelled. Raises BusError, also where the connection is lost."""

        def owned(owner: str) -> None:
            self._say(_TAKEN if owner not in {"", bus.unique_name} else "")

        await bus.follow(NAME, owned)
        await server.start(wait=True)
        owned(bus.owner(NAME))
        self._compare = lambda: server.changed(*(f"Loader.{name}" for name in api.changes()))
        telling = self._tasks.do(self._tell(self._compare))
        try:
            await bus.lost()
        finally:
            telling.cancel()
            self._compare = None
        raise BusError("the connection to the bus was lost")

    async def _tell(self, compare: Callable[[], None]) -> None:
        """Has the properties compared with what was told of them, whenever something of schedulers changes."""
        while True:
            news = self._shell.news
            compare()
            await news.wait()

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._host.server.changed("Manager.Warnings")
            if trouble:
                log.warning(trouble, id="scheduler")
