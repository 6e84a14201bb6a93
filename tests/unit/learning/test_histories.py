"""The histories that are drawn at random: each kind is what its name says."""

from itertools import pairwise
from random import Random
from statistics import mean, median

import pytest

from agentd.learning.histories import DAY, HOUR, KINDS, MINUTE, bursty, diurnal, periodic, poisson, regimes

LENGTH = 20 * DAY
SEEDS = range(60)


def gaps(events: list[float]) -> list[float]:
    return [later - at for at, later in pairwise(events)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [HOUR, LENGTH])
def test_instants_are_sorted_and_within_the_history(kind: str, length: float) -> None:
    for seed in SEEDS:
        events = KINDS[kind](Random(seed), length)
        assert events == sorted(events)
        assert all(0 <= at < length for at in events)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_again_and_another_seed_does_not(kind: str) -> None:
    first, again, other = (KINDS[kind](Random(f"{kind} {seed}"), LENGTH) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("poisson", 15 * MINUTE, 12 * HOUR),
        ("periodic", 20 * MINUTE, 12 * HOUR),
        ("diurnal", 10 * MINUTE, 2 * HOUR * 24 / 6 * 7 / 5),  # by day alone, and on five days of seven
        ("regimes", 5 * MINUTE, DAY),
    ],
)
def test_mean_gaps_lie_where_they_should(kind: str, least: float, most: float) -> None:
    for seed in SEEDS:
        count = len(KINDS[kind](Random(seed), 5 * LENGTH))
        assert least * 0.9 <= 5 * LENGTH / count <= most * 1.3


def test_changes_without_memory_have_gaps_that_vary_as_much_as_they_are_long() -> None:
    found = [events for seed in SEEDS if len(events := poisson(Random(seed), LENGTH)) > 100]
    assert len(found) > 20
    ratios = [median(gaps(events)) / mean(gaps(events)) for events in found]
    assert mean(ratios) == pytest.approx(0.693, abs=0.05)  # log 2, of an exponential distribution


def test_periods_are_kept_to_a_tenth_or_so() -> None:
    for seed in SEEDS:
        found = gaps(periodic(Random(seed), LENGTH))
        assert all(0.3 * median(found) < gap < 1.7 * median(found) for gap in found)


def test_bursts_are_close_together_with_quiet_hours_between() -> None:
    for seed in SEEDS:
        found = sorted(gaps(bursty(Random(seed), 5 * LENGTH)))
        assert median(found) < 20 * MINUTE
        assert found[-1] > 3 * HOUR


def test_there_is_a_day_and_a_night() -> None:
    for seed in SEEDS:
        events = diurnal(Random(seed), LENGTH)
        by_hour = [sum(int(at % DAY // HOUR) == hour for at in events) for hour in range(24)]
        assert min(by_hour) < 0.4 * max(by_hour)


def test_rates_change_within_days() -> None:
    changed = 0
    for seed in SEEDS:
        events = regimes(Random(seed), LENGTH)
        by_day = [sum(day * DAY <= at < (day + 1) * DAY for at in events) for day in range(20)]
        changed += max(by_day) > 3 * (min(by_day) + 1)
    assert changed > 0.7 * len(SEEDS)
