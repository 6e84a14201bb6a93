"""Conditions as they are read: what binds tighter, what a window covers, what numbers mean, and where trouble is."""

import re
from typing import TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentd.core.quantities import DAY, MINUTE, SECOND
from agentd.core.rules.conditions import (
    And,
    Comparison,
    HoldsFor,
    HoldsOften,
    IsAnomalous,
    IsMissing,
    Limit,
    Node,
    Not,
    Or,
    Over,
    Reading,
    Wrong,
    kpis,
    nodes,
)
from agentd.core.rules.grammar import DEEPEST, FUNCTIONS, LONGEST, MOST_SAMPLES, fractions, parse
from agentd.core.rules.settings import OwnKpi, measures
from tests.examples import examples

KNOWN = measures({"Room": OwnKpi(name="Room", job="x", unit="celsius")})
PERIOD = 5 * SECOND
FUZZ = settings(max_examples=examples(100), deadline=None)
N = TypeVar("N", bound=Node)


def read(text: str, kind: type[N]) -> N:
    """Returns the node of a condition, which is of that kind."""
    node = parse(text, KNOWN, PERIOD)
    assert isinstance(node, kind)
    return node


def wrong(text: str, period: int = PERIOD) -> Wrong:
    """Returns what is wrong with a condition."""
    with pytest.raises(Wrong) as caught:
        parse(text, KNOWN, period)
    return caught.value


def read_or_refused(text: str) -> tuple[Node | None, Wrong | None]:
    try:
        return parse(text, KNOWN, PERIOD), None
    except Wrong as error:
        return None, error


def limit(text: str) -> float:
    """Returns the number on the right of a comparison."""
    right = read(text, Comparison).right
    assert isinstance(right, Limit)
    return right.value


def texts(node: And | Or) -> list[str]:
    return [part.text for part in node.parts]


# --- What binds tighter


def test_and_binds_tighter_than_or() -> None:
    node = read("SwapUsage > 1% AND CpuUsage > 2% OR MemoryUsage > 3% AND LoadPerCpu > 4", Or)
    assert texts(node) == ["SwapUsage > 1% AND CpuUsage > 2%", "MemoryUsage > 3% AND LoadPerCpu > 4"]


def test_parentheses_bind_tightest() -> None:
    node = read("SwapUsage > 1% AND (CpuUsage > 2% OR MemoryUsage > 3%)", And)
    assert isinstance(node.parts[1], Or)


def test_not_covers_the_comparison_that_follows_and_no_more() -> None:
    node = read("NOT SwapUsage > 1% AND CpuUsage > 2%", And)
    assert isinstance(node.parts[0], Not)
    assert node.parts[0].inner.text == "SwapUsage > 1%"


def test_not_before_parentheses_covers_all_within() -> None:
    assert isinstance(read("NOT (SwapUsage > 1% AND CpuUsage > 2%)", Not).inner, And)


def test_three_of_a_kind_are_parts_of_one() -> None:
    assert len(read("SwapUsage > 1% OR CpuUsage > 2% OR LoadPerCpu > 3", Or).parts) == 3


# --- Windows


def test_a_window_at_the_end_covers_all_before_it() -> None:
    node = read("SwapUsage > 1% OR CpuUsage > 2% AND LoadPerCpu > 3 for 5m", HoldsFor)
    assert node.span == 5 * MINUTE
    assert isinstance(node.inner, Or)


def test_a_window_in_parentheses_covers_what_is_in_them() -> None:
    node = read("(SwapUsage > 1% for 5m) AND (CpuUsage > 2% for 3 of 5)", And)
    often = node.parts[1]
    assert isinstance(node.parts[0], HoldsFor)
    assert isinstance(often, HoldsOften)
    assert (often.hits, often.samples) == (3, 5)


def test_a_window_may_cover_another() -> None:
    node = read("(SwapUsage > 1% for 5m) OR CpuUsage > 2% for 2 of 10", HoldsOften)
    assert isinstance(node.inner, Or)


@pytest.mark.parametrize(
    "text", ["SwapUsage > 1% for 5m AND CpuUsage > 2%", "SwapUsage > 1% for 2 of 5 OR CpuUsage > 2%"]
)
def test_a_window_on_a_part_without_parentheses_is_refused_with_them_in_the_sentence(text: str) -> None:
    error = wrong(text)
    covered, rest = text[: error.at].strip(), text[error.at :].split(maxsplit=1)[0]
    assert f"write ({covered}) {rest} ..." in str(error)


@pytest.mark.parametrize(
    ("span", "length"),
    [
        ("10s", 10 * SECOND),
        ("90s", 90 * SECOND),
        ("1h30m", 90 * MINUTE),
        ("1h 30min", 90 * MINUTE),
        ("366d", 366 * DAY),
    ],
)
def test_spans_are_durations(span: str, length: int) -> None:
    assert read(f"SwapUsage > 1% for {span}", HoldsFor).span == length
    function = read(f"avg(SwapUsage, {span}) > 1%", Comparison).left
    assert isinstance(function, Over)
    assert function.span == length


def test_a_span_must_hold_two_samples_however_often_they_come() -> None:
    assert "two samples, which come every 1min" in str(wrong("SwapUsage > 1% for 119s", MINUTE))
    assert isinstance(parse("SwapUsage > 1% for 120s", KNOWN, MINUTE), HoldsFor)


def test_the_largest_number_of_samples_is_allowed_and_no_larger() -> None:
    assert read(f"SwapUsage > 1% for 1 of {MOST_SAMPLES}", HoldsOften).samples == MOST_SAMPLES
    assert "between 1 and 64" in str(wrong(f"SwapUsage > 1% for 1 of {MOST_SAMPLES + 1}"))


# --- Words, numbers and units


@pytest.mark.parametrize(
    "text",
    [
        "SwapUsage > 1% CLEAR 0.5% AND NOT (CpuUsage IS NOT missing FOR 2 OF 3) OR Room IS anomalous",
        "SwapUsage > 1% clear 0.5% and not (CpuUsage is not Missing for 2 of 3) or Room is ANOMALOUS",
    ],
)
def test_keywords_are_read_in_either_case(text: str) -> None:
    assert [type(node) for node in nodes(read(text, Or))] == [
        Or, And, Comparison, Not, HoldsOften, Not, IsMissing, IsAnomalous,
    ]  # fmt: skip


def test_names_of_kpis_are_read_in_one_case_alone() -> None:
    assert "did you mean SwapUsage?" in str(wrong("swapusage > 1%"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SwapUsage > 90%", 90.0),
        ("SwapUsage > 90 %", 90.0),
        ("SwapUsage > 90", 90.0),
        ("SwapUsage>90%", 90.0),
        ("SwapUsage > 0.5%", 0.5),
        ("SwapUsage > 1e1%", 10.0),
        ("Temperature > -5C", -5.0),
        ("Temperature > 80°C", 80.0),
        ("AgentMemory > 512MiB", 512 * 2.0**20),
        ("AgentMemory > 1.5GB", 1.5e9),
        ("LoopLag > 500ms", 0.5),
        ("AgentUptime > 2d", 2 * 86400.0),
        ("AgentUptime > 1h 30min", 5400.0),
        ("TaskThroughput < 12/h", 12.0),
        ("FailedUnits >= 3", 3.0),
        ("RebootRequired == yes", 1.0),
        ("ClockSynchronised != yes", 1.0),
        ("LlmState == wedged", 4.0),
        ("Room > 21.5C", 21.5),
        ("rate(AgentMemory, 1h) > 1KiB/s", 1024.0),
        ("rate(OomKills, 10m) > 0.1/s", 0.1),
        ("delta(AgentMemory, 1d) > 50MiB", 50 * 2.0**20),
        ("count(SwapUsage, 10m, 90%) >= 5", 5.0),
    ],
)
def test_a_limit_is_in_the_unit_of_what_it_is_compared_with(text: str, value: float) -> None:
    assert limit(text) == value


def test_the_number_may_stand_first() -> None:
    node = read("512MiB <= AgentMemory", Comparison)
    assert (node.left, node.operator, node.right) == (Reading("AgentMemory"), ">=", Limit(512 * 2.0**20))
    assert read("90% < MemoryUsage CLEAR 80%", Comparison).clear == Limit(80.0)
    assert str(wrong("90% < MemoryUsage CLEAR 95%")).startswith("the CLEAR limit is above the limit itself")


def test_a_function_of_a_function_is_refused_for_what_it_is() -> None:
    assert str(wrong("avg(max(MemoryUsage, 5m), 5m) > 3%")).startswith("a function is of a KPI, and not of another")


def test_limits_in_time_are_written_as_durations_are_elsewhere() -> None:
    for text in ("26 hours", "1d 2h", "26h", "1560min", "0.15476190476190476 w"):
        assert limit(f"AgentUptime > {text}") == pytest.approx(26 * 3600)
    assert "is not a duration" in str(wrong("AgentUptime > 5 parsecs"))


def test_clear_means_nothing_below_not() -> None:
    for text in ("NOT MemoryUsage < 90% CLEAR 95%", "NOT (SwapUsage > 1% OR (MemoryUsage < 90% CLEAR 95% for 1m))"):
        assert str(wrong(text)).startswith("CLEAR means nothing below NOT")


def test_two_kpis_of_one_unit_can_be_compared() -> None:
    node = read("AgentMemory > UnitMemory:web.service", Comparison)
    assert node.right == Reading("UnitMemory:web.service")


def test_a_baseline_is_in_the_unit_of_its_kpi() -> None:
    node = read("SwapUsage > baseline(SwapUsage, 7d)", Comparison)
    assert node.right == Over("baseline", "SwapUsage", 7 * DAY)


def test_the_limit_of_count_is_in_the_unit_of_its_kpi() -> None:
    assert read("count(AgentMemory, 10m, 1KiB) > 3", Comparison).left == Over(
        "count", "AgentMemory", 10 * MINUTE, 1024.0
    )


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name not in {"count", "rate"}])
def test_a_function_has_the_unit_of_its_kpi(function: str) -> None:
    assert limit(f"{function}(AgentMemory, 1h) > 1KiB") == 1024.0


@pytest.mark.parametrize(
    ("text", "kpi"),
    [
        ("DiskUsage:/ > 1%", "DiskUsage:/"),
        ("DiskUsage:/var/lib>1%", "DiskUsage:/var/lib"),
        ('DiskUsage:"/my disk" > 1%', "DiskUsage:/my disk"),
        ("DiskUsage:/a:b > 1%", "DiskUsage:/a:b"),
        ("Pressure:memory-full > 1%", "Pressure:memory-full"),
        ("UnitActive:getty@tty1.service == no", "UnitActive:getty@tty1.service"),
        ("max(DiskUsage:/, 1h) > 1%", "DiskUsage:/"),
        ("JobAge:backup IS missing", "JobAge:backup"),
    ],
)
def test_an_instance_stands_after_a_colon(text: str, kpi: str) -> None:
    assert kpis(parse(text, KNOWN, PERIOD)) == {kpi}


def test_what_is_missing_and_what_is_not() -> None:
    assert read("SwapUsage IS missing", IsMissing).kpi == "SwapUsage"
    assert isinstance(read("SwapUsage IS NOT missing", Not).inner, IsMissing)
    assert isinstance(read("SwapUsage IS anomalous for 10m", HoldsFor).inner, IsAnomalous)


# --- Two limits


def test_clear_is_the_limit_while_the_rule_fires() -> None:
    node = read("SwapUsage > 90% CLEAR 80% for 5m", HoldsFor).inner
    assert isinstance(node, Comparison)
    assert (node.right, node.clear) == (Limit(90.0), Limit(80.0))


def test_each_comparison_has_a_clear_limit_of_its_own() -> None:
    node = read("SwapUsage > 90% CLEAR 80% OR LlmTokensPerSecond < 5 CLEAR 8", Or)
    assert [part.clear for part in node.parts if isinstance(part, Comparison)] == [Limit(80.0), Limit(8.0)]


@pytest.mark.parametrize("text", ["SwapUsage > 90% CLEAR 90%", "SwapUsage > 90% CLEAR CpuUsage"])
def test_a_clear_limit_may_be_the_same_or_another_kpi(text: str) -> None:
    assert read(text, Comparison).clear is not None


# --- Bounds


def test_the_longest_and_the_deepest_condition_are_read() -> None:
    assert isinstance(parse("SwapUsage > 1%".ljust(LONGEST), KNOWN, PERIOD), Comparison)
    assert isinstance(parse("(" * DEEPEST + "SwapUsage > 1%" + ")" * DEEPEST, KNOWN, PERIOD), Comparison)
    assert wrong("SwapUsage > 1%".ljust(LONGEST + 1)).at == LONGEST
    assert wrong("(" * (DEEPEST + 1) + "SwapUsage > 1%" + ")" * (DEEPEST + 1)).at == DEEPEST


def test_depth_counts_levels_and_not_parentheses_beside_each_other() -> None:
    assert len(read(" OR ".join(["(NOT SwapUsage > 1%)"] * 50), Or).parts) == 50


# --- Doubts


@pytest.mark.parametrize("text", ["ErrorRate > 0.5", "ErrorRate > .5 for 5m", "DiskUsage:/ >= 0.9", "SwapUsage < 1.0"])
def test_a_percentage_that_looks_like_a_fraction_is_doubted(text: str) -> None:
    (sentence,) = fractions(text, KNOWN)
    assert "is in percent" in sentence


@pytest.mark.parametrize("text", ["ErrorRate > 0.5%", "ErrorRate > 50", "ErrorRate > 1.5", "LoadPerCpu > 0.5"])
def test_other_numbers_are_not_doubted(text: str) -> None:
    assert fractions(text, KNOWN) == []


# --- Whatever is written

WORDS = st.sampled_from(["", "\t", "\n", "\x00"]) | st.sampled_from(
    re.findall(
        r"\S+",
        'SwapUsage CpuUsage AgentMemory DiskUsage:/ DiskUsage:" Pressure:io LlmState RebootRequired Room nobody yes '
        "wedged avg count rate baseline ( ) , > >= < <= == != = AND OR NOT for of IS CLEAR missing anomalous and Not "
        '5 5% -5 0.5 1e400 5m 1h 30min 1h30m 400d 3s 2 64 65 5MiB °C \u0663 \uff15 ² é " : % ;',
    )
)
SOUP = st.lists(WORDS, max_size=25).flatmap(lambda words: st.sampled_from(["", " "]).map(lambda gap: gap.join(words)))
LIMITS = st.integers(0, 100).map(lambda number: f"{number}%")
TERMS = st.one_of(
    st.sampled_from(["SwapUsage", "CpuUsage", "DiskUsage:/", 'DiskUsage:"/my disk"', "Pressure:io-full"]),
    st.tuples(
        st.sampled_from(["avg", "min", "max", "delta", "p95", "baseline"]), st.sampled_from(["10s", "1h 30min"])
    ).map(lambda chosen: f"{chosen[0]}(SwapUsage, {chosen[1]})"),
)
COMPARISONS = st.one_of(
    st.tuples(TERMS, st.sampled_from([">", ">=", "<", "<="]), LIMITS | TERMS).map(" ".join),
    st.tuples(TERMS, st.integers(1, 99)).map(lambda pair: f"{pair[0]} > {pair[1]}% CLEAR {pair[1] - 1}%"),
    st.tuples(LIMITS, TERMS).map(lambda pair: f"{pair[0]}<{pair[1]}"),
    st.sampled_from(["SwapUsage IS missing", "CpuUsage is not anomalous", "LlmState == busy", "LoopLag > 1s 5ms"]),
)
WINDOWS = st.sampled_from(["", " for 5m", " FOR 1h 30min", " for 3 of 5", " for 1 OF 64"])


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Returns conditions that are made of others."""
    inside = st.tuples(inner, WINDOWS).map(lambda pair: f"({pair[0]}{pair[1]})")
    negated = inside.map(lambda text: f"NOT {re.sub(' CLEAR [^ )]+', '', text)}")
    parts = st.lists(COMPARISONS | inside | negated, min_size=1, max_size=3)
    return st.tuples(parts, st.sampled_from([" AND ", " or ", "  OR\n"])).map(lambda pair: pair[1].join(pair[0]))


SOUND = st.tuples(st.recursive(COMPARISONS, joined, max_leaves=8), WINDOWS).map("".join)


@FUZZ
@given(text=st.text(max_size=80) | SOUP)
@example(text="")
@example(text="(" * (LONGEST + 1))
@example(text="1s" * 500)
@example(text="NOT " * 499)
@example(text='DiskUsage:"')
def test_any_text_is_read_or_refused_with_a_place_within_it(text: str) -> None:
    node, error = read_or_refused(text)
    if error is None:
        assert node is not None
        assert kpis(node)
        assert node.text in " ".join(text.split())
    else:
        assert 0 <= error.at <= len(text)
        assert str(error).strip()


@FUZZ
@given(text=SOUND)
def test_what_was_read_is_read_the_same_from_its_own_text(text: str) -> None:
    node = parse(text, KNOWN, PERIOD)
    assert parse(node.text, KNOWN, PERIOD) == node
    for part in nodes(node):
        assert parse(part.text, KNOWN, PERIOD) == part
        assert part.text in node.text or isinstance(part, IsMissing | IsAnomalous)  # what an IS NOT is about


@FUZZ
@given(text=SOUND, at=st.integers(0, 200), junk=st.sampled_from([";", "#", "²", "&&", "\x00"]))
def test_a_character_that_means_nothing_is_told_at_its_place(text: str, at: int, junk: str) -> None:
    space = [place for place, letter in enumerate(text) if letter == " " and text[:place].count('"') % 2 == 0]
    place = space[at % len(space)] + 1 if space else 0
    assert wrong(f"{text[:place]}{junk} {text[place:]}").at == place
