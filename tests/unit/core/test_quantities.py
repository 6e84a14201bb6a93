"""Durations, sizes, times of day and weekdays: what is read, what is refused, and that both ways agree."""

import difflib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentd.core.quantities import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    WEEK,
    closest,
    counted,
    format_duration,
    format_time_of_day,
    format_weekdays,
    nearest,
    parse_duration,
    parse_size,
    parse_time_of_day,
    parse_weekdays,
    unknown_key,
)

CENTURY = 100 * 366 * DAY
FOREIGN = ["\u0663s", "\uff15min", "5\u00a0min", "5\u212a", "\u0662\u0663:\u0660\u0660", "23:\u0660\u0660"]
"""Texts with a digit, a space or a letter that looks like one of ASCII."""
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text("0123456789.:-+,% \tmsinhdwkgtbMONTUEFRI\u0131\u017f\u212a", max_size=30),
    st.from_regex(r"\d+(\.\d+)? *(ms|s|min|h|d|w|k|m|g|t)", fullmatch=True),
)


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("0", 0),
        ("0s", 0),
        ("1ms", 1000),
        ("1500 msec", 1_500_000),
        ("90s", 90 * SECOND),
        ("5m", 5 * MINUTE),
        ("5min", 5 * MINUTE),
        ("5 minutes", 5 * MINUTE),
        ("1hour", HOUR),
        ("24hours", DAY),
        ("1h30min", 90 * MINUTE),
        (" 1h  30min ", 90 * MINUTE),
        ("1.5h", 90 * MINUTE),
        ("0.1s", 100_000),
        ("2D", 2 * DAY),
        ("1week", WEEK),
        ("36600d", CENTURY),
    ],
)
def test_durations(text: str, usec: int) -> None:
    assert parse_duration(text) == usec


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "min",
        "5x",
        "-5min",
        "5min!",
        "1h 30",
        "1,5h",
        "1.h",
        "1 0s",
        "5 m in",
        "1y",
        "1month",
        "5min" * 50,
        *FOREIGN,
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == f'"{text}" is not a duration (try 5min, 2h, 1d)'


@pytest.mark.parametrize(("text", "hint"), [("5", "5s, 5min, 5h"), (" 1.5 ", "1.5s, 1.5min, 1.5h")])
def test_a_duration_without_a_unit_is_told_which_units_there_are(text: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == f'"{text.strip()}" has no unit (try {hint})'


@pytest.mark.parametrize("text", ["36601d", "36600d 1ms", "9" * 90 + "w"])
def test_no_duration_is_longer_than_a_hundred_years(text: str) -> None:
    with pytest.raises(ValueError, match=r"is longer than a hundred years$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("usec", "text"),
    [
        (0, "0s"),
        (1000, "1ms"),
        (1500 * 1000, "1s 500ms"),
        (90 * MINUTE, "1h 30min"),
        (DAY, "1d"),
        (WEEK, "1w"),
        (8 * DAY, "8d"),
        (14 * DAY, "2w"),
    ],
)
def test_durations_are_shown_as_short_as_they_can_be(usec: int, text: str) -> None:
    assert format_duration(usec) == text


@given(milliseconds=st.integers(0, CENTURY // 1000))
@example(milliseconds=CENTURY // 1000)
def test_a_duration_that_is_shown_reads_the_same(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds * 1000)) == milliseconds * 1000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("5b", 5),
        ("1k", 1 << 10),
        ("512M", 512 << 20),
        ("512 MiB", 512 << 20),
        ("1GB", 1 << 30),
        ("2t", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1X", "1.5G", "-1", "50%", "5ib", "1 0", "1" * 5000, "\u0663M", *FOREIGN])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == f'"{text}" is not a size (try 512M, 1G)'


def test_no_size_is_larger_than_any_machine() -> None:
    with pytest.raises(ValueError, match=r'^"1048577T" is larger than any machine$'):
        parse_size("1048577T")


@given(seconds=st.integers(0, 24 * 3600 - 1))
def test_a_time_of_day_that_is_shown_reads_the_same(seconds: int) -> None:
    assert parse_time_of_day(format_time_of_day(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "24:00", "12:60", "12:30:60", "1230", "2:3", "2:30pm", "12:30:", "-1:00", "23:00\n0", *FOREIGN]
)
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_time_of_day(text)
    assert str(caught.value) == f'"{text}" is not a time of day (try "02:30" or "23:15:00")'


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", (0,)),
        ("Monday", (0,)),
        ("tues, thurs", (1, 3)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("mon - wed", (0, 1, 2)),
        ("fri-mon", (0, 4, 5, 6)),
        ("sun,sat,sun", (5, 6)),
        ("mon-mon", (0,)),
        ("daily", (0, 1, 2, 3, 4, 5, 6)),
        ("Weekdays", (0, 1, 2, 3, 4)),
        ("weekends,mon", (0, 5, 6)),
    ],
)
def test_weekdays(text: str, days: tuple[int, ...]) -> None:
    assert parse_weekdays(text) == days


@pytest.mark.parametrize("text", ["", ",", "mo", "monkey", "mon-", "-fri", "mon-tue-wed", "mon fri", "1-5", "mon,,tue"])
def test_what_names_no_weekdays(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_weekdays(text)
    assert str(caught.value) == f'"{text}" does not name weekdays (try mon-fri, or sat,sun)'


@given(days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))))
def test_weekdays_that_are_shown_read_the_same(days: tuple[int, ...]) -> None:
    assert parse_weekdays(format_weekdays(days)) == days


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_time_of_day, parse_weekdays])
@given(text=TEXTS)
@example(text="9" * 400 + "s")
@example(text="9" * 5000)
@example(text="0." + "1" * 5000 + "h")
@example(text="²min")
@example(text="İ")
@example(text="0M")
def test_any_text_is_read_or_refused_with_a_sentence(parse: Callable[[str], object], text: str) -> None:
    sentence = "(try "
    try:
        parse(text)
    except ValueError as error:
        sentence = str(error)
    # Not what int() or float() would say.
    assert "(try " in sentence or " is l" in sentence or "may mean months, or minutes: say " in sentence


@given(text=TEXTS)
@example(text="\u0663s")
@example(text="1h \u0663min")
@example(text="5\u212a")
@example(text="\u0661\u0662:00")
def test_only_ascii_is_read_as_a_number(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_time_of_day):
        try:
            parse(text)
        except ValueError:
            continue
        assert text.isascii()


@given(
    parts=st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "sec", "m", "min", "h", "hours", "d", "w"])),
        min_size=1,
        max_size=4,
    ),
    gap=st.sampled_from(["", " ", "  ", "\t"]),
    upper=st.booleans(),
)
def test_a_duration_is_the_sum_of_its_parts_however_it_is_written(
    parts: list[tuple[int, str]], gap: str, upper: bool
) -> None:
    units = {
        "ms": 1000,
        "s": SECOND,
        "sec": SECOND,
        "m": MINUTE,
        "min": MINUTE,
        "h": HOUR,
        "hours": HOUR,
        "d": DAY,
        "w": WEEK,
    }
    text = gap.join(f"{number}{gap}{unit}" for number, unit in parts)
    usec = sum(number * units[unit] for number, unit in parts)
    if upper:  # but for the M, which systemd takes for a month
        text = re.sub(r"(?<=[0-9\s])M(?=[0-9\s]|$)", "m", text.upper())
    assert parse_duration(text) == usec
    assert parse_duration(format_duration(usec)) == usec


def test_the_grammar_needs_the_standard_library_alone() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import agentd.core.quantities; print(*sys.modules)"
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True)
    foreign = {
        name for name in done.stdout.split() if name.partition(".")[0] not in {*sys.stdlib_module_names, "__main__"}
    }
    assert foreign == {"agentd", "agentd.core", "agentd.core.quantities"}


def test_the_nearest_name_is_suggested_and_none_where_none_is_near() -> None:
    assert nearest("timout", ["run", "timeout", "timezone"]) == " (did you mean timeout?)"
    assert nearest("zzz", ["run", "timeout"]) == ""


def test_few_of_many_names_are_compared_and_the_nearest_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"backup-of-the-database-{number:04d}" for number in range(2000)] + ["mirror", "ok", "a"]
    compared: list[str] = []

    def noting(name: str, among: list[str], count: int) -> list[str]:
        compared.extend(among)
        return get_close_matches(name, among, count)

    get_close_matches = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", noting)
    for mistaken, meant in (
        ("backup-of-the-databse-1999", "backup-of-the-database-1999"),
        ("mirorr", "mirror"),
        ("okk", "ok"),
        ("A", ""),
    ):
        compared.clear()
        assert nearest(mistaken, names) == (f" (did you mean {meant}?)" if meant else "")
        assert len(compared) == 10
    assert (closest("timout", ["run", "timeout"]), closest("zzz", ["run", "timeout"])) == ("timeout", "")
    assert unknown_key("timout", ["run", "timeout"]) == 'unknown key "timout" (did you mean timeout?)'
    assert unknown_key("zzz", ["run", "timeout"]) == 'unknown key "zzz"; expected one of run, timeout'


def test_one_thing_is_no_several() -> None:
    assert [counted(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
