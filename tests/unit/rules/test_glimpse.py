"""The look at KPIs that no rule needs, for a person who asks."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agentd.core.quantities import SECOND
from agentd.core.rules.gauges import Value
from agentd.core.rules.kpis import USUAL, Disk, Memory, Missing
from agentd.core.rules.model import Gone, Moment, Source
from agentd.core.rules.rules import Rules, RuleSettings, Saved
from agentd.core.rules.settings import OwnKpi, Rule
from agentd.rules import glimpse as glimpsing
from agentd.rules.glimpse import FRESH, Glimpse
from agentd.rules.lookout import Lookout

NOW = 1_800_000_000 * SECOND
NONE = "no look before this one"
RULE = Rule(name="memory", when="MemoryUsage > 90%", do=None)


class World:
    """A machine that counts the looks at it, on a loop whose clock the test sets."""

    def __init__(self) -> None:
        self.looks: Counter[str] = Counter()
        self.late = 0.0
        jobs: Any = SimpleNamespace(waiting=lambda _: [], all_seen=list)
        own = {"Room": OwnKpi(name="Room", job="probe", unit="celsius")}
        settings = RuleSettings(
            rules={"memory": RULE}, own=own, every=5 * SECOND, jobs=("probe",), zone=ZoneInfo("UTC")
        )
        self.rules = Rules(jobs, Saved(), settings, Moment(0, 0, NOW, "boot"))
        self.glimpse = Glimpse(self.rules, self._lookout, lambda: NOW)

    def run(self, scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            loop = asyncio.get_running_loop()
            real = loop.time
            loop.time = lambda: real() + self.late  # type: ignore[method-assign] # no test waits for real seconds
            try:
                return await scenario()
            finally:
                self.glimpse.close()

        return asyncio.run(whole())

    def _lookout(self) -> Lookout:
        glances = {"memory": lambda _: Memory(100, 25), "cpu": self._cpu, "uptime": lambda _: 60.0}
        return Lookout(glances, {"disk": self._disk}, {}, "boot", lambda: NOW, lambda *_: None)

    def _cpu(self, _: str) -> float:
        self.looks["cpu"] += 1
        if self.looks["cpu"] == 1:
            raise Missing(NONE)
        return 12.5

    def _disk(self, path: str) -> Disk:
        self.looks[f"disk {path}"] += 1
        return Disk(used=30, free=70, inodes=0, inodes_free=0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glimpsing, "BETWEEN", 0.0)


def test_the_usual_kpis_and_those_of_ones_own_are_looked_at_but_for_what_rules_look_at() -> None:
    world = World()
    found = world.run(world.glimpse.values)
    assert found.keys() == {*USUAL, "Room"} - {"MemoryUsage"}
    assert {"DiskUsage:/", "InodeUsage:/", "Pressure:memory"} < found.keys()
    assert found["DiskUsage:/"] == Value(30.0)
    assert found["InodeUsage:/"] == Value(None, "the file system does not count them")
    assert found["Room"] == Value(None, "probe has not run yet")
    assert found["FailedUnits"] == Value(None, "agentd does not look at that here")
    assert world.rules.gauges.values["MemoryUsage"].value is None, "a glance is no sample"


def test_a_share_of_time_is_of_the_time_between_two_looks() -> None:
    world = World()
    assert world.run(world.glimpse.values)["CpuUsage"] == Value(12.5)
    assert world.looks == {"cpu": 2, "disk /": 1}


def test_many_who_ask_are_answered_by_one_look_and_later_ones_by_another() -> None:
    world = World()

    async def scenario() -> int:
        leaving = asyncio.ensure_future(world.glimpse.values())
        staying = [asyncio.ensure_future(world.glimpse.values()) for _ in range(50)]
        await asyncio.sleep(0)
        leaving.cancel()
        assert len({id(found) for found in await asyncio.gather(*staying)}) == 1
        await world.glimpse.values()
        assert world.looks["cpu"] == 2
        world.late += FRESH
        await world.glimpse.values()
        return world.looks["cpu"]

    assert world.run(scenario) == 4


def test_a_glance_tells_why_a_source_has_nothing_to_tell() -> None:
    rules = World().rules
    facts = {Source("swap"): Gone("there is no swap"), Source("load"): float("nan")}
    found = rules.glance(["SwapUsage", "LoadPerCpu", "SelfTestFailed", "QueueDepth"], facts, NOW)
    assert found == {
        "SwapUsage": Value(None, "there is no swap"),
        "LoadPerCpu": Value(None, "its value is no number"),
        "SelfTestFailed": Value(None, "there was no self-test yet"),
        "QueueDepth": Value(0.0),
    }
