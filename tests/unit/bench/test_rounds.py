"""The judgement of `make bench`: ratios of the same round, verdicts and what counts as worse."""

import math

import pytest

from tests.bench.rounds import OTHER, PRESENT, Figure, alternate, between, between_runs, loaded, noise, together


def figure(rounds: dict[str, list[float]], peer: str = "", goal: float | None = None) -> Figure:
    return Figure("figure", "ms", rounds, peer, goal)


def test_everybody_has_a_turn_in_each_round_and_another_begins_each() -> None:
    order: list[str] = []

    def turn(name: str) -> dict[str, float]:
        order.append(name)
        return {"at": len(order)}

    taken = alternate(3, {name: lambda name=name: turn(name) for name in "abc"})  # type: ignore[misc] # bound by default
    assert "".join(order) == "abcbcacab"
    assert taken == {"a": {"at": [1, 6, 8]}, "b": {"at": [2, 4, 9]}, "c": {"at": [3, 5, 7]}}


def test_those_that_are_measured_side_by_side_share_their_rounds() -> None:
    rounds = iter([{"a": {"s": 1}, "b": {"s": 2}}, {"a": {"s": 3}, "b": {"s": 4}}])
    assert together(2, lambda: next(rounds)) == {"a": {"s": [1, 3]}, "b": {"s": [2, 4]}}


def test_a_busy_round_decides_nothing_where_the_peer_was_as_slow() -> None:
    calm = figure({PRESENT: [10, 11, 10], "peer": [5, 5.5, 5]}, "peer", goal=2.5)
    busy = figure({PRESENT: [10, 110, 100], "peer": [5, 55, 50]}, "peer", goal=2.5)
    assert calm.counted(PRESENT) == busy.counted(PRESENT) == [2, 2, 2]
    assert (calm.verdict, busy.verdict) == ("met", "met")


@pytest.mark.parametrize(
    ("rounds", "verdict"),
    [
        ([32, 33, 33], "met"),
        ([33.1, 33.2, 33.3], "MISSED"),
        ([32.9, 34, 35, 36], "MISSED"),
        ([30, 31, 34, 35, 36], "unsure"),
        ([34], "MISSED"),
    ],
)
def test_a_goal_is_missed_when_three_quarters_of_the_rounds_are_above_it(rounds: list[float], verdict: str) -> None:
    assert figure({PRESENT: rounds}, goal=33.0).verdict == verdict
    assert figure({PRESENT: rounds}).verdict == ""


def test_noise_is_the_distance_of_the_quartiles_and_unknown_for_two_rounds() -> None:
    assert noise([90, 100, 100, 100, 110]) == 0
    assert noise([80, 90, 100, 110, 120]) == pytest.approx(0.2)
    assert noise([0, 0, 0]) == 0
    assert noise([1, 1]) == math.inf


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        ([104, 104, 104], False),  # within 5 %
        ([106, 106, 106], True),
        ([100, 110, 120], False),  # beyond 5 %, within the noise
        ([150, 160, 170], True),
        ([50, 51, 52], False),
    ],
)
def test_worse_is_what_is_more_than_5_percent_and_the_noise_above(after: list[float], worse: bool) -> None:
    before = [100.0, 100.0, 100.0]
    assert between(figure({OTHER: before, PRESENT: after})).worse is worse
    assert between_runs(figure({PRESENT: before}), figure({PRESENT: after})).worse is worse


def test_two_runs_are_compared_by_their_ratios_and_two_checkouts_by_their_rounds() -> None:
    before = figure({PRESENT: [10, 10, 10], "peer": [5, 5, 5]}, "peer")
    on_a_busy_machine = figure({PRESENT: [30, 30, 30], "peer": [15, 15, 15]}, "peer")
    assert between_runs(before, on_a_busy_machine).by == 0
    assert between(figure({OTHER: [10, 100, 10], PRESENT: [11, 110, 11]})).by == pytest.approx(0.1)
    nothing = figure({OTHER: [0, 0, 0], PRESENT: [0, 0, 0]})
    assert (between(nothing).by, between(nothing).worse) == (0, False)


def test_one_round_says_nothing_of_what_is_worse() -> None:
    assert not between(figure({OTHER: [1], PRESENT: [2]})).worse


def test_a_report_is_read_back() -> None:
    one = figure({PRESENT: [1.0], "peer": [2.0]}, "peer", goal=3.0)
    written = {"figures": {one.name: {key: value for key, value in one._asdict().items() if key != "name"}}}
    assert loaded(written) == {"figure": one}
