"""The members of org.scx.Loader: calls in the words of scx_loader, and what its properties say."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from agentd.bus.contract import Offer, interface_of
from agentd.bus.server import Caller
from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import MODES
from agentd.core.schedulers.choosing import choose
from agentd.core.schedulers.model import Observed, Tenure
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from agentd.schedulers.catalogues import load
from agentd.schedulers.inventory import Inventory, Seen
from agentd.schedulers.loader import CONTRACT
from agentd.schedulers.loader_api import LoaderApi
from agentd.schedulers.own import PLACES, Own
from agentd.schedulers.programs import Program, Programs

CATALOGUE = load(folder=Path("/nonexistent")).catalogue
CALLER = Caller(":1.7", "StartScheduler", "org.agentd1.manage-scheduler", (), interactive=True)
SHORT = {"-m": "--primary-domain", "-w": "--no-wake-sync"}
KEPT = {"keep": True, "reason": "by org.scx.Loader"}
NUMBERS = {"auto": 0, "gaming": 1, "powersave": 2, "lowlatency": 3, "server": 4}


class Wishes:
    """The members of org.agentd1.Scheduler, which write down how they are called, and the shell, which has looked."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def inventory(self, *, again: bool = False) -> None:
        """Looks at nothing: what there is stays."""

    def __getattr__(self, member: str) -> Any:
        async def call(*wish: Any, **caller: Caller) -> None:
            self.made.append((member, *wish, *caller.values()))

        return call


class Core:
    """What the kernel says, and what agentd or somebody else has loaded."""

    def __init__(self) -> None:
        self.seen = Observed(state="disabled")
        self.tenure: Tenure | None = None

    def runs(self, name: str, mode: str, flags: dict[str, Any], **more: Any) -> None:
        self.seen = Observed(state="enabled", ops=f"{CATALOGUE[name].ops}_1.1.4")
        self.tenure = Tenure(number=1, chosen=choose(CATALOGUE, name, mode, flags), **more)


class Loader:
    """The members with everything around them."""

    def __init__(self, **settings: Any) -> None:
        self.core, self.wishes = Core(), Wishes()
        self.settings = SchedulerSettings(**settings)
        inventory = Inventory(Programs(()), Own(Path("/nonexistent"), PLACES), "", Path("/nonexistent"))
        programs = {
            name: Program(name=name, path=f"/usr/bin/{name}", short=SHORT)
            for name in ("scx_simple", "scx_lavd", "scx_bpfland")
        }
        inventory.seen = Seen(catalogue=CATALOGUE, programs=programs)
        core, shell, api = cast("Any", self.core), cast("Any", self.wishes), cast("Any", self.wishes)
        self.members = LoaderApi(core, shell, inventory, api, lambda: self.settings)

    def call(self, member: str, *arguments: Any) -> Any:
        """The wish that a call comes to."""
        handler = self.members.methods()[member]
        asyncio.run(handler(*arguments) if member == "RestoreDefault" else handler(*arguments, caller=CALLER))
        return self.wishes.made.pop()

    def get(self, *names: str) -> list[Any]:
        return [self.members.properties()[name]() for name in names]

    def shown(self) -> list[Any]:
        return self.get("CurrentScheduler", "SchedulerMode", "CurrentSchedulerArgs")


def test_the_contract_has_the_members_of_scx_loader_with_their_types_and_needs_permission_for_each_call() -> None:
    members = Loader().members
    found = interface_of(Offer(CONTRACT, members.methods(), members.properties()))
    assert found.name == "org.scx.Loader"
    assert {name: method.takes for name, method in found.methods.items()} == {
        "StartScheduler": "su",
        "StartSchedulerWithArgs": "sas",
        "SwitchScheduler": "su",
        "SwitchSchedulerWithArgs": "sas",
        "StopScheduler": "",
        "RestartScheduler": "",
        "RestoreDefault": "",
    }
    assert {method.returns for method in found.methods.values()} == {()}
    assert {method.action for method in found.methods.values()} == {"org.agentd1.manage-scheduler"}
    assert {name: one.type for name, one in found.properties.items()} == {
        "CurrentScheduler": "s",
        "SchedulerMode": "u",
        "CurrentSchedulerArgs": "as",
        "SupportedSchedulers": "as",
        "DefaultScheduler": "s",
        "DefaultMode": "u",
    }


def test_calls_are_wishes_of_persons_which_stay() -> None:
    loader = Loader()
    for mode, number in NUMBERS.items():
        wish: tuple[Any, ...] = ("scx_lavd", {}, {**KEPT, "mode": mode}, CALLER)
        assert loader.call("StartScheduler", "scx_lavd", number) == ("Start", *wish)
        assert loader.call("SwitchScheduler", "scx_lavd", number) == ("Switch", *wish)
    assert loader.call("StopScheduler") == ("Stop", KEPT, CALLER)
    assert loader.call("RestartScheduler") == ("Restart", CALLER)
    assert loader.call("RestoreDefault") == ("settled",)  # it returns when the default runs, as the others do
    assert loader.wishes.made == [("Restore",)]


def test_arguments_are_flags_without_those_of_a_mode_and_may_have_the_short_names_of_the_program() -> None:
    loader = Loader()
    flags = {"primary-domain": "all", "no-wake-sync": True}
    for member, does in (("StartSchedulerWithArgs", "Start"), ("SwitchSchedulerWithArgs", "Switch")):
        wish = (does, "scx_bpfland", flags, {**KEPT, "mode": "none"}, CALLER)
        assert loader.call(member, "scx_bpfland", ["-wm", "all"]) == wish
    with pytest.raises(Refused, match='scx_rusty: "-m" is none of its flags'):  # a program that is not installed
        loader.call("StartSchedulerWithArgs", "scx_rusty", ["-m", "all"])
    assert loader.wishes.made == []


def test_a_mode_that_is_none_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        Refused, match=r"no mode 4294967295; expected one of 0 \(auto\), 1 \(gaming\), 2 \(powersave\), 3"
    ):
        Loader().call("StartScheduler", "scx_lavd", 2**32 - 1)


def test_the_kernels_own_scheduler_is_unknown_to_scx_loader() -> None:
    assert Loader().shown() == ["unknown", 0, []]


@pytest.mark.parametrize("mode", MODES)
def test_a_scheduler_in_a_mode_shows_that_and_no_arguments(mode: str) -> None:
    loader = Loader()
    loader.core.runs("scx_lavd", mode, {})
    assert loader.shown() == ["scx_lavd", NUMBERS[mode], []]


def test_flags_beside_those_of_the_mode_are_shown_with_them() -> None:
    loader = Loader()
    loader.core.runs("scx_bpfland", "gaming", {"slice-us": 500})
    assert loader.shown() == ["scx_bpfland", 1, ["--slice-us=500", "--primary-domain=all"]]
    loader.core.runs("scx_bpfland", "none", {"slice-us": 500})
    assert loader.shown() == ["scx_bpfland", 0, ["--slice-us=500"]]


def test_the_flags_that_the_settings_have_for_a_mode_are_the_modes() -> None:
    modes = {"gaming": {"scx_bpfland": {"slice-us": 500}}}
    loader = Loader(modes=modes)
    loader.core.runs("scx_bpfland", "gaming", {"slice-us": 500})
    assert loader.shown() == ["scx_bpfland", 1, []]


def test_one_that_somebody_else_loaded_has_the_name_of_the_catalogue_and_nothing_that_is_not_known() -> None:
    loader = Loader()
    loader.core.runs("scx_lavd", "gaming", {}, loaded_by="other")
    assert loader.shown() == ["scx_lavd", 0, []]
    loader.core.seen = Observed(state="enabled", ops="mine_7")
    assert loader.shown() == ["mine_7", 0, []]


def test_the_default_is_that_of_the_settings_by_its_whole_name() -> None:
    loader = Loader()
    names = ("DefaultScheduler", "DefaultMode")
    assert loader.get(*names) == ["unknown", 0]
    for choice, shown in (
        (Choice("bpfland"), ["scx_bpfland", 4]),
        (Choice("scx_bpfland", "gaming"), ["scx_bpfland", 1]),
        (Choice("scx_gone"), ["scx_gone", 4]),
    ):
        loader.settings = SchedulerSettings(default=choice, mode="server")
        assert loader.get(*names) == shown


def test_supported_are_those_that_are_installed_and_not_for_tests() -> None:
    assert CATALOGUE["scx_simple"].readiness == "test"
    assert Loader().get("SupportedSchedulers") == [["scx_bpfland", "scx_lavd"]]


def test_what_changed_since_it_was_told_is_told_once() -> None:
    loader = Loader()
    assert loader.members.changes() == []
    loader.core.runs("scx_lavd", "gaming", {})
    assert loader.members.changes() == ["CurrentScheduler", "SchedulerMode"]
    assert loader.members.changes() == []
    loader.settings = SchedulerSettings(mode="server")
    assert loader.members.changes() == ["DefaultMode"]
