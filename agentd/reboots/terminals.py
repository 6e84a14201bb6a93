"""The terminals of people who are logged in."""

import asyncio
from collections.abc import Callable

from agentd import log as logging
from agentd.bus.connection import CallFailed
from agentd.part import Host
from agentd.peers.systemd import Systemd
from agentd.tasks import Tasks

log = logging.get()

_UNIT = "agentd-wall.service"
_KNOWN = 8  # reboots of which it is remembered when terminals heard of them


class Terminals:
    """Writes to all terminals, by a unit that reads the message in the state directory: agentd is not in the terminals'
    group. Terminals hear of one reboot at most once within `pause` seconds: of the messages that come earlier, the last
    is written when the pause is over."""

    def __init__(self, host: Host, systemd: Systemd, tasks: Tasks, pause: float) -> None:
        self._systemd = systemd
        self._tasks = tasks
        self._pause = pause
        self._message = host.folder / "wall"
        self._heard: dict[int, float] = {}  # by the reboot, on the loop's clock
        self._next: dict[int, Callable[[], str]] = {}

    def write(self, reboot: int, message: Callable[[], str]) -> None:
        """Writes what `message` returns when it is written; nothing where that is empty by then."""
        waits = reboot in self._next
        self._next[reboot] = message
        if not waits:
            self._tasks.do(self._write_in_turn(reboot))

    async def _write_in_turn(self, reboot: int) -> None:
        clock = asyncio.get_running_loop().time
        if (heard := self._heard.get(reboot)) is not None and (left := heard + self._pause - clock()) > 0:
            await asyncio.sleep(left)
        if text := self._next.pop(reboot)():
            self._heard[reboot] = clock()
            for forgotten in list(self._heard)[:-_KNOWN]:
                del self._heard[forgotten]
            await self._write(text)

    async def _write(self, text: str) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._message.write_text, f"{text}\n")
            await self._systemd.start_unit(_UNIT)
        except (OSError, CallFailed) as error:
            log.warning(f"the message could not be written to the terminals: {error}", id="reboot")
