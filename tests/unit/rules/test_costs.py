"""The costs of a look, as counts: what is called, and what is not worked out again."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from msgspec import structs

from agentd.core.part import Core, Effect
from agentd.core.parts import Parts
from agentd.core.quantities import SECOND
from agentd.core.rules.evaluation import Compares
from agentd.core.rules.kpis import KPIS, Agent, Memory
from agentd.core.rules.model import KpisSampled, KpisWanted, Source
from tests.unit.rules.test_rules import Machine, rule


class Listener(Core):
    """A core that keeps what it hears."""

    def __init__(self) -> None:
        self.news: list[Effect] = []

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        self.news += effects


def calls(deed: Callable[[], object]) -> Counter[str]:
    """Returns how often each function of Python is called, by its name."""
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        deed()
    finally:
        sys.setprofile(None)
    return called


def test_no_core_hears_of_a_look_and_of_its_samples() -> None:
    machine, listener = Machine(rule("memory", "MemoryUsage > 90%")), Listener()
    machine.take(Effect)
    parts = Parts({"rules": machine.core, "other": listener}, lambda *_: None)
    machine.pass_time(5 * SECOND)
    parts.tick(machine.wall)
    assert [type(effect) for effect in parts.effects(machine.wall)] == [KpisWanted]
    machine.core.observed({Source("memory"): Memory(100, 50)}, machine.moment)
    assert KpisSampled in [type(effect) for effect in parts.effects(machine.wall)]
    assert not any(isinstance(effect, KpisWanted | KpisSampled) for effect in listener.news)


def test_a_fact_that_was_not_looked_at_anew_is_not_worked_out_again(monkeypatch: Any) -> None:
    worked: list[Agent] = []

    def tasks(seen: Agent, _: str) -> float:
        worked.append(seen)
        return seen.tasks

    monkeypatch.setitem(KPIS, "AgentTasks", structs.replace(KPIS["AgentTasks"], of=tasks))
    machine = Machine(rule("tasks", "AgentTasks > 10"), every=SECOND)
    agent = Agent(memory=1.0, cpu=None, tasks=5, open_files=9, lag=None, store=None, uptime=1.0)
    for facts in (agent, agent, agent, Agent(memory=1.0, cpu=None, tasks=5, open_files=9, lag=0, store=0, uptime=4.0)):
        machine.pass_time(SECOND)
        machine.core.observed({Source("agent"): facts}, machine.moment)
    assert len(worked) == 2
    assert [one.values for one in machine.take(KpisSampled)] == [{"AgentTasks": 5.0}] * 4


def test_a_comparison_with_a_number_calls_for_its_kpi_alone() -> None:
    machine = Machine(rule("average", "avg(MemoryUsage, 10m) > 100%"), every=SECOND)
    for used in (40, 41):
        machine.sample(used)
    machine.pass_time(SECOND)
    called = calls(lambda: machine.core.observed({Source("memory"): Memory(100, 50)}, machine.moment))
    assert called[Compares.look.__qualname__] == called["_over"] == called["Window.add"] == 1
    # The number beside it is no call: of the bench's rules these were 28 of 539 at a look.
    assert not [name for name in called if name.startswith("_Source")]


def test_a_rule_that_comes_to_rest_asks_its_windows_alone_what_they_remember() -> None:
    machine = Machine(rule("memory", "MemoryUsage > 90% AND MemoryUsage > 95% for 5m"), every=SECOND)
    machine.pass_time(SECOND)
    called = calls(lambda: machine.core.observed({Source("memory"): Memory(100, 50)}, machine.moment))
    assert [called[name] for name in ("Part.memory", "Holds.memory")] == [0, 1]


def test_a_rule_that_rests_asks_its_comparisons_alone_where_these_say_what_they_said() -> None:
    both = rule("memory", "MemoryUsage > 90% AND MemoryUsage > 95% for 5m"), rule("half", "MemoryUsage > 50%")
    machine = Machine(*both, every=SECOND)
    machine.sample(40)
    machine.pass_time(SECOND)
    # A number with which one is compared is on no side of it, so that both are asked.
    called = calls(lambda: machine.core.observed({Source("memory"): Memory(100, 50)}, machine.moment))
    assert called[Compares.look.__qualname__] == 2 + 1
    assert [called[name] for name in ("Standing._look", "Part.look", "Part.memory", "Holds.memory")] == [0, 0, 0, 0]
    # What people are shown of it is the latest look all the same.
    assert {one.value for one in machine.core.standings["memory"].when.all() if isinstance(one, Compares)} == {50.0}


def test_a_rule_is_passed_over_while_its_kpi_stays_on_one_side_of_each_number_it_is_compared_with() -> None:
    machine = Machine(rule("memory", "MemoryUsage > 90% AND MemoryUsage > 95% for 5m"), every=SECOND)
    machine.sample(40)
    machine.sample(41)
    machine.pass_time(SECOND)
    called = calls(lambda: machine.core.observed({Source("memory"): Memory(100, 50)}, machine.moment))
    assert [name for name in called if name.startswith(("Standing", "Compares", "Part", "Holds"))] == []
    # What people are shown of it is the latest look all the same.
    standing = machine.core.standings["memory"]
    assert machine.core.reasons(standing) == [
        "MemoryUsage > 90%: 50% against 90%", "MemoryUsage > 95%: 50% against 95%",
    ]  # fmt: skip
    machine.sample(93)
    assert [one.truth for one in standing.when.all() if isinstance(one, Compares)] == [True, False]
    machine.sample(97)
    assert machine.state("memory") == "pending"


def test_a_number_itself_is_on_no_side() -> None:
    machine = Machine(rule("full", "MemoryUsage >= 90%"), rule("half", "MemoryUsage <= 50%"), every=SECOND)
    states = []
    for used in (70, 89, 90, 91, 90, 50, 51, 50):
        machine.sample(used)
        states.append((machine.state("full"), machine.state("half")))
    calm, full, half = ("inactive", "inactive"), ("firing", "inactive"), ("inactive", "firing")
    assert states == [calm, calm, full, full, full, half, calm, half]


def test_a_kpi_that_goes_missing_is_told_whatever_it_was() -> None:
    machine = Machine(rule("memory", "MemoryUsage > 90%"), every=SECOND)
    machine.sample(40, 2)
    machine.sample(None, 20)
    assert machine.state("memory") == "unknown"
    machine.sample(40)
    assert machine.state("memory") == "inactive"
