"""The replay of events: what a history costs, against what can be worked out by hand."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import START_COST, Terms
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.simulation import (
    BASELINES,
    OURS,
    Agent,
    Choose,
    Cost,
    compare,
    fixed,
    geometric_mean,
    hindsight,
    keep,
    replay,
    summary,
)

DAY = 86_400.0
TERMS = Terms(start=300.0, shortest=30.0, longest=21_600.0)
instants = st.lists(st.floats(0, 10_000), max_size=60).map(sorted)


def test_a_history_of_two_events_by_hand() -> None:
    """Runs at 10, 20, ..., 60: the events at 12 and 45 are seen at 20 and 50."""
    cost = replay([12.0, 45.0], 60.0, 2.0, 10.0, lambda _at, _useful: 10.0)
    assert cost == Cost(6, 6 * (2.0 + START_COST), 8**2 / 2 + 5**2 / 2)
    assert cost.total(price=100.0) == pytest.approx(6 * 2.05 + 44.5 / 100)


def test_of_events_between_two_runs_the_first_one_ages_and_all_are_seen() -> None:
    assert replay([11.0, 12.0, 19.0], 20.0, 0.0, 10.0, lambda _at, _useful: 10.0).age == 9**2 / 2


def test_what_nobody_has_seen_at_the_end_has_aged_until_then() -> None:
    assert replay([12.0], 15.0, 0.0, 10.0, lambda _at, _useful: 10.0) == Cost(1, START_COST, 3**2 / 2)
    assert replay([12.0], 15.0, 0.0, 100.0, lambda _at, _useful: 10.0) == Cost(0, 0.0, 3**2 / 2)
    assert fixed([12.0], 15.0, 0.0, 100.0).age == 3**2 / 2


def test_a_way_hears_when_it_ran_and_whether_that_found_something() -> None:
    heard: list[tuple[float, bool]] = []

    def choose(at: float, useful: bool) -> float:
        heard.append((at, useful))
        return 20.0 if useful else 5.0

    replay([7.0, 10.0, 31.0], 40.0, 1.0, 5.0, choose)
    assert heard == [(5.0, False), (10.0, True), (30.0, False), (35.0, True)]


@given(instants, st.floats(20, 20_000), st.floats(0, 100))
def test_a_fixed_interval_is_worked_out_as_a_replay_goes(events: list[float], interval: float, cost: float) -> None:
    terms = Terms(start=interval, shortest=1.0, longest=1e6)
    went = replay(events, 10_000.0, cost, interval, keep(terms))
    out = fixed(events, 10_000.0, cost, interval)
    assert abs(out.runs - went.runs) <= 1  # the last run may be a rounding beyond the end
    assert out.age == pytest.approx(went.age, rel=1e-6, abs=1e-3 * len(events) * interval)


@given(st.lists(st.integers(0, 5000), max_size=40).map(sorted), st.integers(20, 600))
def test_in_whole_seconds_the_two_are_the_same(events: list[int], interval: int) -> None:
    terms = Terms(start=float(interval), shortest=1.0, longest=1e6)
    floats = [float(event) for event in events]
    went = replay(floats, 5000.0, 1.0, terms.start, keep(terms))
    assert fixed(floats, 5000.0, 1.0, terms.start) == went


def test_a_rounding_has_no_run_before_what_it_sees() -> None:
    for step in range(1, 3000):
        assert fixed([step * 0.1], 1000.0, 1.0, 0.1).age == pytest.approx(0.0, abs=0.1)


@given(instants.filter(bool))
def test_no_interval_of_the_grid_is_better_than_the_best_one_in_hindsight(events: list[float]) -> None:
    interval, cost = hindsight(events, 10_000.0, 1.0, TERMS)
    assert cost == fixed(events, 10_000.0, 1.0, interval)
    assert TERMS.shortest <= interval <= TERMS.longest * (1 + 1e-9)
    for other in (TERMS.shortest, TERMS.start, TERMS.longest):
        assert cost.total(TERMS.price) <= fixed(events, 10_000.0, 1.0, other).total(TERMS.price) * (1 + 1e-9)


def test_where_all_intervals_are_one_that_is_the_best_one() -> None:
    terms = Terms(start=60.0, shortest=60.0, longest=60.0)
    assert hindsight([10.0, 100.0], 600.0, 1.0, terms)[0] == 60.0


def test_hindsight_finds_the_period_of_what_comes_regularly() -> None:
    events = [600.0 * number for number in range(1, 200)]
    interval, cost = hindsight(events, 600.0 * 200, 1.0, Terms(start=600.0, shortest=30.0, longest=21_600.0))
    assert interval == 600.0
    assert cost.age == 0.0


def chosen_by(terms: Terms, events: list[float], length: float, name: str) -> list[float]:
    """The intervals that a way chose."""
    chosen: list[float] = []

    def through(its: str, choose: Choose) -> Choose:
        def noted(at: float, useful: bool) -> float:
            chosen.append(interval := choose(at, useful))
            return interval

        return noted if its == name else lambda _at, _useful: math.inf

    compare(events, length, 1.0, terms, None, through=through)
    return chosen


@pytest.mark.parametrize("name", ["keep", "aimd", "ewma", "gamma-poisson", "agentd-without-mlp", "agentd"])
@pytest.mark.parametrize("every", [20.0, 900.0, 40_000.0])
def test_every_way_stays_within_the_bounds(name: str, every: float) -> None:
    random = Random(f"{name} {every}")
    events, at = [], 0.0
    while (at := at + random.expovariate(1 / every)) < 5 * DAY:
        events.append(at)
    chosen = chosen_by(TERMS, events, 5 * DAY, name)
    assert chosen
    assert all(TERMS.shortest <= interval <= TERMS.longest for interval in chosen)


@pytest.mark.parametrize("name", ["aimd", "ewma", "gamma-poisson", "agentd"])
def test_every_way_that_learns_runs_more_often_where_more_happens(name: str) -> None:
    busy = chosen_by(TERMS, [60.0 * number for number in range(1, 7200)], 5 * DAY, name)
    calm = chosen_by(TERMS, [2 * DAY], 5 * DAY, name)
    assert busy[-1] < TERMS.start * 1.01
    assert calm[-1] > 2 * TERMS.start


def test_the_forerunner_ends_at_twenty_seconds_whatever_the_job() -> None:
    chosen = chosen_by(TERMS, [2 * DAY], 5 * DAY, "original")
    assert chosen[0] == pytest.approx(300, abs=10)
    assert chosen[-1] == pytest.approx(20, abs=1)


def test_ways_are_compared_with_the_best_fixed_interval() -> None:
    events = [3000.0 * number for number in range(1, 250)]
    found = compare(events, 250 * 3000.0, 1.0, TERMS, None)
    assert list(found) == [*BASELINES, "agentd-without-mlp", OURS]
    assert found["agentd-without-mlp"] == found[OURS]  # there is no network
    ideal = hindsight(events, 250 * 3000.0, 1.0, TERMS)[1].total(TERMS.price)
    for cost, ratio in found.values():
        assert ratio == pytest.approx(cost.total(TERMS.price) / ideal)
    assert compare([], 100.0, 1.0, TERMS, None)["keep"][1] == math.inf  # nothing is cheaper than what costs nothing


def local_times(began: float) -> tuple[float, float]:
    """The first two features of time that agentd sees in a history that began at an instant: of the day."""
    agent = Agent(TERMS, 1.0, None, began=began)
    agent(0.0, False)
    sine, cosine = (agent.state.features[NAMES.index(f"time_of_day_{one}")] for one in ("sin", "cos"))
    return sine, cosine


@pytest.mark.parametrize("began", [0.0, 6 * 3600.0, 1_792_880_800.0, -5.0, -6e10])
def test_agentd_sees_the_time_of_day_at_which_a_history_began(began: float) -> None:
    angle = began % DAY / DAY * 2 * math.pi
    assert local_times(began) == pytest.approx((math.sin(angle), math.cos(angle)), abs=1e-6)


def test_the_interval_in_force_may_vary_so_that_there_is_more_to_learn_from() -> None:
    agent = Agent(TERMS, 1.0, None, vary=lambda: 1.5)
    replay([1000.0 * number for number in range(1, 100)], 1e5, 1.0, TERMS.start, agent)
    assert agent.rows
    assert all(row.span > 0 for row in agent.rows)


def test_a_network_corrects_what_was_counted() -> None:
    count = len(NAMES)
    more = Mlp([0.0] * count, [1.0] * count, [[0.0] * count], [0.0], [0.0], 1.0)  # which always says: as counted
    events = [1000.0 * number for number in range(1, 100)]
    same = compare(events, 1e5, 1.0, TERMS, more)
    assert same[OURS][1] == pytest.approx(same["agentd-without-mlp"][1])


def test_a_summary_has_each_set_count_as_much_as_another() -> None:
    found = {
        "one": [{"keep": 1.0, "agentd": 2.0}, {"keep": 4.0, "agentd": 2.0}, {"keep": 2.0, "agentd": 2.0}],
        "two": [{"keep": 8.0, "agentd": 0.5}],
    }
    told = summary(found)
    assert told.sets == {
        "one": pytest.approx({"keep": 2.0, "agentd": 2.0}),
        "two": pytest.approx({"keep": 8.0, "agentd": 0.5}),
    }
    assert told.overall == pytest.approx({"keep": 4.0, "agentd": 1.0})
    assert told.worst == 2.0


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_a_geometric_mean_lies_between_and_scales(values: list[float]) -> None:
    mean = geometric_mean(values)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert geometric_mean([3 * value for value in values]) == pytest.approx(3 * mean)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_where_every_run_finds_something_costs_decide_and_not_the_bound() -> None:
    events = [5.0 * number for number in range(1, 3 * 17_280)]
    found = compare(events, 3 * 86_400.0, 0.95, TERMS, None)
    assert found["agentd"][1] < 1.1
