"""The members of org.scx.Loader: those of org.agentd1.Scheduler in the words of scx_loader.

Its callers, such as scxctl, leave the bus at once: what they start is the choice of a person, which stays.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.core.schedulers import choosing
from agentd.core.schedulers.arguments import flags_of
from agentd.core.schedulers.catalogue import NONE, Value
from agentd.core.schedulers.model import KERNELS_OWN, Chosen
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import SchedulerSettings
from agentd.schedulers.api import Api, Watches
from agentd.schedulers.inventory import Inventory

_MODES = ("auto", "gaming", "powersave", "lowlatency", "server")  # by their numbers, which are not in our order
_TESTS = {"test", "no"}  # nobody is to pick one of these from a list
_NOBODY = "unknown"  # what scx_loader calls the kernel's own scheduler
Begin = Callable[[str, dict[str, Any], dict[str, Any], Caller], Awaitable[object]]
"""Starts a scheduler, with flags and options, for a caller: Start or Switch of org.agentd1.Scheduler."""


class LoaderApi:
    """The members of the interface."""

    def __init__(
        self,
        core: Schedulers,
        shell: Watches,
        inventory: Inventory,
        api: Api,
        settings: Callable[[], SchedulerSettings],
    ) -> None:
        self._core, self._shell, self._inventory, self._api, self._settings = core, shell, inventory, api, settings
        self._told = self._values()

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        api = self._api
        return {
            "StartScheduler": partial(self._in_mode, api.Start),
            "StartSchedulerWithArgs": partial(self._with_arguments, api.Start),
            "SwitchScheduler": partial(self._in_mode, api.Switch),
            "SwitchSchedulerWithArgs": partial(self._with_arguments, api.Switch),
            "StopScheduler": self._stop,
            "RestartScheduler": api.Restart,
            "RestoreDefault": self._restore,
        }

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return {
            "CurrentScheduler": self._current,
            "SchedulerMode": lambda: _number(self._chosen().mode),
            "CurrentSchedulerArgs": self._arguments,
            "SupportedSchedulers": self._supported,
            "DefaultScheduler": self._default,
            "DefaultMode": lambda: _number(self._settings().default.mode or self._settings().mode),
        }

    def changes(self) -> list[str]:
        """Returns the properties that have other values than when this was asked last."""
        before, self._told = self._told, self._values()
        return [name for name, value in self._told.items() if value != before[name]]

    def _values(self) -> dict[str, Any]:
        return {name: get() for name, get in self.properties().items()}

    # Wishes

    async def _in_mode(self, begin: Begin, name: str, mode: int, caller: Caller) -> None:
        await begin(name, {}, _options(_mode(mode)), caller)

    async def _with_arguments(self, begin: Begin, name: str, words: list[str], caller: Caller) -> None:
        await self._shell.inventory(again=True)
        seen = self._inventory.seen
        scheduler = choosing.find(seen.catalogue, name)
        program = seen.programs.get(scheduler.name)
        flags: Mapping[str, Value] = flags_of(scheduler, words, program.short if program else {})
        await begin(scheduler.name, dict(flags), _options(NONE), caller)

    async def _stop(self, caller: Caller) -> None:
        await self._api.Stop(_options(), caller)

    async def _restore(self) -> None:
        await self._api.Restore()
        await self._api.settled()

    # Reading

    def _chosen(self) -> Chosen:
        """Returns agentd's scheduler that is on, or the kernel's own."""
        tenure = self._core.tenure
        return tenure.chosen if tenure and tenure.loaded_by == "agentd" and self._core.seen.on else KERNELS_OWN

    def _current(self) -> str:
        seen, chosen, catalogue = self._core.seen, self._chosen(), self._inventory.seen.catalogue
        if not seen.on:
            return _NOBODY
        if chosen != KERNELS_OWN:
            return chosen.name
        known = (one.name for one in catalogue.values() if Chosen(ops=one.ops).shown_by(seen))
        return next(known, seen.ops)  # somebody else loaded it

    def _arguments(self) -> list[str]:
        catalogue, chosen = self._inventory.seen.catalogue, self._chosen()
        with contextlib.suppress(Refused):  # none runs, or the catalogue is another one since it was started
            scheduler = choosing.find(catalogue, chosen.name)
            of_mode = choosing.choose(catalogue, chosen.name, chosen.mode, modes=self._settings().modes)
            arguments = choosing.argv(scheduler, chosen.flags)[len(scheduler.always) :]
            return [] if of_mode.same(chosen) else arguments
        return []

    def _supported(self) -> list[str]:
        cannot, catalogue = self._inventory.cannot(), self._inventory.seen.catalogue
        return [name for name in sorted(catalogue) if name not in cannot and catalogue[name].readiness not in _TESTS]

    def _default(self) -> str:
        name = self._settings().default.name
        with contextlib.suppress(Refused):  # a name that the catalogue does not have is told elsewhere
            return _NOBODY if name == NONE else choosing.find(self._inventory.seen.catalogue, name).name
        return name


def _options(mode: str = "") -> dict[str, Any]:
    """Returns the options of a wish that stays."""
    return {"keep": True, "reason": "by org.scx.Loader", **({"mode": mode} if mode else {})}


def _mode(number: int) -> str:
    """Returns a mode by its number. Raises Refused InvalidArgument."""
    if number < len(_MODES):
        return _MODES[number]
    known = ", ".join(f"{at} ({mode})" for at, mode in enumerate(_MODES))
    raise Refused("InvalidArgument", f"there is no mode {number}; expected one of {known}")


def _number(mode: str) -> int:
    """Returns the number of a mode; that of auto for none."""
    return _MODES.index(mode) if mode in _MODES else 0
