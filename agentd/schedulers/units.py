"""Schedulers as systemd's units: agentd-scx@NAME.service, which agentd may start and stop and nothing more.

The choice is written to a file before the start; root's side of the unit (launcher.py) checks it against root's own
catalogue. A scheduler goes on while agentd is away. Whether it became enabled is the kernel's to say, not systemd's.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agentd.bus.connection import CallFailed, Undo
from agentd.core.schedulers.model import Chosen, Exit, Tenure
from agentd.peers.systemd import AGAIN, RELOAD_TIMEOUT, TRIES, Systemd, insist
from agentd.tasks import Tasks

REQUESTS = Path("/run/agentd/schedulers")
"""The folder of the choices, as root's side reads them: NAME.json."""
PATTERN = "agentd-scx@*.service"
SLICE = "system.slice"
"""The control group of the units, which units/agentd-scx@.service names as well."""
TRIALS = "agentd-scx-try@"
"""The beginning of the units that try a scheduler of one's own."""
_RUN = 200.0  # seconds for a unit that ends by itself; those of a verification have less
_PAUSE = 1.0  # seconds between two looks whether a trial is over
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,99}")
"""The names that are instances of the unit as they are; polkit's rule has the same (units/agentd.rules)."""
_CODES: Mapping[object, Any] = {1: "exited", 2: "killed", 3: "dumped"}  # CLD_EXITED and so on of sigaction(2)


def unit_of(name: str) -> str:
    """Returns the unit of a scheduler. Raises ValueError where the name is none that a unit can have."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} cannot be the name of a scheduler's unit")
    return f"agentd-scx@{name}.service"


def name_of(unit: str) -> str:
    """Returns the scheduler of a unit, "" for any other unit."""
    name = unit.removeprefix("agentd-scx@").removesuffix(".service")
    return name if _NAME.fullmatch(name) and unit == f"agentd-scx@{name}.service" else ""


def write_request(chosen: Chosen, folder: Path = REQUESTS) -> None:
    """Writes a choice for root's side, as a whole or not at all; everybody can read it. Raises OSError, ValueError."""
    unit_of(chosen.name)
    new = folder / f".{chosen.name}.json"
    new.unlink(missing_ok=True)  # whatever lies there is not written through
    new.write_bytes(msgspec.json.encode({"name": chosen.name, "mode": chosen.mode, "flags": dict(chosen.flags)}))
    new.chmod(0o644)
    new.rename(folder / f"{chosen.name}.json")


def exit_of(properties: Mapping[str, Any]) -> Exit:
    """Returns the end that the properties of a service at rest tell; an empty one where systemd does not know."""
    if not properties:
        return Exit()
    return Exit(
        str(properties["Result"]), _CODES.get(properties["ExecMainCode"], ""), int(properties["ExecMainStatus"])
    )


class SchedulerUnits:
    """Starts and stops the units of schedulers. `on_ended` is told on the loop which scheduler's unit came to rest and
    how; `on_trouble` a sentence when systemd does not do its part, `on_defect` of errors in dealing with it."""

    def __init__(
        self,
        systemd: Systemd,
        on_ended: Callable[[str, Exit], None],
        on_trouble: Callable[[str], None],
        on_defect: Callable[[str, BaseException], None],
        folder: Path = REQUESTS,
    ) -> None:
        self._systemd = systemd
        self._on_ended = on_ended
        self._on_trouble = on_trouble
        self._folder = folder
        self._watched: dict[str, Undo] = {}  # by the name of the scheduler
        self._unlisten: Undo = lambda: None
        self._tasks = Tasks(lambda error: on_defect("talking to systemd about schedulers", error))

    async def take_up(self) -> list[str]:
        """Listens to systemd from now on; returns the schedulers whose units run, or of which something is asked: their
        ends are told. Raises CallFailed."""
        self._unlisten = await self._systemd.listen(self._catch_up)
        names = await self.alive()
        for name in names:
            await self._watch(name)
        return names

    async def alive(self) -> list[str]:
        """Returns the schedulers whose units run, or of which something is asked. Raises CallFailed."""
        units = await insist(lambda: self._systemd.alive(PATTERN))
        return sorted(filter(None, map(name_of, units)))

    async def began(self, tenure: Tenure) -> bool:
        """Tells whether the unit of a scheduler was started in its tenure; where systemd does not say, it was."""
        try:
            at, _ = await self._systemd.beginning(unit_of(tenure.chosen.name))
        except CallFailed:
            return True
        return at >= tenure.since

    async def start(self, chosen: Chosen) -> str:
        """Asks for the start of a scheduler's unit; returns "" or why nothing was started, as a sentence. That the unit
        began says nothing yet of the scheduler; its end is told."""
        try:
            await asyncio.to_thread(write_request, chosen, self._folder)
            await self._watch(chosen.name)
        except (OSError, ValueError) as error:
            return f"the choice of {chosen.name} could not be written to {self._folder}: {_trouble(error)}"
        except CallFailed as error:
            return f"systemd does not tell what becomes of units: {error}"
        unit = unit_of(chosen.name)
        for _ in range(TRIES):
            try:
                await self._systemd.start_unit(unit, patience=RELOAD_TIMEOUT)
            except CallFailed as error:
                failure = error
            else:
                return ""
            if not failure.away:
                break
            await asyncio.sleep(AGAIN)
            # systemd may have heard all the same: the scheduler may run, or have ended already.
            if chosen.name not in self._watched or chosen.name in await self._alive_or_unknown(chosen.name):
                return ""
        self._unwatch(chosen.name)
        return f"systemd did not start {unit}: {failure}"

    async def stop(self, name: str) -> str:
        """Asks for the stop of a scheduler's unit; returns "" or why that failed, as a sentence. The end is told, also
        of a unit that did not run."""
        try:
            await self._watch(name)
            await insist(lambda: self._systemd.stop_unit(unit_of(name), patience=RELOAD_TIMEOUT))
        except CallFailed as error:
            if error.name.endswith(".NoSuchUnit"):  # it ended well, and systemd forgot it
                self._rested(name)
                return ""
            return f"systemd did not stop {unit_of(name)}: {error}"
        if name not in await self._alive_or_unknown(name):
            self._rested(name)
        return ""

    # What a verification starts, which ends by itself

    async def run(self, unit: str) -> str:
        """Starts a unit and waits for its end; returns "" or why that failed, as a sentence."""
        try:
            result = await self._systemd.start_and_wait(unit, patience=_RUN)
        except CallFailed as error:
            return f"systemd did not start {unit}: {error}"
        if result == "done":
            return ""
        if not result:
            return f"{unit} is not over after {_RUN:.0f} s"
        return f"{unit} is {result}: {await self._systemd.failure(unit) or 'systemd does not say why'}"

    async def trial(self) -> str:
        """Returns the scheduler of one's own whose trial is under way; "": none is. Raises CallFailed."""
        units = await insist(lambda: self._systemd.alive(f"{TRIALS}*.service"))
        return next((unit.removeprefix(TRIALS).removesuffix(".service") for unit in units), "")

    async def trials_over(self) -> None:
        """Returns once no trial is under way, as far as systemd says."""
        try:
            while await self.trial():  # noqa: ASYNC110 - systemd knows, and it is another process
                await asyncio.sleep(_PAUSE)
        except CallFailed as error:
            self._on_trouble(f"systemd does not tell whether a scheduler is being tried: {error}")

    def close(self) -> None:
        """Leaves everything as it is: the schedulers go on."""
        self._tasks.close()
        self._unlisten()
        for name in [*self._watched]:
            self._unwatch(name)

    async def _alive_or_unknown(self, name: str) -> list[str]:
        """Returns the schedulers that run; where systemd does not say, the one asked about counts among them."""
        try:
            return await self.alive()
        except CallFailed:
            return [name]

    async def _watch(self, name: str) -> None:
        """Has the end of a unit told. Raises CallFailed."""
        if name not in self._watched:
            self._watched[name] = lambda: None
            try:
                self._watched[name] = await self._systemd.watch_rest(unit_of(name), partial(self._rested, name))
            except BaseException:
                del self._watched[name]
                raise

    def _unwatch(self, name: str) -> None:
        if undo := self._watched.pop(name, None):
            undo()

    def _rested(self, name: str) -> None:
        """Takes note that a unit is at rest, or was as systemd told of it."""
        if name in self._watched:
            self._tasks.do(self._tell(name))

    async def _tell(self, name: str) -> None:
        """Tells of the end of a unit, once, however often that is heard. A unit that systemd is about to start is at
        rest as well, and is told as such: that is no end."""
        try:
            if name in await self.alive():
                return
        except CallFailed as error:
            self._on_trouble(f"systemd does not tell whether {unit_of(name)} runs: {error}")
            return
        if name not in self._watched:
            return
        self._unwatch(name)
        found: Mapping[str, Any] = {}
        with contextlib.suppress(CallFailed):  # that it ended is what counts
            found = await insist(lambda: self._systemd.last_end(unit_of(name)))
        self._on_ended(name, exit_of(found))

    async def _catch_up(self) -> None:
        """Looks for ends that were not told while PID 1 executed itself anew."""
        try:
            alive = await self.alive()
        except CallFailed as error:
            self._on_trouble(f"systemd does not tell which schedulers run: {error}")
            return
        for name in self._watched.keys() - set(alive):
            self._rested(name)


def _trouble(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
