"""PID 1 as a peer: units are started, stopped and asked about; systemd tells what becomes of its jobs and units.

While PID 1 executes itself anew (daemon-reexec), it answers nobody, and what happens meanwhile is not told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from agentd.bus.connection import PROPERTIES, TIMEOUT, Bus, CallFailed, Listener, Remote, Undo, plain
from agentd.core.reboots.model import Boot
from agentd.linux import boot_time
from agentd.tasks import Tasks

NAME = "org.freedesktop.systemd1"
MANAGER = (NAME, "/org/freedesktop/systemd1", f"{NAME}.Manager")
RELOAD_TIMEOUT = 180.0  # seconds; every generator of the machine runs
AGAIN = 0.5  # seconds between two tries while PID 1 executes itself anew
TRIES = 120
_AT_REST = {"inactive", "failed"}
_END = ("Result", "ExecMainCode", "ExecMainStatus", "CPUUsageNSec", "MemoryPeak")
_UNKNOWN = (1 << 64) - 1  # as systemd says that it does not know a number
_T = TypeVar("_T")


async def insist(question: Callable[[], Awaitable[_T]]) -> _T:
    """Asks something that may be asked twice, for a minute while PID 1 executes itself anew; returns the answer.

    Raises CallFailed, at once where to ask again would not help.
    """
    for _ in range(TRIES - 1):
        try:
            return await question()
        except CallFailed as error:
            if not error.away or error.name.endswith(".Disconnected"):
                raise
        await asyncio.sleep(AGAIN)
    return await question()


async def this_boot(bus: Bus, boot_id: str) -> Boot:
    """Returns this boot of the machine, or of its user space alone: that has the same kernel, and so the same boot id.

    Raises CallFailed.
    """
    try:
        count = int(await insist(lambda: bus.get(MANAGER, "SoftRebootsCount")))
    except CallFailed as error:
        if not error.name.endswith((".UnknownProperty", ".UnknownInterface")):
            raise
        count = 0  # a systemd before 256
    if not count:
        return Boot(boot_id, boot_time())
    return Boot(f"{boot_id}+{count}", int(await insist(lambda: bus.get(MANAGER, "UserspaceTimestamp"))))


def unit_path(unit: str) -> str:
    """Returns the object path of a unit: systemd escapes the unit's name for that."""
    plain = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in unit)
    return f"/org/freedesktop/systemd1/unit/{plain}"


class Systemd:
    """PID 1 of this machine. `on_trouble` is told a sentence when systemd does not do its part, `on_defect` of errors
    in dealing with it."""

    def __init__(
        self, bus: Bus, on_trouble: Callable[[str], None], on_defect: Callable[[str, BaseException], None]
    ) -> None:
        self._bus = bus
        self._on_trouble = on_trouble
        self._tasks = Tasks(lambda error: on_defect("hearing of systemd", error))

    # News

    async def listen(self, on_missed: Callable[[], Coroutine[Any, Any, None]], **listeners: Listener) -> Undo:
        """Has the listeners told the arguments of the manager's signals that they are named for (JobNew, JobRemoved,
        UnitRemoved), until the function returned is called. Raises CallFailed.

        `on_missed` is awaited after PID 1 executed itself anew: nothing of what happened meanwhile was told.
        """

        def owner_changed(owner: str) -> None:
            if owner:
                self._tasks.do(self._catch_up(on_missed))

        undo = [await self._bus.follow(NAME, owner_changed)]
        for member, listener in listeners.items():
            undo.append(await self._bus.watch(MANAGER, member, listener))
        await self._subscribe()

        def unlisten() -> None:
            for one in undo:
                one()

        return unlisten

    async def _subscribe(self) -> None:
        """Has systemd emit signals for this connection. Raises CallFailed."""
        try:
            await insist(lambda: self._bus.call(MANAGER, "Subscribe", patience=RELOAD_TIMEOUT))
        except CallFailed as error:
            if not error.name.endswith(".AlreadySubscribed"):  # systemd had heard the try before
                raise

    async def _catch_up(self, on_missed: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await self._subscribe()
        except CallFailed as error:
            self._on_trouble(f"systemd does not tell what becomes of units, agentd looks itself: {error}")
        await on_missed()

    def close(self) -> None:
        """Ends what is under way; units go on."""
        self._tasks.close()

    # Units

    async def start_unit(self, unit: str, *, patience: float = TIMEOUT) -> str:
        """Asks for the start of a unit; returns the path of systemd's job for it. Raises CallFailed.

        After CallFailed with `away` set, systemd may have heard all the same.
        """
        (job,) = await self._bus.call(MANAGER, "StartUnit", "ss", unit, "replace", patience=patience)
        return str(job)

    async def start_and_wait(self, unit: str, *, patience: float) -> str:
        """Starts a unit; returns systemd's word for how that went, such as "done" or "failed", or "" where nothing was
        told within `patience` seconds. Somebody has to listen(). Raises CallFailed."""
        told: dict[str, str] = {}
        news = asyncio.Event()

        def removed(arguments: list[Any]) -> None:
            _, job, _, result = arguments
            told[job] = result
            news.set()

        unwatch = await self._bus.watch(MANAGER, "JobRemoved", removed)
        try:
            job = await self.start_unit(unit)
            async with asyncio.timeout(patience):
                while job not in told:
                    await news.wait()
                    news.clear()
        except TimeoutError:
            return ""
        finally:
            unwatch()
        return told[job]

    async def stop_unit(self, unit: str, *, patience: float = TIMEOUT) -> str:
        """Asks for the stop of a unit; returns the path of systemd's job for it. Raises CallFailed."""
        (job,) = await self._bus.call(MANAGER, "StopUnit", "ss", unit, "replace", patience=patience)
        return str(job)

    async def reload(self) -> None:
        """Has systemd run its generators and read its units anew. Raises CallFailed."""
        await insist(lambda: self._bus.call(MANAGER, "Reload", patience=RELOAD_TIMEOUT))

    async def is_alive(self, *units: str) -> bool:
        """Returns whether one of these units runs, or something is asked of it. Raises CallFailed.

        All are looked at in one moment. Units that systemd has not loaded are not loaded for this: systemd would tell
        that it drops them again, which is itself a reason to ask.
        """
        (found,) = await self._bus.call(MANAGER, "ListUnitsByPatterns", "asas", [], list(units))
        return any(active not in _AT_REST or job for _, _, _, active, _, _, _, job, *_ in found)

    async def alive(self, pattern: str) -> list[str]:
        """Returns the units that match a shell-style pattern and run, or of which something is asked. Raises
        CallFailed."""
        (found,) = await self._bus.call(MANAGER, "ListUnitsByPatterns", "asas", [], [pattern])
        return [str(name) for name, _, _, active, _, _, _, job, *_ in found if active not in _AT_REST or job]

    async def _is_loaded(self, unit: str) -> bool:
        """Returns whether systemd has a unit in memory; the unit is not loaded for this. Raises CallFailed."""
        (found,) = await self._bus.call(MANAGER, "ListUnitsByPatterns", "asas", [], [unit])
        return bool(found)

    async def watch_rest(self, unit: str, on_rest: Callable[[], None]) -> Undo:
        """Has `on_rest` called each time that a unit comes to rest (inactive or failed), until the function returned is
        called. Somebody has to listen(). Raises CallFailed."""

        def changed(arguments: list[Any]) -> None:
            interface, properties, _ = arguments
            if interface == f"{NAME}.Unit" and plain(properties.get("ActiveState")) in _AT_REST:
                on_rest()

        return await self._bus.watch((NAME, unit_path(unit), PROPERTIES), "PropertiesChanged", changed)

    async def beginning(self, unit: str) -> tuple[int, str]:
        """Returns when a unit began, in microseconds (0: it has not), and the id of its invocation ("": the same).

        Raises CallFailed.
        """
        remote = _unit(unit)
        at, invocation = await asyncio.gather(
            self._bus.get(remote, "InactiveExitTimestamp"), self._bus.get(remote, "InvocationID")
        )
        return at, bytes(invocation).hex() if any(invocation) else ""

    async def last_end(self, unit: str) -> dict[str, Any]:
        """Returns how the last run of a service ended, as far as systemd still knows: properties by their names.

        Empty where systemd does not know of a run, or where the unit began anew meanwhile. Raises CallFailed.
        """
        # A unit that ended well is mostly forgotten already. Each question about a property would load it anew, and
        # tell of all units that it names: nine questions were a third of what PID 1 did for a switch of schedulers.
        if not await self._is_loaded(unit):
            return {}
        remote, service = _unit(unit), (NAME, unit_path(unit), f"{NAME}.Service")
        invocation = await self._bus.get(remote, "InvocationID")
        found = {name: await self._bus.get(service, name) for name in _END}
        found["StateChangeTimestamp"] = await self._bus.get(remote, "StateChangeTimestamp")
        state = await self._bus.get(remote, "ActiveState")
        if not any(invocation) or state not in _AT_REST or await self._bus.get(remote, "InvocationID") != invocation:
            return {}
        return {**found, "InvocationID": bytes(invocation).hex()}

    async def failure(self, unit: str) -> str:
        """Returns why a service failed: a word of systemd's and the status of systemd.exec(5), or "" if not known."""
        service = (NAME, unit_path(unit), f"{NAME}.Service")
        try:
            result, status = await self._bus.get(service, "Result"), await self._bus.get(service, "ExecMainStatus")
        except CallFailed:
            return ""
        if result == "success":  # of a run before
            return ""
        return f"{result}, status {status}" if status else str(result)

    async def failed_units(self) -> int:
        """Returns how many units failed. Raises CallFailed."""
        return int(await self._bus.get(MANAGER, "NFailedUnits"))

    async def unit_files(self, patterns: Sequence[str]) -> dict[str, str]:
        """Returns the units whose names match one of some shell-style patterns, each with the path of the file that
        systemd reads for it; no unit is loaded for this. Raises CallFailed."""
        (found,) = await self._bus.call(MANAGER, "ListUnitFilesByPatterns", "asas", [], [*patterns])
        return {str(path).rpartition("/")[2]: str(path) for path, _ in found}

    async def state_of(self, unit: str) -> tuple[str, str]:
        """Returns whether a unit is loaded and whether it is active, in systemd's words. Raises CallFailed."""
        remote = _unit(unit)
        return str(await self._bus.get(remote, "LoadState")), str(await self._bus.get(remote, "ActiveState"))

    async def number_of(self, unit: str, name: str) -> int | None:
        """Returns a number among the properties of the unit's own kind, such as MemoryCurrent; None where such a unit
        has none, or systemd does not know it. Raises CallFailed."""
        kind = unit.rpartition(".")[2].capitalize()
        try:
            value = int(await self._bus.get((NAME, unit_path(unit), f"{NAME}.{kind}"), name))
        except CallFailed as error:
            if error.name.endswith((".UnknownProperty", ".UnknownInterface")):
                return None
            raise
        return None if value == _UNKNOWN else value


def _unit(unit: str) -> Remote:
    return NAME, unit_path(unit), f"{NAME}.Unit"
