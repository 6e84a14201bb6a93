"""The names of tools that runs use: whatever a program says, a short line that people can read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.jobs.api import tool_name


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("web-search", "web-search"),
        (" web\n search\t", "web search"),
        ("Kalender öffnen", "Kalender öffnen"),
        ("\x1b[31mred\x07", "[31mred"),
        ("turned \u202eround\u200b", "turned round"),
        ("\u202e\x00 \n", ""),
        ("x" * 59 + " y", "x" * 59),
    ],
)
def test_a_name_is_cleaned_and_bounded(said: str, shown: str) -> None:
    assert tool_name(said) == shown


@given(st.text(max_size=200))
def test_any_name_is_a_short_line_that_is_printable_and_stays_the_same(said: str) -> None:
    name = tool_name(said)
    assert name.isprintable()
    assert name == name.strip()
    assert len(name) <= 60
    assert tool_name(name) == name
