"""What answers for an interface is made as somebody asks first, and then answers for all that the contract has."""

import asyncio
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from agentd.bus.connection import BusError
from agentd.bus.contract import Offer, interface_of, members
from agentd.part import when_asked

ROOT = Path(__file__).parents[2]
CONTRACT = """<node name="/org/agentd1"><interface name="org.agentd1.Clock">
  <property name="Shown" type="s" access="read"/>
  <method name="Read"><annotation name="org.agentd1.PolkitAction" value="none"/>
    <arg name="zone" type="s" direction="in"/><arg name="time" type="s" direction="out"/></method>
  <method name="Set"><annotation name="org.agentd1.PolkitAction" value="org.agentd1.manage-jobs"/>
    <annotation name="org.agentd1.LongestText" value="7"/></method>
</interface></node>"""


class Clock:
    """The members of the interface of a clock."""

    made = 0

    def __init__(self) -> None:
        Clock.made += 1

    def methods(self) -> dict[str, Any]:
        return {"Read": self._read, "Set": self._set}

    def properties(self) -> dict[str, Any]:
        return {"Shown": lambda: "noon"}

    async def _read(self, zone: str) -> str:
        return f"noon in {zone}"

    @staticmethod
    def _set(caller: str) -> str:
        return f"set by {caller}"


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    Clock.made = 0
    file = tmp_path / "org.agentd1.Clock.xml"
    file.write_text(CONTRACT)
    return file


def test_what_answers_is_made_as_somebody_asks_and_once(contract: Path) -> None:
    methods, properties = when_asked(contract, Clock)
    found = interface_of(Offer(contract, methods, properties)).methods
    assert Clock.made == 0
    assert asyncio.run(methods["Read"]("Rome", caller="me")) == "noon in Rome"
    assert asyncio.run(found["Read"].handler("Oslo")) == "noon in Oslo"
    assert (found["Set"].handler(caller="me"), properties["Shown"]()) == ("set by me", "noon")
    assert Clock.made == 1
    assert [(one.takes, one.returns, one.longest) for one in found.values()] == [("s", ("s",), 120), ("", (), 7)]


def test_a_member_that_nothing_answers_for_is_told_as_somebody_asks(contract: Path) -> None:
    contract.write_text(CONTRACT.replace("Shown", "Hidden"))
    methods, _ = when_asked(contract, Clock)
    with pytest.raises(BusError, match=r"^the D-Bus contract and the daemon differ in Clock.Hidden, Clock.Shown$"):
        methods["Set"](caller="me")


def of(part: str, name: str = "api.Api") -> Any:
    """The members of a part, whose other things are mocks."""
    module, _, kind = name.partition(".")
    made = getattr(import_module(f"agentd.{part}.{module}"), kind)
    needed = [one for one in inspect.signature(made).parameters.values() if one.default is one.empty]
    return made(*(Mock() for _ in needed))


@pytest.mark.parametrize("part", ["learning", "notices", "reboots", "rules", "schedulers"])
def test_each_member_of_a_contract_has_what_answers_for_it(part: str) -> None:
    (contract,) = (ROOT / "agentd" / part).glob("org.agentd1.*.xml")
    answers = [of(part)]
    others = [of(part, "metering.Metering"), of(part, "customs.Customs")] if part == "schedulers" else []
    methods = sorted(name for one in (*answers, *others) for name in one.methods())
    assert (methods, sorted(answers[0].properties())) == tuple(map(sorted, members(contract)))
