"""The members of org.agentd1.Scheduler: the handlers and the records that callers get."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from agentd.bus.arguments import Records, limit_of, only, record
from agentd.bus.connection import Bus, CallFailed, variant
from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.core.patterns import matcher
from agentd.core.schedulers import choosing, story
from agentd.core.schedulers.catalogue import NONE, Scheduler, Value
from agentd.core.schedulers.model import Quarantine, Standing, Tenure, Want
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import Choice
from agentd.part import Host
from agentd.peers import logind
from agentd.schedulers.inventory import Inventory
from agentd.schedulers.leases import Leases, is_client
from agentd.schedulers.properties import current, properties
from agentd.schedulers.tables import list_tenures

_PATIENCE = 150.0  # seconds for a wish to be settled, a switch back included
_GLANCE = 1.0  # seconds after which that is looked at though nothing was told
_OPTIONS = {"mode": str, "keep": bool, "for": int, "reason": str}
_STATUS = {
    **dict.fromkeys(("state", "current", "ops", "loaded_by", "mode", "wanted", "wanted_by", "waits", "default"), "s"),
    **dict.fromkeys(("since", "probation", "seq"), "t"),
    "flags": "a{sv}",
    "switched_all": "b",
    "rejected": "u",
}
_WANT = {
    **dict.fromkeys(("source", "holder", "name", "mode", "reason", "why"), "s"),
    "since": "t",
    "until": "t",
    "wins": "b",
}
_QUARANTINE = {"name": "s", "until": "t", "failures": "u", "why": "s"}
_SCHEDULER = {
    **dict.fromkeys(("name", "summary", "readiness", "version", "path", "catalogue", "algorithm", "min_kernel"), "s"),
    **dict.fromkeys(("use_cases", "obstacles", "limits", "needs", "warnings"), "as"),
    **dict.fromkeys(("installed", "runs"), "b"),
    "timeout": "t",
}
_FLAG = {
    **dict.fromkeys(("name", "option", "type", "pattern", "unit", "help"), "s"),
    **dict.fromkeys(("low", "high"), "d"),
    "choices": "as",
}
_TENURE = {
    **dict.fromkeys(("name", "mode", "ops", "loaded_by", "wanted_by", "reason", "kind", "cause", "message"), "s"),
    **dict.fromkeys(("number", "since", "enabled", "gap", "ended", "noticed"), "t"),
    "flags": "a{sv}",
}


class Watches(Protocol):
    """The shell, as the interface asks it."""

    news: asyncio.Event
    leases: Leases

    async def inventory(self, *, again: bool = False) -> None:
        """Looks which schedulers there are: once, or `again`."""


class Api:
    """The members of the interface; `others` are the handlers of those that are elsewhere."""

    def __init__(
        self,
        host: Host,
        core: Schedulers,
        shell: Watches,
        inventory: Inventory,
        bus: Bus,
        others: Mapping[str, Handler] = MappingProxyType({}),
    ) -> None:
        self._host, self._core, self._shell, self._inventory, self._bus = host, core, shell, inventory, bus
        self._others = others

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (
            self.GetStatus, self.ListSchedulers, self.GetScheduler, self.Check, self.Start, self.Switch, self.Stop,
            self.Restart, self.Restore, self.Keep, self.Release, self.Clear, self.ListTenures,
        )  # fmt: skip
        return {**{handler.__name__: handler for handler in handlers}, **self._others}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return properties(self._core)

    # Reading

    def GetStatus(self) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        core, now = self._core, self._host.now()
        seen, tenure, standings = core.seen, core.tenure if core.seen.on else None, core.standings(now)
        winner = next((one for one in standings if one.wins), None)
        values = {
            "state": seen.state,
            "current": current(core),
            "ops": seen.ops,
            "loaded_by": tenure.loaded_by if tenure else "",
            "mode": tenure.chosen.mode if tenure else "",
            "flags": _flags(tenure.chosen.flags) if tenure else None,
            "since": tenure.enabled or tenure.since if tenure else None,
            "wanted": winner.want.choice.name if winner else None,
            "wanted_by": story.named(winner.want) if winner else None,
            "waits": core.waits(now),
            "probation": tenure.probation if tenure else 0,
            "switched_all": seen.switched_all,
            "rejected": seen.rejected,
            "seq": seen.seq,
            "default": standings[-1].want.choice.name if standings else None,
        }
        quarantines = [_quarantine(one) for one in core.quarantines(now)]
        return record(values, _STATUS), [_standing(one) for one in standings], quarantines

    async def ListSchedulers(self, filter: dict[str, Any]) -> Records[Scheduler]:
        only(filter, **{"name": str, "ready": bool, "installed": bool, "for": str})
        await self._shell.inventory(again=True)
        matches, use = matcher(filter.get("name", "*")), filter.get("for", "")
        found = [
            one
            for name, one in sorted(self._inventory.seen.catalogue.items())
            if matches(name)
            and (not filter.get("ready") or one.readiness == "ready")
            and (not filter.get("installed") or self._is_installed(name))
            and (not use or choosing.suited(one, use))
        ]
        return Records(lambda one: record(self._scheduler(one), _SCHEDULER), found)

    async def GetScheduler(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, dict[str, Any]]]:
        await self._shell.inventory(again=True)
        scheduler = choosing.find(self._inventory.seen.catalogue, name)
        program = self._inventory.seen.programs.get(scheduler.name)
        described = choosing.described(scheduler)
        values = {
            **{key: value for key, value in described.items() if key in _SCHEDULER},
            **self._scheduler(scheduler),
            "warnings": list(program.warnings) if program else [],
        }
        flags = []
        for flag in choosing.described_flags(scheduler):
            default = flag.pop("default", None)
            flags.append(record(flag, _FLAG) | ({} if default is None else {"default": _variant(default)}))
        modes = {mode: _flags(values) for mode, values in scheduler.modes.items()}
        return record(values, _SCHEDULER), flags, modes

    async def Check(self) -> list[dict[str, Any]]:
        await self._shell.inventory(again=True)
        seen = self._inventory.seen
        kernel = seen.kernel()
        findings = [(False, text) for text in kernel] or [(True, "this kernel can run schedulers")]
        findings += [(False, warning) for warning in seen.warnings]
        installed = [name for name in sorted(seen.programs) if self._is_installed(name)]
        if not installed and not kernel:
            findings.append((False, "no scheduler of the catalogue is installed: see agentctl sched list"))
        for name in installed:
            program, own = seen.programs[name], () if kernel else seen.obstacles(name)
            findings += [(False, text) for text in (*own, *program.warnings)]
            if not own and not program.warnings and not kernel:
                findings.append((True, f"{name} {program.version}".rstrip() + " can run here"))
        if conflict := self._core.conflict:
            findings.append((False, conflict))
        return [record({"ok": ok, "text": text}, {"ok": "b", "text": "s"}) for ok, text in findings]

    async def ListTenures(self, filter: dict[str, Any]) -> Records[Tenure]:
        only(filter, name=str, before=int, limit=int)
        name = filter.get("name", "")
        if name and name != NONE:
            await self._shell.inventory()
            name = choosing.find(self._inventory.seen.catalogue, name).name
        found = await self._host.ask(list_tenures, name=name, before=filter.get("before", 0), limit=limit_of(filter))
        return Records(tenure_record, found)

    # Wishes

    async def Start(self, name: str, flags: dict[str, Any], options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        tenure = self._core.tenure
        await self._shell.inventory(again=True)
        wanted = choosing.find(self._inventory.seen.catalogue, name).name
        if tenure is not None and tenure.loaded_by == "agentd" and tenure.chosen.name != wanted:
            runs = tenure.chosen.name
            raise Refused("Busy", f"{runs} runs already; to replace it: agentctl sched switch {wanted}")
        return await self._begin(wanted, flags, options, caller)

    async def Switch(self, name: str, flags: dict[str, Any], options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        await self._shell.inventory(again=True)
        return await self._begin(choosing.find(self._inventory.seen.catalogue, name).name, flags, options, caller)

    async def _begin(self, name: str, flags: dict[str, Any], options: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if any(not isinstance(value, bool | int | float | str) for value in flags.values()):
            raise Refused("InvalidArgument", "a flag has one value: a text, a number, or yes or no")
        await self._wish(Choice(name, _mode(options), flags), options, caller)
        return self._running()

    async def Stop(self, options: dict[str, Any], caller: Caller) -> None:
        await self._wish(Choice(), options, caller)

    async def Restart(self, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        self._core.restart(await self._person(caller), self._host.now())
        await self._host.settle()
        await self.settled()
        return self._running()

    async def Restore(self) -> str:
        self._host.ready()
        self._core.restore(self._host.now())
        for lease in [one for one in self._core.leases if not is_client(one.holder)]:
            self._core.release("lease", lease.holder, self._host.now())
        await self._host.settle()
        winner = next((one for one in self._core.standings(self._host.now()) if one.wins), None)
        return winner.want.choice.name if winner else NONE

    async def Keep(self, caller: Caller) -> str:
        self._host.ready()
        tenure = self._core.keep(await self._person(caller), self._host.now())
        await self._host.settle()
        return tenure.chosen.name

    async def Release(self, caller: Caller) -> bool:
        released = self._core.release("lease", caller.sender, self._host.now())
        await self._host.settle()
        return bool(released)

    async def Clear(self, name: str) -> list[str]:
        self._host.ready()
        if name:
            await self._shell.inventory()
            name = choosing.find(self._inventory.seen.catalogue, name).name
        cleared = self._core.clear(name, self._host.now())
        await self._host.settle()
        return cleared

    async def _wish(self, choice: Choice, options: dict[str, Any], caller: Caller) -> None:
        """Takes a wish, and returns once it is served. Raises Refused."""
        only(options, **_OPTIONS)
        self._host.ready()
        await self._shell.inventory()
        now, span, keep = self._host.now(), options.get("for", 0), options.get("keep", False)
        if span < 0 or (keep and span):
            raise Refused("InvalidArgument", "a wish is kept, or ends after a time (a positive number), not both")
        lasts = keep or bool(span)
        want = Want(
            source="person" if keep else "lease",
            holder=await self._person(caller) if lasts else caller.sender,
            choice=choice,
            reason=options.get("reason", ""),
            until=now + span if span else 0,
        )
        want = self._core.want(want, self._host.now())
        if not lasts:
            await self._follow(caller.sender)
        await self._host.settle()
        await self._settled(want)

    async def _follow(self, client: str) -> None:
        try:
            await self._shell.leases.follow(client)
        except CallFailed as error:
            self._core.release("lease", client, self._host.now())
            await self._host.settle()
            raise Refused(
                "Failed", f"the bus does not tell when you leave it, so nothing was started: {error}"
            ) from None

    async def settled(self) -> None:
        """Returns once the wish that wins is served. Raises Refused Failed where something else is."""
        winner = next((one for one in self._core.standings(self._host.now()) if one.wins), None)
        if winner is not None:
            await self._settled(winner.want)

    async def _settled(self, want: Want) -> None:
        """Returns once the scheduler of a wish runs. Raises Refused Failed where something else does."""
        clock = asyncio.get_running_loop().time
        until = clock() + _PATIENCE
        while (fate := self._core.fate(want, self._host.now())) is None and clock() < until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GLANCE):
                    await self._shell.news.wait()
        if fate is None:
            fate = f"this takes longer than {_PATIENCE:.0f} s; agentctl sched status tells how it goes"
        if fate:
            raise Refused("Failed", f"{want.choice.name} does not run: {fate}" if want.choice.name != NONE else fate)

    async def _person(self, caller: Caller) -> str:
        """Returns the user who calls, as they logged in where that is known; "somebody" where nothing is."""
        if caller.who:
            return caller.who
        try:
            return logind.user_name(int(await self._bus.call_bus("GetConnectionUnixUser", "s", caller.sender)))
        except CallFailed:
            return "somebody"

    # Records

    def _running(self) -> dict[str, Any]:
        tenure = self._core.tenure
        return {} if tenure is None else tenure_record(tenure)

    def _is_installed(self, name: str) -> bool:
        program = self._inventory.seen.programs.get(name)
        return program is not None and bool(program.path)

    def _scheduler(self, scheduler: Scheduler) -> dict[str, Any]:
        seen, core = self._inventory.seen, self._core
        program = seen.programs.get(scheduler.name)
        obstacles = [*seen.obstacles(scheduler.name)]
        if program is not None and program.trouble:
            obstacles.append(program.trouble)
        return {
            "name": scheduler.name,
            "summary": scheduler.summary,
            "readiness": scheduler.readiness,
            "use_cases": list(scheduler.use_cases),
            "installed": self._is_installed(scheduler.name),
            "version": program.version if program else "",
            "path": program.path if program else "",
            "runs": core.seen.on and core.tenure is not None and core.tenure.chosen.name == scheduler.name,
            "obstacles": obstacles,
            "catalogue": scheduler.file,
        }


def tenure_record(tenure: Tenure) -> dict[str, Any]:
    """Returns a tenure as ListTenures describes it."""
    ending = tenure.ending if tenure.ended else None
    values = {
        "number": tenure.number,
        "name": tenure.chosen.name if tenure.chosen.name != NONE else tenure.ops,
        "mode": tenure.chosen.mode,
        "flags": _flags(tenure.chosen.flags),
        "ops": tenure.ops,
        "loaded_by": tenure.loaded_by,
        "wanted_by": tenure.wanted_by,
        "reason": tenure.reason,
        "since": tenure.since,
        "enabled": tenure.enabled,
        "gap": tenure.gap if tenure.gap >= 0 else None,
        "ended": tenure.ended,
        "kind": ending.kind if ending else None,
        "cause": ending.reason if ending else None,
        "message": ending.message if ending else None,
        "noticed": tenure.noticed if tenure.noticed >= 0 else None,
    }
    return record(values, _TENURE)


def _mode(options: Mapping[str, Any]) -> str:
    mode = options.get("mode", "")
    return mode if isinstance(mode, str) else ""


def _standing(one: Standing) -> dict[str, Any]:
    want = one.want
    values = {
        "source": want.source,
        "holder": want.holder,
        "name": want.choice.name,
        "mode": want.choice.mode,
        "reason": want.reason,
        "since": want.since,
        "until": want.until,
        "wins": one.wins,
        "why": one.why,
    }
    return record(values, _WANT)


def _quarantine(one: Quarantine) -> dict[str, Any]:
    return record({"name": one.name, "until": one.until, "failures": one.failures, "why": one.why}, _QUARANTINE)


def _variant(value: Value) -> Any:
    signature = {bool: "b", int: "x", float: "d", str: "s"}[type(value)]
    return variant(signature, value)


def _flags(flags: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _variant(value) for name, value in flags.items()}
