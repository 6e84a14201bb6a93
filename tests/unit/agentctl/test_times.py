"""agentctl's durations and instants."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from agentctl import times
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND, WEEK, format_duration, parse_duration

NOW = 1_792_883_200_123_456  # Sat 2026-10-24 23:06:40.123456 UTC, the night in which Berlin's clocks go back


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    times._clock.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    times._clock.cache_clear()


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("15s", 15 * SECOND),
        ("5min", 5 * MINUTE),
        ("5m", 5 * MINUTE),
        (" 2H ", 2 * HOUR),
        ("1d", DAY),
        ("1w", WEEK),
        ("1h 30min", 90 * MINUTE),
        ("1h30min", 90 * MINUTE),
        ("1.5 hours", 90 * MINUTE),
        ("250ms", SECOND // 4),
        *zip(times.PRESETS, [m * MINUTE for m in (15, 30, 60, 180, 360, 720, 1440)], strict=True),
    ],
)
def test_durations_are_understood(text: str, usec: int) -> None:
    assert parse_duration(text) == usec


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("15", r"has no unit \(try 15s, 15min, 15h\)"),
        ("", "is not a duration"),
        ("soon", "is not a duration"),
        ("5 fortnights", "is not a duration"),
        ("1h and 5min", "is not a duration"),
        ("-1h", "is not a duration"),
        ("\u0663h", "is not a duration"),
        ("6000w", "longer than a hundred years"),
    ],
)
def test_what_is_no_duration_is_told(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", " 0min "])
def test_an_interval_is_longer_than_nothing(text: str) -> None:
    assert parse_duration(text) == 0
    with pytest.raises(ValueError, match=f'^"{text}" is too short: give a duration longer than 0'):
        times.parse_positive(text)
    assert times.parse_positive("1ms") == SECOND // 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-25", "2026-10-25T00:00:00+02:00"),
        ("2026-10-25 01:30", "2026-10-25T01:30:00+02:00"),
        ("2026-10-25 04:30:05", "2026-10-25T04:30:05+01:00"),
        ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("tomorrow", "2026-10-26T00:00:00+01:00"),
        ("today", "2026-10-25T00:00:00+02:00"),
        ("Yesterday", "2026-10-24T00:00:00+02:00"),
        ("18:00", "2026-10-25T18:00:00+01:00"),
        ("now", "2026-10-25T01:06:40.123456+02:00"),
    ],
)
def test_dates_are_local_unless_they_have_a_zone(text: str, expected: str) -> None:
    assert times.local(times.parse_instant(text, NOW)).isoformat() == expected


@pytest.mark.parametrize("text", ["", "someday", "2026-13-01", "25:00", "0001-01-01", "2026-02-30"])
def test_what_is_no_date_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=f'^"{text}" (is not a date|lies before 1970)'):
        times.parse_instant(text, NOW)


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("18:00", "2026-11-05T12:00+01:00", "2026-11-05T18:00:00+01:00"),
        ("03:00", "2026-11-05T12:00+01:00", "2026-11-06T03:00:00+01:00"),
        ("3:00", "2026-11-05T12:00+01:00", "2026-11-06T03:00:00+01:00"),
        ("0:00", "2026-11-05T12:00+01:00", "2026-11-06T00:00:00+01:00"),
        ("12:00", "2026-11-05T12:00+01:00", "2026-11-06T12:00:00+01:00"),
        ("03:00:05", "2026-11-05T03:00+01:00", "2026-11-05T03:00:05+01:00"),
        ("2026-12-24 03:00", "2026-11-05T12:00+01:00", "2026-12-24T03:00:00+01:00"),
        ("2026-12-24T03:00Z", "2026-11-05T12:00+01:00", "2026-12-24T04:00:00+01:00"),
        ("tomorrow 03:00", "2026-11-05T12:00+01:00", "2026-11-06T03:00:00+01:00"),
        ("today 18:00", "2026-11-05T12:00+01:00", "2026-11-05T18:00:00+01:00"),
        ("+1h", "2026-11-05T12:00+01:00", "2026-11-05T13:00:00+01:00"),
        ("+1h", "2026-10-25T02:40+02:00", "2026-10-25T02:40:00+01:00"),
        # The night in which the clocks go forward: no 02:30, and 03:00 is an hour after 01:00.
        ("03:00", "2027-03-28T01:00+01:00", "2027-03-28T03:00:00+02:00"),
        ("02:30", "2027-03-27T22:00+01:00", "2027-03-29T02:30:00+02:00"),
        # The night in which they go back: 02:30 comes twice.
        ("02:30", "2026-10-25T01:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("02:30", "2026-10-25T02:40+02:00", "2026-10-25T02:30:00+01:00"),
        ("02:30", "2026-10-25T02:40+01:00", "2026-10-26T02:30:00+01:00"),
        ("2026-10-25 02:30", "2026-10-25T02:40+02:00", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25 02:30", "2026-10-24T12:00+02:00", "2026-10-25T02:30:00+02:00"),
    ],
)
def test_a_coming_time_is_the_next_one_that_the_local_clocks_show(text: str, now: str, expected: str) -> None:
    assert times.local(times.parse_coming(text, times.parse_instant(now, NOW))).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("soon", "is not a time: try 03:00,"),
        ("25:00", "is not a time"),
        ("3:0", "is not a time"),
        ("\u0663:00", "is not a time"),
        ("2026-10-26\u06633:00", "is not a time"),
        ("2026-02-30 03:00", "is not a time"),
        ("9999-12-31T23:59:59-23:59", "is not a time"),
        ("2026-10-25 01:06", "has passed: give a later time"),
        ("yesterday", "has passed"),
        ("now", "has passed"),
        ("today", "has passed"),
        ("tomorrow", 'is a whole day: give the time too \\(try "tomorrow 03:00"'),
        ("2026-12-24", 'is a whole day: give the time too \\(try "2026-12-24 03:00"'),
        ("2027-03-28 02:30", "does not exist here: the clocks skip it"),
    ],
)
def test_what_is_no_coming_time_is_told(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f'^"{text}" {hint}'):
        times.parse_coming(text, NOW)


@pytest.mark.parametrize("text", ["+", "+0s", "+soon", "+-1h"])
def test_a_span_from_now_is_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"too short|not a duration"):
        times.parse_coming(text, NOW)


def test_since_takes_a_duration_back_from_now_or_a_date() -> None:
    assert times.parse_since("2h", NOW) == NOW - 2 * HOUR
    assert times.parse_since("99w", 5) == 0
    assert times.parse_since("0", NOW) == times.parse_since("0s", NOW) == NOW
    assert times.parse_since("2026-10-25", NOW) == times.parse_instant("2026-10-25", NOW)
    with pytest.raises(ValueError, match="neither a duration"):
        times.parse_since("recently", NOW)


def test_json_times_keep_microseconds_and_the_offset_and_none_is_null() -> None:
    assert times.iso(NOW) == "2026-10-25T01:06:40.123456+02:00"
    assert times.iso(NOW + 2 * HOUR) == "2026-10-25T02:06:40.123456+01:00"
    assert times.iso(0) is None
    assert times.iso(None) is None


def test_both_passes_of_the_repeated_hour_look_different() -> None:
    first, second = times.stamp(NOW + HOUR), times.stamp(NOW + 2 * HOUR)
    assert first == "Sun 2026-10-25 02:06:40 +0200"
    assert second == "Sun 2026-10-25 02:06:40 +0100"


def test_an_absurd_instant_is_shown_and_does_not_crash() -> None:
    assert times.stamp(2**64 - 1).startswith("Thu 9999-12-30")


@pytest.mark.parametrize(
    ("usec", "text"),
    [
        (0, "0s"),
        (300_000, "0.3s"),
        (2 * SECOND, "2s"),
        (45 * SECOND, "45s"),
        (250 * SECOND, "4min 10s"),
        (HOUR + 5 * SECOND, "1h"),
        (51 * HOUR, "2d 3h"),
    ],
)
def test_spans_have_two_units_at_most(usec: int, text: str) -> None:
    assert times.span(usec) == text


@pytest.mark.parametrize(
    ("usec", "text"),
    [(90 * MINUTE, "1h 30min"), (2 * WEEK, "2w"), (8 * DAY, "8d"), (1500_000, "1s 500ms"), (0, "0s")],
)
def test_exact_durations_lose_nothing(usec: int, text: str) -> None:
    assert format_duration(usec) == text


def test_relative_times_look_forward_and_back() -> None:
    assert times.relative(NOW + 4 * MINUTE, NOW) == "in 4min"
    assert times.relative(NOW - 200 * MINUTE, NOW) == "3h 20min ago"
    assert times.relative(NOW + 999_999, NOW) == "now"
    assert times.relative(NOW + 1_999_999, NOW) == "in 1s"


def test_the_clock_shows_the_day_only_when_it_is_another() -> None:
    assert times.clock(NOW + HOUR, NOW) == "02:06"
    assert times.clock(NOW - 2 * HOUR, NOW) == "Sat 23:06"
    assert times.clock(NOW + 30 * DAY, NOW) == "2026-11-24 00:06"


def test_a_long_list_is_reckoned_by_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    reckoned: list[int] = []
    local = times.local

    def counted(instant: int) -> datetime:
        reckoned.append(instant)
        return local(instant)

    monkeypatch.setattr(times, "local", counted)
    clocks = [times.clock(NOW + number * SECOND, NOW) for number in range(HOUR // SECOND)]
    assert len(set(clocks)) == 61
    assert len(reckoned) == 2 * 61
    assert times.clock(NOW, NOW, seconds=True) == "01:06:40"


def test_a_length_of_time_that_comes_again_is_worded_once() -> None:
    times.span.cache_clear()
    texts = [times.span(number % 7 * MINUTE) for number in range(10_000)]
    assert texts[:3] == ["0s", "1min", "2min"]
    assert times.span.cache_info().misses == 7
