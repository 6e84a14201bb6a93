"""Bars and plots of the past of a KPI."""

import pytest

from agentctl.rules.plot import can_show, columns, plot, sparkline


def row(at: int, mean: float, count: int = 1) -> dict[str, float]:
    return {"at": at, "mean": mean, "count": count}


def test_columns_are_means_of_equal_parts_of_the_time() -> None:
    rows = [row(at, float(at)) for at in range(100)]
    assert columns(rows, 100, 10) == [4.5 + 10 * part for part in range(10)]
    weighed = [row(0, 1.0, count=3), row(1, 5.0), row(2, 7.0), row(3, 7.0)]
    assert columns(weighed, 4, 2) == [2.0, 7.0]


def test_a_time_without_samples_is_an_empty_column() -> None:
    rows = [*(row(at, 1.0) for at in range(10)), *(row(at, 2.0) for at in range(90, 100))]
    assert columns(rows, 100, 10) == [1.0, *[None] * 8, 2.0]


@pytest.mark.parametrize(("rows", "found"), [([], []), ([row(5, 3.0)], [3.0]), ([row(5, 3.0), row(5, 5.0)], [4.0])])
def test_few_rows_make_few_columns(rows: list[dict[str, float]], found: list[float]) -> None:
    assert columns(rows, 5, 60) == found


def test_a_row_from_after_the_end_counts_in_the_last_column() -> None:
    assert columns([row(0, 1.0), row(1, 1.0), row(2, 1.0), row(30, 9.0)], 4, 2) == [1.0, 5.0]


def test_the_least_is_the_lowest_bar_and_the_most_the_highest() -> None:
    assert sparkline([0, 1, None, 2, 7], blocks=True) == "▁▂ ▃█"
    assert sparkline([0, 1, None, 2, 7], blocks=False) == "_. -#"
    assert sparkline([3, 3], blocks=True) == "▅▅"
    assert sparkline([], blocks=True) == ""
    assert sparkline([None], blocks=True) == " "


def test_a_plot_has_bars_of_many_rows() -> None:
    assert plot([0, 5, None, 15], 2, blocks=True) == ["   █", "▁▆ █"]
    assert plot([0, 1, None, 3], 4, blocks=False) == ["   #", "   #", " # #", "## #"]


@pytest.mark.parametrize(("encoding", "can"), [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False)])
def test_blocks_are_drawn_where_the_encoding_has_them(encoding: str | None, can: bool) -> None:
    assert can_show(encoding) == can
