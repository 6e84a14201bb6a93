"""The self-test: checks are run one after the other, and whatever becomes of one, the others run. And its checks of
the sensors and of the LLM."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.core.rules.kpis import LLM_STATES, Memory, Missing
from agentd.core.rules.model import Moment
from agentd.core.rules.rules import Rules, RuleSettings, Saved
from agentd.core.rules.settings import Rule
from agentd.part import Check, CheckFailed, CheckSkipped
from agentd.rules import lookout as lookout_module
from agentd.rules.checks import _WELL, checks
from agentd.rules.lookout import Ask, Look, Lookout
from agentd.rules.selftest import Result, SelfTest

EVERY = 5 * SECOND
Looking = Callable[[], Awaitable[str]]


class Ran:
    """A self-test, and what it told."""

    def __init__(self, *given: Check) -> None:
        self.failed: list[list[str]] = []
        self.defects: list[str] = []
        self.states: list[str] = []
        self.test = SelfTest(
            lambda: given,
            lambda: self.states.append(self.test.state),
            self.failed.append,
            lambda where, error: self.defects.append(f"{where}: {error}"),
        )

    def run(self, *, full: bool = False) -> list[Result]:
        return asyncio.run(self.test.run(full=full, why="a test"))


def check(name: str, look: Looking, **more: Any) -> Check:
    return Check(name=name, look=look, remedy=f"see: agentctl status ({name})", **more)


def says(text: str) -> Looking:
    async def look() -> str:
        return text

    return look


def raises(error: Exception) -> Looking:
    async def look() -> str:
        raise error

    return look


def outcome(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    return [(one.name, one.result, one.text) for one in results]


def test_checks_run_in_order_and_each_ends_as_it_found_things() -> None:
    ran = Ran(
        check("one", says("all is well")),
        check("two", raises(CheckFailed("the disk is worn"))),
        check("three", raises(CheckSkipped("there is no disk"))),
        check("four", says("all is well here too")),
    )
    results = ran.run()
    assert outcome(results) == [
        ("one", "passed", "all is well"),
        ("two", "failed", "the disk is worn"),
        ("three", "skipped", "there is no disk"),
        ("four", "passed", "all is well here too"),
    ]
    assert results[1].remedy == "see: agentctl status (two)"
    assert all(one.took >= 0 for one in results)
    assert (ran.failed, ran.defects, ran.test.state) == ([["two"]], [], "failed")


def test_a_self_test_without_a_failure_has_passed_though_a_check_was_skipped() -> None:
    ran = Ran(check("one", says("all is well")), check("two", raises(CheckSkipped("there is no disk"))))
    assert ran.test.state == ""
    ran.run()
    assert (ran.failed, ran.test.state) == ([[]], "passed")


def test_a_check_that_does_not_end_is_cut_off_at_its_limit_and_the_next_runs() -> None:
    ended = []

    async def for_ever() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cut off")
        return ""

    ran = Ran(check("slow", for_ever, limit=0.01), check("next", says("all is well")))
    results = ran.run()
    assert outcome(results) == [("slow", "failed", "no answer within 0.01 s"), ("next", "passed", "all is well")]
    assert results[0].took >= 10_000
    assert ended == ["cut off"]


def test_a_broken_check_is_a_failure_and_a_defect_and_the_next_runs() -> None:
    def not_even_begun() -> Awaitable[str]:
        raise KeyError("gone")

    ran = Ran(
        check("one", raises(ZeroDivisionError("division by zero"))),
        check("two", not_even_begun),
        check("three", says("all is well")),
    )
    assert outcome(ran.run()) == [
        ("one", "failed", "the check itself is broken: ZeroDivisionError: division by zero"),
        ("two", "failed", "the check itself is broken: KeyError: 'gone'"),
        ("three", "passed", "all is well"),
    ]
    assert ran.defects == ["the check one: division by zero", "the check two: 'gone'"]
    assert ran.failed == [["one", "two"]]


def test_two_self_tests_at_once_are_refused_and_the_next_after_the_first_is_not() -> None:
    async def scenario() -> tuple[str, str, list[Result]]:
        going, begun = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            begun.set()
            await going.wait()
            return "all is well"

        test = Ran(check("slow", slow)).test
        first = asyncio.ensure_future(test.run(full=False, why="the first"))
        await begun.wait()
        state = test.state
        with pytest.raises(Refused, match="a self-test is under way already") as refused:
            await test.run(full=False, why="the second")
        going.set()
        await first
        return state, refused.value.name, await test.run(full=False, why="the third")

    state, name, results = asyncio.run(scenario())
    assert (state, name) == ("running", "Busy")
    assert outcome(results) == [("slow", "passed", "all is well")]


def test_a_self_test_that_is_cut_off_is_not_under_way_for_ever() -> None:
    async def scenario() -> str:
        begun = asyncio.Event()

        async def for_ever() -> str:
            begun.set()
            await asyncio.Event().wait()
            return ""

        test = Ran(check("slow", for_ever)).test
        running = asyncio.ensure_future(test.run(full=False, why="a caller that leaves"))
        await begun.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return test.state

    assert asyncio.run(scenario()) == ""


def test_checks_that_take_long_run_only_where_all_is_asked_for() -> None:
    ran = Ran(check("short", says("all is well")), check("long", says("all is well"), full=True))
    assert [one.name for one in ran.run()] == ["short"]
    assert [one.name for one in ran.run(full=True)] == ["short", "long"]


# Sensors


class Jobs:
    """Jobs of which none has run."""

    def is_running(self, name: str) -> bool:
        return False

    def waiting(self, now: int) -> list[Any]:
        return []

    def all_seen(self) -> list[Any]:
        return []


async def no_llm() -> tuple[str, str]:
    raise Missing("no LLM is configured (llm)")


class Machine:
    """Rules on a machine whose sources answer as they are given; `late` is how long ago the latest look was."""

    def __init__(self, *when: str, looks: dict[str, Look] | None = None, asks: dict[str, Ask] | None = None) -> None:
        found = {f"r{number}": Rule(name=f"r{number}", when=text, shadow=True) for number, text in enumerate(when)}
        settings = RuleSettings(rules=found, own={}, every=EVERY, jobs=(), zone=ZoneInfo("UTC"))
        jobs: Any = Jobs()
        self.late = 0
        self.looks, self.asks = looks or {}, asks or {}
        self.rules = Rules(jobs, Saved(), settings, Moment(0, 0, 0, "boot"))

    def moment(self) -> Moment:
        return Moment(self.rules.moment.at + self.late, 0, 0, "boot")

    async def sample(self) -> None:
        lookout = Lookout({}, self.looks, self.asks, "boot", lambda: SECOND, lambda *_: None)
        facts = await lookout.look(self.rules.gauges.sources)
        self.rules.observed(facts, lookout.moment())
        lookout.close()

    def look(self, *, sampled: bool = True) -> str:
        async def scenario() -> str:
            if sampled:
                await self.sample()
            sensors, _ = checks(self.rules, self.moment, lambda: EVERY, no_llm)
            return await sensors.look()

        try:
            return asyncio.run(scenario())
        except CheckFailed as failed:
            return f"failed: {failed}"
        except CheckSkipped as skipped:
            return f"skipped: {skipped}"


def missing(why: str) -> Look:
    def look(_: str) -> Any:
        raise Missing(why)

    return look


def test_sensors_that_have_a_value_pass_and_one_that_says_why_not_is_told() -> None:
    machine = Machine(
        "MemoryUsage > 90% or SwapUsage > 50%",
        "ErrorRate > 10%",
        looks={"memory": lambda _: Memory(100, 50), "swap": missing("there is no swap")},
    )
    assert machine.look() == (
        "1 of 3 sensors have a value; ErrorRate: fewer than 5 runs have ended in the last hour; "
        "SwapUsage: there is no swap"
    )


def test_a_source_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout_module, "PATIENCE", 0.01)

    async def for_ever(_: str) -> None:
        await asyncio.Event().wait()

    machine = Machine("FailedUnits > 0 or MemoryUsage > 90%", asks={"units": for_ever})
    machine.looks["memory"] = lambda _: Memory(100, 50)
    assert machine.look() == "failed: sensors without an answer: FailedUnits (no answer for 0 s)"


def test_a_source_with_a_defect_fails() -> None:
    def look(_: str) -> None:
        raise KeyError("MemTotal")

    assert Machine("MemoryUsage > 90%", looks={"memory": look}).look() == (
        "failed: sensors without an answer: MemoryUsage (a defect in looking at it: KeyError: 'MemTotal')"
    )


def test_sensors_that_nobody_reads_any_more_fail() -> None:
    machine = Machine("MemoryUsage > 90%", looks={"memory": lambda _: Memory(100, 50)})
    machine.late = 20 * SECOND  # three samples of 5 s, and 5 s for slow sources
    assert machine.look() == "1 of 1 sensors have a value"
    machine.late += SECOND
    assert machine.look() == "failed: no sensor was read for 21s"


def test_before_the_first_sample_the_check_says_so() -> None:
    machine = Machine("MemoryUsage > 90%")
    assert machine.look(sampled=False) == "0 of 1 sensors have a value; MemoryUsage: no sample yet"


def test_without_rules_there_is_no_sensor_to_check() -> None:
    assert Machine().look(sampled=False) == "skipped: no rule needs a sensor"


def test_the_state_is_told_as_the_self_test_begins_and_as_it_ends() -> None:
    ran = Ran(check("one", says("all is well")))
    ran.run()
    assert ran.states == ["running", "passed"]
    broken = Ran(check("one", raises(CheckFailed("the disk is worn"))))
    broken.run()
    assert broken.states == ["running", "failed"]


# The LLM


@pytest.mark.parametrize(
    ("state", "found"),
    [
        *((state, "why") for state in ("ok", "busy", "loading", "sleeping")),
        *((state, f"failed: the LLM is {state}: why") for state in ("down", "wedged", "misconfigured")),
        ("", "failed: why"),
    ],
)
def test_an_llm_that_somebody_must_see_to_fails_with_the_reason(state: str, found: str) -> None:
    async def told() -> tuple[str, str]:
        return state, "why"

    assert of_llm(told) == found


def test_without_an_llm_there_is_none_to_check() -> None:
    assert of_llm(no_llm) == "skipped: no LLM is configured (llm)"


def test_every_state_of_an_llm_passes_or_fails() -> None:
    assert set(LLM_STATES) - _WELL == {"down", "wedged", "misconfigured"}


def of_llm(state: Callable[[], Awaitable[tuple[str, str]]]) -> str:
    machine = Machine()
    _, llm = checks(machine.rules, machine.moment, lambda: EVERY, state)
    try:
        return asyncio.run(_awaited(llm))
    except CheckFailed as failed:
        return f"failed: {failed}"
    except CheckSkipped as skipped:
        return f"skipped: {skipped}"


async def _awaited(check: Check) -> str:
    return await check.look()
