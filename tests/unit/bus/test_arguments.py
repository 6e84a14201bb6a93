"""How callers' options are checked, and what makes a record fit for D-Bus."""

from typing import Any

import pytest

import agentctl.client
from agentctl.cli import MOST_RECORDS
from agentd.bus.arguments import PAGE, clean, limit_of, only, record
from agentd.bus.connection import plain
from agentd.core.part import Refused


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"jbo": "x"}, '"jbo" is not an option here; it may have job, limit'),
        ({"job": 1}, 'the option "job" must be of type str'),
        ({"limit": True}, 'the option "limit" must be of type int'),
        ({"limit": 1 << 63}, 'the option "limit" is out of range'),
    ],
)
def test_options_that_mean_nothing_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        only(given, job=str, limit=int)
    assert (refused.value.name, str(refused.value)) == ("InvalidArgument", sentence)


def test_options_that_are_known_pass_and_where_there_are_none_that_is_said() -> None:
    only({"job": "a", "limit": 3}, job=str, limit=int)
    with pytest.raises(Refused, match=r'^"job" is not an option here$'):
        only({"job": "a"})


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_limit_has_its_bounds_and_an_answer_is_a_page_at_most(limit: int) -> None:
    with pytest.raises(Refused, match=f"limit must lie between 1 and 10000, not {limit}"):
        limit_of({"limit": limit})
    assert [limit_of({}), limit_of({"limit": 1}), limit_of({"limit": 10_000})] == [50, 1, 1000]
    assert limit_of({"limit": MOST_RECORDS}) == agentctl.client.PAGE == PAGE  # agentctl asks for what is beyond a page


def test_a_record_has_what_has_a_value_and_text_as_the_bus_carries_it() -> None:
    made = record({"a": "x\0y\udc80", "b": None, "c": ["\0"], "d": 0}, {"a": "s", "b": "s", "c": "as", "d": "t"})
    assert plain(made) == {"a": "x\ufffdy?", "c": ["\ufffd"], "d": 0}
    assert {key: value.signature for key, value in made.items()} == {"a": "s", "c": "as", "d": "t"}
    assert clean(("a\0", 1)) == ["a\ufffd", 1]
