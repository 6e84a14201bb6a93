"""How rates, intervals and reasons read."""

import pytest

from agentd.core.learning import story


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.26, "1.3s"), (9.96, "10s"), (61.7, "1min 2s"), (5400, "1h 30min"), (5430, "1h 30min"), (200_000, "2d 8h")],
)
def test_durations_read_as_exactly_as_they_are_known(seconds: float, text: str) -> None:
    assert story.duration(seconds) == text


def test_a_rate_reads_as_the_time_between_changes() -> None:
    assert story.changes(1 / 2400) == "a change each 40min"
    assert story.changes(1e-9) == "no change within a year"
