"""Samples that were written down, through rules: what is read, and what becomes of the rules."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.replay import LONGEST, Foreign, Replay, period_of, read, told
from agentd.core.rules.settings import KINDS, Fires, Rule, Within, measures, parsed

EVERY = 5 * SECOND
UTC = ZoneInfo("UTC")


def replay(
    when: str, do: str = "TriggerSelfTest", period: int = EVERY, wall: int = 0, zone: str = "UTC", **more: Any
) -> Replay:
    action: Any = KINDS["action"](do)
    rule = Rule(name="mine", when=when, do=action, **{"cooldown": 0, **more})
    return Replay({"mine": (rule, parsed(rule, measures({}), EVERY))}, period, ZoneInfo(zone), wall)


def line(at: float, **event: Any) -> str:
    return json.dumps({"at": at, **event})


def memory(at: float, value: float | None) -> str:
    return line(at, kpis={} if value is None else {"MemoryUsage": value})


def run(of: Replay, *lines: str) -> list[tuple[object, ...]]:
    """What becomes of the rule, as (at, state, action)."""
    found = [one for text in lines for one in told(of.take(text))]
    assert {one["rule"] for one in found} <= {"mine"}
    return [(one["at"], one["state"], one["action"]) for one in found]


# What is read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a JSON object such as"),
        ("{", "is not a JSON object such as"),
        ("[" * 100_000, "is not a JSON object such as"),
        ("[]", 'is not a JSON object with "at"'),
        ('{"kpis": {}}', 'is not a JSON object with "at"'),
        ('{"at": 5}', "needs exactly one of kpis, suspended"),
        ('{"at": 5, "kpis": {}, "rebooted": true}', "needs exactly one of"),
        ('{"at": 5, "kpis": {}, "downtime": 3}', 'has "downtime", which means nothing beside kpis'),
        ('{"at": "5", "kpis": {}}', 'has "5" as at: expected seconds'),
        ('{"at": true, "kpis": {}}', "has true as at: expected seconds"),
        ('{"at": -1, "kpis": {}}', "has -1 as at: expected seconds"),
        ('{"at": NaN, "kpis": {}}', "has NaN as at: expected seconds"),
        ('{"at": 1e99, "kpis": {}}', "expected seconds"),
        ('{"at": 5, "kpis": []}', "has kpis that are no object"),
        ('{"at": 5, "kpis": {"MemoryUsage": "91"}}', 'has "91" as MemoryUsage: expected a number'),
        ('{"at": 5, "kpis": {"MemoryUsage": true}}', "has true as MemoryUsage: expected a number"),
        ('{"at": 5, "suspended": -1}', "has -1 as suspended: expected seconds"),
        ('{"at": 5, "restarted": 1}', "expected true or false"),
        ('{"at": 5, "restarted": true, "downtime": null}', "has null as downtime: expected seconds"),
        ('{"at": 5, "running": "backup"}', "has running jobs that are no list of names"),
        ('{"at": 5, "running": [1]}', "has running jobs that are no list of names"),
        (" " * LONGEST + "{}", "is longer than 1 MiB"),
    ],
)
def test_a_line_that_is_no_event_is_told_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(Foreign) as caught:
        read(text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("number", ["null", "NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400])
def test_a_number_that_is_none_is_a_missing_kpi(number: str) -> None:
    assert read(f'{{"at": 5, "kpis": {{"MemoryUsage": {number}, "CpuUsage": 7}}}}') == (5, "kpis", {"CpuUsage": 7}, 0)


def test_time_goes_back_at_a_boot_alone() -> None:
    of = replay("MemoryUsage > 90%")
    of.take(memory(10, 50))
    of.take(memory(10, 50))
    for back in (memory(9, 50), line(9, rebooted=False), line(9, restarted=True)):
        with pytest.raises(Foreign, match="goes back from 10 s to 9 s"):
            of.take(back)
    of.take(line(3, rebooted=True))
    of.take(memory(4, 50))
    with pytest.raises(Foreign, match="goes back from 4 s to 3 s"):
        of.take(memory(3, 50))


DAY_IN_9998, DAY_IN_1900 = 253_370_764_700, -2_208_988_800  # seconds since 1970 of the last and the first


@pytest.mark.parametrize(
    "events",
    [
        [line(0, clock_step=-1e11)],
        [line(0, clock_step=1e11), line(0, clock_step=1e11), line(0, clock_step=1e11)],
        [line(0, suspended=1e11), line(1, suspended=1e11), line(2, suspended=1e11)],
        [line(0, clock_step=1e11), line(0, clock_step=1e11), memory(1e11, 50)],
        [line(1e11, rebooted=True), line(0, rebooted=True), line(1e11, rebooted=True), line(1e11, suspended=1e11)],
        [line(0, clock_step=DAY_IN_1900 - 1)],
        [line(0, clock_step=1e11), line(0, clock_step=1e11), line(DAY_IN_9998 + 100 - 2e11, rebooted=True)],
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_clock_that_no_calendar_has_is_told_at_its_line(events: list[str], zone: str) -> None:
    of = replay("MemoryUsage > 90% for 10s", within=Within(at=3600, window=HOUR), zone=zone)
    for text in events[:-1]:
        of.take(text)
    with pytest.raises(Foreign, match="brings the wall clock to a time outside of the years 1900 to 9998"):
        of.take(events[-1])


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_clock_is_set_to_any_time_that_calendars_have(zone: str) -> None:
    within = Within(at=3600, window=HOUR)
    early = replay("MemoryUsage > 90%", within=within, zone=zone)
    assert run(early, line(0, clock_step=-3600), memory(5, 95), line(6, clock_step=DAY_IN_1900 + 3600), memory(7, 95))
    late = replay("MemoryUsage > 90%", within=within, zone=zone)
    steps = [line(0, clock_step=step) for step in (1e11, 1e11, DAY_IN_9998 - 2e11)]
    assert run(late, *steps, memory(5, 95), line(50, suspended=40), memory(55, 95))


# What becomes of rules


def test_a_rule_fires_as_its_condition_has_held_and_ends_as_it_is_over() -> None:
    of = replay("MemoryUsage > 90% for 10s")
    values = [50, 95, 95, 95, 95, 50]
    assert run(of, *(memory(5 * number, value) for number, value in enumerate(values))) == [
        (0, "inactive", None),
        (5, "pending", None),
        (15, "firing", "TriggerSelfTest"),
        (25, "inactive", None),
    ]
    assert of.fired == {"mine": 1}
    assert of.seen == {"MemoryUsage"}


def test_instants_are_told_as_they_were_read() -> None:
    of = replay("MemoryUsage > 90%")
    assert run(of, memory(0.25, 95), memory(7, 10)) == [(0.25, "firing", "TriggerSelfTest"), (7, "inactive", None)]
    assert json.dumps(next(iter(told(of.take(memory(8, 95)))))) == (
        '{"at": 8, "rule": "mine", "state": "firing", "action": "TriggerSelfTest"}'
    )


def test_a_gap_breaks_what_must_hold_and_a_restart_does_not() -> None:
    lines = [memory(0, 95), memory(5, 95)]
    broken = run(replay("MemoryUsage > 90% for 10s", max_gap=1), *lines, memory(20, 95), memory(25, 95))
    assert [state for _, state, _ in broken] == ["pending"]
    of = replay("MemoryUsage > 90% for 10s", max_gap=1)
    restarted = run(of, *lines, line(20, restarted=True, downtime=15), memory(20, 95), memory(25, 95))
    assert restarted == [(0, "pending", None), (25, "firing", "TriggerSelfTest")], "the downtime counted"


def test_a_suspend_breaks_what_must_hold_and_holds_what_changes_something_back() -> None:
    lines = [memory(0, 95), line(4, suspended=3600), memory(5, 95), memory(10, 95), memory(15, 95), memory(125, 95)]
    told_of = run(replay("MemoryUsage > 90% for 10s", do="RunJob:clean", max_gap=1000), *lines)
    assert told_of == [(0, "pending", None), (15, "firing", None), (125, "firing", "RunJob:clean")]


def test_a_boot_ends_what_fires_and_allows_nothing_again() -> None:
    of = replay("MemoryUsage > 90%", cooldown=HOUR)
    found = run(of, memory(100, 95), line(3, rebooted=True), memory(5, 95))
    assert found == [(100, "firing", "TriggerSelfTest"), (5, "firing", None)]
    assert of.fired == {"mine": 2}
    of = replay("MemoryUsage > 90%", cooldown=HOUR)
    later = run(of, memory(100, 95), line(3, rebooted=True), line(3, clock_step=3600), memory(5, 95))
    assert later[-1] == (5, "firing", "TriggerSelfTest"), "the wall clock tells the time across a boot"


def test_the_wall_clock_tells_the_time_of_day() -> None:
    night = Within(at=22 * 3600, window=8 * HOUR)
    of = replay("MemoryUsage > 90%", within=night, wall=21 * HOUR)
    assert run(of, memory(0, 95), memory(3600, 95))[-1] == (3600, "firing", "TriggerSelfTest")
    of = replay("MemoryUsage > 90%", within=night, wall=21 * HOUR)
    assert run(of, memory(0, 95), line(1, clock_step=3600), memory(5, 95))[-1] == (5, "firing", "TriggerSelfTest")
    of = replay("MemoryUsage > 90%", within=night)
    assert run(of, memory(23 * 3600, 95)) == [(23 * 3600, "firing", "TriggerSelfTest")], "instants since 1970"


def test_the_jobs_that_run_close_and_open_a_rule() -> None:
    of = replay("MemoryUsage > 90%", except_while=("backup",))
    found = run(of, line(0, running=["backup"]), memory(0, 95), line(5, running=[]), memory(5, 95))
    assert found == [(0, "inactive", None), (5, "firing", "TriggerSelfTest")]


def test_a_step_after_a_failed_self_test_waits_for_one_that_fails_after_the_rule_fired() -> None:
    then: Any = ({"do": "RunJob:clean", "if": "self_test_failed"},)
    steps = tuple(_step(**one) for one in then)
    of = replay("MemoryUsage > 90%", then=steps)
    before = [line(0, self_test_failed=True), memory(1, 95), memory(5, 95)]
    assert run(of, *before) == [(1, "firing", "TriggerSelfTest")]
    assert run(of, line(6, self_test_failed=False), memory(10, 95)) == []
    assert run(of, line(11, self_test_failed=True), memory(15, 95)) == [(15, "firing", "RunJob:clean")]


def _step(**raw: Any) -> Any:
    from agentd.core.rules.settings import Step

    return Step(do=KINDS["action"](raw["do"]), if_=raw["if"])  # type: ignore[arg-type]


def test_what_is_withheld_fires_and_does_nothing() -> None:
    of = replay("MemoryUsage > 90%", max_fires=Fires(1, HOUR))
    found = run(of, memory(0, 95), memory(5, 10), memory(10, 95))
    assert found == [(0, "firing", "TriggerSelfTest"), (5, "inactive", None), (10, "firing", None)]
    assert of.fired == {"mine": 2}


def test_an_episode_that_goes_on_after_a_missing_kpi_is_one_fire() -> None:
    of = replay("MemoryUsage > 90%", missing="reset")
    found = run(of, memory(0, 95), memory(5, None), memory(10, 95))
    assert [state for _, state, _ in found] == ["firing", "unknown", "firing"]
    assert of.fired == {"mine": 1}


# How far apart samples are


def at(*instants: float) -> list[str]:
    return [memory(instant, 50) for instant in instants]


@pytest.mark.parametrize(
    ("lines", "period"),
    [
        ([], EVERY),
        (at(7), EVERY),
        (at(0, 1, 2, 3), EVERY),
        (at(0, 60, 120, 180, 900), MINUTE),
        (at(0, 5, 10, 610, 1210, 1810), 10 * MINUTE),
        (at(0, 60.02, 119.99, 180.01, 240), 60 * SECOND - 10_000),
        (at(0, 5.003, 10.01, 15.012), EVERY),
        (at(0, 0, 60, 60, 120), MINUTE),
        (["foreign", *at(0), line(5, running=[]), *at(60), "{", *at(120)], MINUTE),
        ([*at(500, 560), line(3, rebooted=True), *at(3, 63)], MINUTE),
    ],
)
def test_the_period_is_the_most_common_distance_of_samples(lines: list[str], period: int) -> None:
    assert period_of(lines, EVERY) == period
