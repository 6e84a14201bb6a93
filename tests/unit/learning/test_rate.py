"""The interval that a rate of changes deserves: where runs and age together cost least, and what follows from that."""

from math import exp, expm1, inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.learning.rate import (
    AIM,
    LEAST_RATE,
    MOST_RATE,
    best,
    bounded,
    changes,
    deserved,
    log_likelihood,
)


def spread(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers that are as likely between 1 and 2 as between 10 and 20."""
    return st.floats(log(low), log(high)).map(exp)


RATES = spread(LEAST_RATE, MOST_RATE)
PRICES = spread(1e-3 * AIM, 1e4 * AIM)


def cost(interval: float, rate: float, price: float) -> float:
    """What an interval costs per second in Poisson changes of a rate: seconds of age, runs included (see rate.best)."""
    x = rate * interval
    few = interval * x * (1 / 6 - x / 24 + x * x / 120)
    return price / interval + (few if x < 1e-2 else interval / 2 - 1 / rate - expm1(-x) / (rate * x))


def sought(rate: float, price: float) -> float:
    """The interval at which cost() is least, by cutting a range of logarithms in three again and again."""
    low, high = log(1e-6), log(1e14)
    for _ in range(200):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        if cost(exp(one), rate, price) < cost(exp(other), rate, price):
            high = other
        else:
            low = one
    return exp(low)


@pytest.mark.parametrize(("every", "interval"), [(60, 209), (3600, 600), (86_400, 1700)])
def test_a_job_of_a_second_runs_each_ten_minutes_where_there_is_a_change_an_hour(every: float, interval: float) -> None:
    assert best(1 / every, AIM) == pytest.approx(interval, rel=5e-3)


@given(spread(1e-6, 1.0), PRICES)
def test_no_interval_costs_less_than_the_best_one(rate: float, price: float) -> None:
    interval = best(rate, price)
    assert cost(interval, rate, price) <= cost(sought(rate, price), rate, price) * (1 + 1e-6)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert cost(interval, rate, price) < cost(interval * factor, rate, price)


@given(spread(1e-6, 1e-1), spread(1e-2 * AIM, 1e2 * AIM))
def test_the_best_interval_is_the_one_that_is_found_by_trying(rate: float, price: float) -> None:
    assert best(rate, price) == pytest.approx(sought(rate, price), rel=2e-3)


@given(RATES, PRICES)
def test_deserved_is_the_inverse_of_best(rate: float, price: float) -> None:
    interval = best(rate, price)
    if rate * interval < 10:
        assert deserved(interval, price) == pytest.approx(rate, rel=1e-4)
    else:  # an interval cannot tell more than ten changes in it
        assert deserved(interval, price) == pytest.approx(10 / interval, rel=0.06)


@given(spread(1.0, 1e7), PRICES)
def test_the_rate_that_an_interval_deserves_has_it_as_the_best_one(interval: float, price: float) -> None:
    rate = deserved(interval, price)
    assert 0 < rate <= 10 / interval
    if rate < 10 / interval:
        assert best(rate, price) == pytest.approx(interval, rel=1e-4)


@given(RATES, RATES, PRICES)
def test_more_changes_never_lengthen_an_interval(one: float, other: float, price: float) -> None:
    few, many = sorted((one, other))
    assert best(many, price) <= best(few, price) * (1 + 1e-9)


@given(RATES, PRICES, PRICES)
def test_a_dearer_run_never_shortens_an_interval(rate: float, one: float, other: float) -> None:
    cheap, dear = sorted((one, other))
    assert best(rate, cheap) <= best(rate, dear) * (1 + 1e-9)


@given(PRICES, spread(1.0, 1e7), spread(1.0, 1e7))
def test_a_longer_interval_deserves_no_more_changes(price: float, one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert deserved(long, price) <= deserved(short, price) * (1 + 1e-9)


@pytest.mark.parametrize("rate", [LEAST_RATE, 1e-5, MOST_RATE])
@pytest.mark.parametrize("price", [AIM * 0.05, AIM, AIM * 1e6])
def test_extreme_values_have_intervals_too(rate: float, price: float) -> None:
    interval = best(rate, price)
    assert isfinite(interval)
    assert interval > 0
    assert isfinite(cost(interval, rate, price))
    assert 0 < deserved(interval, price) < inf


def test_the_ages_of_few_and_of_many_changes() -> None:
    assert cost(100.0, 1e-9, 0.0) == pytest.approx(100 * 100 * 1e-9 / 6, rel=1e-6)  # seldom one, and then half seen
    assert cost(100.0, 10.0, 0.0) == pytest.approx(50 - 0.1, rel=1e-3)  # there at once, and seen 100 s later
    below, above = cost(1.0, 0.999e-3, 0.0), cost(1.0, 1.001e-3, 0.0)  # two formulas meet between
    assert below == pytest.approx(above, rel=4e-3)


@given(RATES, spread(1e-2, 1e7))
def test_a_run_that_found_something_found_at_least_one_and_at_least_what_was_expected(rate: float, span: float) -> None:
    found = changes(rate, span)
    assert found >= max(1.0, rate * span) * (1 - 1e-9)
    assert found <= 1 + rate * span


@given(RATES, spread(1e-2, 1e7))
def test_the_two_outcomes_of_a_run_are_all_there_are(rate: float, span: float) -> None:
    useful, useless = (log_likelihood(rate, span, useful=one) for one in (True, False))
    assert exp(useful) + exp(useless) == pytest.approx(1.0)
    assert useful <= 0
    assert useless <= 0


def test_rates_are_kept_within_bounds() -> None:
    assert [bounded(rate) for rate in (0.0, 1e-3, inf)] == [LEAST_RATE, 1e-3, MOST_RATE]
    assert isfinite(log_likelihood(0.0, 0.0, useful=True))
