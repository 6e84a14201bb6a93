"""Schedulers of one's own on the bus: verified, listed, shown and removed.

The code that verifies is loaded with the first verification.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from agentd import log as logging
from agentd.bus.arguments import only, record
from agentd.bus.contract import Handler
from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import OWN, legible
from agentd.core.schedulers.model import Chosen
from agentd.core.schedulers.schedulers import Schedulers
from agentd.part import Host
from agentd.schedulers.own import Own
from agentd.tasks import Threads

if TYPE_CHECKING:
    from agentd.core.schedulers.custom import Compiled, Described, Report, Step, Tried
    from agentd.schedulers.verification import Tools

log = logging.get()

_REPORT = {**dict.fromkeys(("name", "sentence", "source", "kernel", "compiler"), "s"), "ok": "b", "at": "t"}
_STEP = {**dict.fromkeys(("name", "state", "sentence"), "s"), "seconds": "d", "excerpt": "as"}
_OWN = {
    **dict.fromkeys(("name", "summary", "algorithm", "source", "object", "kernel", "compiler", "why"), "s"),
    **dict.fromkeys(("use_cases", "limits"), "as"),
    "usable": "b",
    "runs": "b",
    "verified": "t",
}
_STANDALONE = "agentd runs standalone here, without the right to load a scheduler: it verifies none"


class Starts(Protocol):
    """The units of a verification, as SchedulerUnits starts them."""

    async def run(self, unit: str) -> str:
        """Starts a unit and waits for its end; returns "" or why that failed, as a sentence."""


class Watches(Protocol):
    """The shell, as these members ask it."""

    @property
    def units(self) -> Starts | None:
        """The units; None where agentd may start none."""

    async def inventory(self, *, again: bool = False) -> None:
        """Looks which schedulers there are: once, or `again`."""

    async def trial_over(self) -> None:
        """Waits until no scheduler is tried any more, and tells the core."""


class Customs:
    """The members about schedulers of one's own."""

    def __init__(self, host: Host, core: Schedulers, shell: Watches, threads: Threads, own: Own) -> None:
        self._host, self._core, self._shell, self._threads, self._own = host, core, shell, threads, own
        self._verified = ""  # the name of the scheduler that is being verified

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (self.Verify, self.ListCustom, self.GetCustomSource, self.RemoveCustom)
        return {handler.__name__: handler for handler in handlers}

    async def Verify(
        self, name: str, source: bytes, options: dict[str, Any]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        await self._threads.do(_load)
        from agentd.schedulers.verification import Verifier, refused  # noqa: PLC0415 - few have any

        name, source, told = name.removeprefix(OWN), bytes(source), _described(options)
        if why := refused(name, source, told):
            raise Refused("InvalidArgument", why)
        if self._shell.units is None:
            raise Refused("Unavailable", _STANDALONE)
        self._host.ready()
        self._free("try again when that is over")
        self._verified = name
        try:
            tools = Watched(self._host, self._core, self._shell, self._by_units(self._shell.units))
            report = await Verifier(tools, self._own.kept(), os.uname().release, self._host.now).verify(
                name, source, told
            )
        finally:
            self._verified = ""
        log.info(report.sentence, id="scheduler")
        if report.ok:  # a failure was that of the version before
            self._core.clear(f"{OWN}{name}", self._host.now(), "it was verified again")
            await self._shell.inventory(again=True)
        return _report(report), [_step(step) for step in report.steps]

    async def ListCustom(self) -> list[dict[str, Any]]:
        return await self._threads.do(self._listed)

    async def GetCustomSource(self, name: str) -> bytes:
        name = await self._named(name)
        return await self._threads.do(lambda: _whole(lambda: self._own.kept().source(name)))

    async def RemoveCustom(self, name: str) -> None:
        name, tenure = await self._named(name), self._core.tenure
        self._free("remove it when that is over")
        if tenure is not None and tenure.chosen.name == f"{OWN}{name}":
            raise Refused("Busy", f"{OWN}{name} runs: first agentctl sched stop, or agentctl sched switch to another")
        try:
            await self._threads.do(lambda: self._own.kept().remove(name))
        except OSError as error:
            raise Refused("Failed", f"{error.filename} cannot be removed: {error.strerror}") from None
        await self._shell.inventory(again=True)

    # Inside

    def _free(self, hint: str) -> None:
        """Raises Refused Busy while a scheduler is being verified."""
        if self._verified:
            raise Refused("Busy", f"{OWN}{self._verified} is being verified: {hint}")

    def _by_units(self, units: Starts) -> "Tools":
        from agentd.schedulers.verifying import ByUnits  # noqa: PLC0415 - few have any

        places = self._own.places
        return ByUnits(units.run, places.handed, places.compiled, places.tried)

    async def _named(self, word: str) -> str:
        """Returns the name, without custom:, of a scheduler that is kept. Raises Refused NoSuchScheduler."""
        name = word.removeprefix(OWN)
        if name not in await self._threads.do(lambda: self._own.kept().names()):
            text = f'there is no scheduler of one\'s own "{legible(word)}"; all that there are: agentctl sched custom'
            raise Refused("NoSuchScheduler", text)
        return name

    def _listed(self) -> list[dict[str, Any]]:
        """Returns the records of what is kept, also of what is damaged. To be called on a thread."""
        from agentd.schedulers.keeping import Damaged  # noqa: PLC0415 - few have any

        kept, tenure, found = self._own.kept(), self._core.tenure, []
        on = tenure.chosen.name if tenure is not None else ""
        for name in kept.names():
            values = {"name": f"{OWN}{name}", "usable": False, "runs": on == f"{OWN}{name}"}
            try:
                stored = kept.read(name)
            except Damaged as error:
                found.append(record({**values, "why": str(error)}, _OWN))
                continue
            told, why = stored.described, self._own.why_not(stored)
            values |= {key: getattr(stored, key) for key in ("source", "object", "kernel", "compiler", "verified")}
            values |= {key: getattr(told, key) for key in ("summary", "algorithm", "use_cases", "limits")}
            found.append(record({**values, "usable": not why, "why": why}, _OWN))
        return found


class Watched:
    """The means of a verification, of which each step is told, and while whose trial nothing else is started."""

    def __init__(self, host: Host, core: Schedulers, shell: Watches, tools: "Tools") -> None:
        self._host, self._core, self._shell, self._tools = host, core, shell, tools

    async def compiled(self, name: str, source: bytes) -> "tuple[Compiled, bytes]":
        """Has a source checked and compiled. Raises Cannot."""
        self._tell(name, "compile", "running", "the source is checked and compiled")
        report, made = await self._tools.compiled(name, source)
        self._tell_all(name, report.steps)
        return report, made

    async def tried(self, name: str, made: bytes) -> "Tried":
        """Has an object loaded and tried in the kernel. Raises Cannot, also where none can be tried now."""
        from agentd.core.schedulers.custom import digest, ops_name  # noqa: PLC0415 - few have any
        from agentd.schedulers.verification import Cannot  # noqa: PLC0415

        trial = Chosen(name=f"{OWN}{name}", ops=ops_name(name, digest(made)))
        try:
            self._core.trial_begins(trial, self._host.now())
        except Refused as refused:
            raise Cannot(str(refused)) from None
        self._tell(name, "trial", "running", "the kernel verifies the object and has it on for ten seconds")
        ends = False
        try:
            await self._host.settle()
            report = await self._tools.tried(name, made)
        except asyncio.CancelledError:  # agentd ends, and the next one takes the trial up
            ends = True
            raise
        except Refused as refused:
            raise Cannot(str(refused)) from None
        finally:
            if not ends:
                await self._shell.trial_over()
        self._tell_all(name, report.steps)
        return report

    def _tell_all(self, name: str, steps: "tuple[Step, ...]") -> None:
        from agentd.core.schedulers.custom import plain  # noqa: PLC0415 - few have any

        for step in plain(steps):
            self._tell(name, step.name, step.state, step.sentence)

    def _tell(self, name: str, step: str, state: str, sentence: str) -> None:
        self._host.server.emit("Scheduler", "VerificationStep", f"{OWN}{name}", step, state, sentence)


def _load() -> None:
    """Loads what verifies, on a thread: this takes a fiftieth of a second."""
    import agentd.schedulers.verification  # noqa: PLC0415 - few have any
    import agentd.schedulers.verifying  # noqa: F401, PLC0415


def _described(options: Mapping[str, Any]) -> "Described":
    """Returns the author's words. Raises Refused InvalidArgument."""
    from agentd.core.schedulers.custom import Described  # noqa: PLC0415 - few have any

    only(options, summary=str, algorithm=str, use_cases=list, limits=list)
    for key in ("use_cases", "limits"):
        if not all(isinstance(text, str) for text in options.get(key, [])):
            raise Refused("InvalidArgument", f'the option "{key}" must be a list of texts')
    words = {key: options.get(key, "") for key in ("summary", "algorithm")}
    use_cases, limits = (tuple(options.get(key, [])) for key in ("use_cases", "limits"))
    return Described(**words, use_cases=use_cases, limits=limits)


def _whole(read: Callable[[], bytes]) -> bytes:
    from agentd.schedulers.keeping import Damaged  # noqa: PLC0415 - few have any

    try:
        return read()
    except Damaged as error:
        raise Refused("Failed", str(error)) from None


def _report(report: "Report") -> dict[str, Any]:
    keys = ("ok", "sentence", "source", "kernel", "compiler", "at")
    return record({"name": f"{OWN}{report.name}", **{key: getattr(report, key) for key in keys}}, _REPORT)


def _step(step: "Step") -> dict[str, Any]:
    return record({key: getattr(step, key) for key in ("name", "state", "seconds", "sentence", "excerpt")}, _STEP)
