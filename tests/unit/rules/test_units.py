"""Units: how a limit is written, and how a value is shown."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.rules.kpis import KPIS, LLM_STATE, LLM_STATES
from agentd.core.rules.units import (
    BY_NAME,
    BYTES,
    CELSIUS,
    COUNT,
    PER_HOUR,
    PERCENT,
    SECONDS,
    YES_OR_NO,
    Unit,
    per_second,
)

UNITS = [*BY_NAME.values(), LLM_STATE, per_second(BYTES), per_second(COUNT)]


def sentence(unit: Unit, number: float, suffix: str) -> str:
    """Returns what is said about a limit that cannot be written so."""
    with pytest.raises(ValueError, match=r".") as caught:
        unit.value(number, suffix)
    return str(caught.value)


@pytest.mark.parametrize(
    ("unit", "number", "suffix", "value"),
    [
        (PERCENT, 90, "%", 90),
        (PERCENT, 90, "", 90),
        (BYTES, 3, "B", 3),
        (BYTES, 3, "kB", 3000),
        (BYTES, 3, "KiB", 3072),
        (BYTES, 0.5, "GiB", 2.0**29),
        (BYTES, 2, "TB", 2e12),
        (SECONDS, 500, "ms", 0.5),
        (SECONDS, 2, "m", 120),
        (SECONDS, 2, "min", 120),
        (SECONDS, 1.5, "h", 5400),
        (SECONDS, 1, "d", 86400),
        (CELSIUS, 80, "C", 80),
        (CELSIUS, 80, "°C", 80),
        (CELSIUS, -5, "", -5),
        (COUNT, 7, "", 7),
        (PER_HOUR, 12, "/h", 12),
        (per_second(BYTES), 2, "MiB/s", 2.0**21),
        (per_second(PERCENT), 2, "%/s", 2),
        (per_second(COUNT), 2, "/s", 2),
        (per_second(COUNT), 2, "", 2),
    ],
)
def test_a_limit_is_turned_into_the_unit_of_the_samples(unit: Unit, number: float, suffix: str, value: float) -> None:
    assert unit.value(number, suffix) == value


@pytest.mark.parametrize("unit", [BYTES, SECONDS, per_second(BYTES), per_second(SECONDS)], ids=lambda unit: unit.name)
def test_sizes_and_times_need_a_unit(unit: Unit) -> None:
    assert sentence(unit, 5, "").startswith("5 has no unit (try 5")


@pytest.mark.parametrize(
    ("unit", "suffix", "part"),
    [
        (PERCENT, "MiB", '"MiB" is no unit of percent: expected %'),
        (
            BYTES,
            "mb",
            '"mb" is no unit of bytes: expected B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, K, M, G or T (did you mean MB?)',
        ),
        (BYTES, "MB/s", '"MB/s" is no unit of bytes'),
        (SECONDS, "y", '"y" is no unit of seconds: expected ms, s, m, min, h, d or w'),
        (CELSIUS, "F", '"F" is no unit of celsius: expected C or °C'),
        (PER_HOUR, "/s", '"/s" is no unit of per hour: expected /h'),
        (COUNT, "%", "a count has no unit: expected a number alone, not 5%"),
    ],
)
def test_another_unit_is_refused_with_those_that_there_are(unit: Unit, suffix: str, part: str) -> None:
    assert part in sentence(unit, 5, suffix)


def test_words_are_the_values_from_zero_on() -> None:
    assert [YES_OR_NO.word(word) for word in ("no", "yes")] == [0.0, 1.0]
    assert [LLM_STATE.word(word) for word in LLM_STATES] == list(range(len(LLM_STATES)))


def test_a_word_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r'"wedgd" is not one of down, .*\(did you mean wedged\?\)'):
        LLM_STATE.word("wedgd")


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        (PERCENT, 91.5, "91.5%"),
        (PERCENT, 100.0, "100%"),
        (PERCENT, 12.3456, "12.35%"),
        (BYTES, 0, "0 B"),
        (BYTES, 512, "512 B"),
        (BYTES, 1.5 * 2**30, "1.5 GiB"),
        (BYTES, 2.0**20, "1 MiB"),
        (BYTES, 5000 * 2.0**40, "5000 TiB"),
        (per_second(BYTES), 2.0**20, "1 MiB/s"),
        (SECONDS, 0, "0s"),
        (SECONDS, 0.25, "250ms"),
        (SECONDS, 90, "1min 30s"),
        (CELSIUS, 55.5, "55.5C"),
        (COUNT, 3.0, "3"),
        (COUNT, 0.125, "0.125"),
        (COUNT, 123456.0, "123456"),
        (PER_HOUR, 12, "12/h"),
        (YES_OR_NO, 1.0, "yes"),
        (LLM_STATE, 4.0, "wedged"),
        (LLM_STATE, 99.0, "99"),
        (LLM_STATE, -1.0, "-1"),
        (PERCENT, None, "-"),
        (PERCENT, math.nan, "-"),
        (COUNT, math.inf, "inf"),
    ],
)
def test_a_value_is_shown_as_a_person_reads_it(unit: Unit, value: float | None, shown: str) -> None:
    assert unit.show(value) == shown


@given(unit=st.sampled_from(UNITS), value=st.floats() | st.none())
def test_any_value_can_be_shown_in_a_few_characters(unit: Unit, value: float | None) -> None:
    shown = unit.show(value)
    assert shown.isprintable()
    assert 0 < len(shown) < 350


@given(unit=st.sampled_from([PERCENT, CELSIUS, COUNT, PER_HOUR]), number=st.integers(-(10**6), 10**6))
def test_a_whole_number_that_is_shown_can_be_written_as_a_limit(unit: Unit, number: int) -> None:
    shown = unit.show(number)
    digits = shown.rstrip("%C/h")
    assert unit.value(float(digits), shown.removeprefix(digits)) == number


def test_every_kpi_is_in_a_unit_that_can_be_shown() -> None:
    assert {kpi.unit.name for kpi in KPIS.values()} <= {unit.name for unit in UNITS}
    assert all(kpi.unit.show(1.0) not in {"", "-"} for kpi in KPIS.values())


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (PERCENT, "45%", 45.0), (PERCENT, " 45.5 % ", 45.5), (PERCENT, "45", 45.0), (SECONDS, "5min", 300.0),
        (SECONDS, "1h 30min", 5400.0), (SECONDS, "12.5", 12.5), (SECONDS, "2 hours", 7200.0), (CELSIUS, "41.5C", 41.5),
        (CELSIUS, "-4 °C", -4.0), (PER_HOUR, "3/h", 3.0), (BYTES, "12MiB", 12 * 2.0**20), (BYTES, "512M", 2.0**29),
        (BYTES, "1.5e3", 1500.0), (COUNT, "+7", 7.0), (YES_OR_NO, "yes", 1.0), (YES_OR_NO, "true", 1.0),
        (YES_OR_NO, "False", 0.0), (YES_OR_NO, "0", 0.0), (YES_OR_NO, "1", 1.0),
    ],
)  # fmt: skip
def test_what_a_job_prints_is_a_number_alone_or_with_its_unit(unit: Unit, text: str, value: float) -> None:
    assert unit.read(text) == value


@pytest.mark.parametrize(
    ("unit", "text", "part"),
    [
        (PERCENT, "", "expected a number, with or without its unit"),
        (COUNT, "many", "expected a number"),
        (COUNT, "7%", "a count has no unit"),
        (BYTES, "12 mb", "(did you mean MB?)"),
        (SECONDS, "5 parsecs", "is not a duration"),
        (YES_OR_NO, "7", '"7" is not one of no, yes'),
        (PERCENT, "nan", "expected a number"),
    ],
)
def test_what_a_job_prints_otherwise_is_refused_with_the_reason(unit: Unit, text: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        unit.read(text)
