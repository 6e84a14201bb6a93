"""Conditions in words: what each part is and sees."""

import pytest

from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.rules import grammar, story
from agentd.core.rules.evaluation import Look, Part, condition
from agentd.core.rules.settings import OwnKpi, measures
from agentd.core.rules.units import CELSIUS

EVERY = MINUTE
OWN = {"Room": OwnKpi(name="Room", job="probe", unit="celsius"), "Notes": OwnKpi(name="Notes", job="notes")}


def part_of(text: str, every: int = EVERY) -> Part:
    return condition(grammar.parse(text, measures(OWN), every), every, 3 * every)


def kinds(text: str) -> list[tuple[str, str, int]]:
    return [(line.kind, line.text, line.depth) for line in story.lines(part_of(text), lambda _: "", 0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Notes > 5", [("compares", "Notes > 5", 0)]),
        ("Room IS missing", [("missing", "Room IS missing", 0)]),
        ("Room IS anomalous", [("anomalous", "Room IS anomalous", 0)]),
        (
            "NOT Notes > 5 AND Room > 30C",
            [
                ("and", "NOT Notes > 5 AND Room > 30C", 0),
                ("not", "NOT Notes > 5", 1),
                ("compares", "Notes > 5", 2),
                ("compares", "Room > 30C", 1),
            ],
        ),
        (
            "Notes > 5 OR Notes < 1 for 5m",
            [
                ("for", "Notes > 5 OR Notes < 1 for 5m", 0),
                ("or", "Notes > 5 OR Notes < 1", 1),
                ("compares", "Notes > 5", 2),
                ("compares", "Notes < 1", 2),
            ],
        ),
        ("Notes > 5 for 2 of 3", [("of", "Notes > 5 for 2 of 3", 0), ("compares", "Notes > 5", 1)]),
    ],
)
def test_each_part_tells_of_which_kind_it_is(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert kinds(text) == expected


def seen(part: Part, text: str, *values: float | None, span: int = MINUTE) -> list[str]:
    """What an anomalous KPI sees after these samples, so far apart; first in the sentences, then in the lines."""
    for number, value in enumerate(values):
        known = {} if value is None else {"Room": value, "MemoryUsage": value}
        part.look(Look(number * span, number * span, known))
    why = "" if values and values[-1] is not None else "no sample yet"
    (sentence,) = story.compared(part, lambda _: why)
    assert sentence.startswith(f"{text}: ")
    (line,) = story.lines(part, lambda _: why, 0, unit=lambda _: CELSIUS)
    return [sentence.removeprefix(f"{text}: "), line.sees]


def test_an_anomaly_sees_the_value_and_what_is_usual_at_that_hour() -> None:
    part, samples = part_of("MemoryUsage IS anomalous", HOUR), DAY // HOUR
    assert seen(part, "MemoryUsage IS anomalous", *[20.0] * samples, 91.0, span=HOUR)[0] == (
        "91% against a mean of 20% at this hour; its mean deviation is 0%, and anomalous is what is more than 1% away"
    )


def test_what_moves_may_move_on() -> None:
    part = part_of("Room IS anomalous")
    values = [20.0, *[20.0, 22.0] * (DAY // MINUTE // 2)]
    shown, in_its_unit = seen(part, "Room IS anomalous", *values)
    assert shown.startswith("22 against a mean of 20")
    assert in_its_unit.startswith("22C against a mean of 20")
    assert "C away" in in_its_unit


def test_before_a_day_has_passed_that_is_told() -> None:
    part = part_of("Room IS anomalous", HOUR)
    assert seen(part, "Room IS anomalous", *[20.0] * 11, 21.0, span=HOUR)[1] == (
        "21C; what is usual is known after a day, and agentd has looked for 11h"
    )
    assert seen(part_of("Room IS anomalous"), "Room IS anomalous", 20.0)[1] == (
        "20C; what is usual is known after a day, and agentd has looked for 0s"
    )


def test_an_hour_that_had_no_sample_is_told() -> None:
    part = part_of("Room IS anomalous", HOUR)
    seen(part, "Room IS anomalous", *[20.0] * 24, span=MINUTE)
    part.look(Look(DAY, 5 * HOUR, {"Room": 21.0}))
    (line,) = story.lines(part, lambda _: "", 0, unit=lambda _: CELSIUS)
    assert line.sees == ("21C; what is usual at this hour is not known: it had no sample yet")


def test_a_kpi_without_a_value_says_why_and_an_unseen_one_that_there_was_no_look() -> None:
    part = part_of("Room IS anomalous")
    assert seen(part, "Room IS anomalous", 20.0, None, span=SECOND) == ["no sample yet"] * 2
    assert seen(part_of("Room IS anomalous"), "Room IS anomalous") == ["no sample yet"] * 2
