"""How rates, intervals and reasons read."""

import pytest

from agentd.core.learning import story
from agentd.core.learning.memory import begin


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.26, "1.3s"), (9.96, "10s"), (61.7, "1min 2s"), (5400, "1h 30min"), (5430, "1h 30min"), (200_000, "2d 8h")],
)
def test_durations_read_as_exactly_as_they_are_known(seconds: float, text: str) -> None:
    assert story.duration(seconds) == text


def test_a_job_whose_output_always_differs_gets_a_hint() -> None:
    memory = begin(1e-4)
    memory.runs, memory.found, memory.looked = 30, [5.0, 20.0], [5.0, 20.0]
    assert story.hint("output", memory).startswith("every run of about a day was of use")
    assert story.hint("file:/x", memory) == ""
    memory.found[1] = 19.0
    assert story.hint("output", memory) == ""


def test_a_rate_reads_as_the_time_between_changes() -> None:
    assert story.changes(1 / 2400) == "a change each 40min"
    assert story.changes(1e-9) == "no change within a year"
