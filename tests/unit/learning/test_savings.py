"""The estimate of what learning brought a job."""

import pytest

from agentd.core.learning.learner import Terms
from agentd.learning.savings import FEWEST, estimate

TERMS = Terms(start=300.0, shortest=30.0, longest=21_600.0)


def looks(interval: float, useful: int, count: int) -> list[tuple[int, float, int, float]]:
    """Returns looks each `interval` seconds, of which one of `useful` found a change."""
    return [
        (round((number + 1) * interval * 1e6), interval, int(number % useful == 0), 0.95) for number in range(count)
    ]


def test_the_configured_interval_saves_nothing() -> None:
    found = estimate(looks(300, 12, 288), TERMS)
    assert found is not None
    assert found.length == 86_400
    assert found.cost == pytest.approx(found.keep_cost)
    assert found.processor == pytest.approx(found.keep_processor) == pytest.approx(288.0)
    assert found.age == pytest.approx(found.keep_age)


def test_a_longer_interval_saves_processor_time_and_costs_age() -> None:
    found = estimate(looks(1800, 40, 200), TERMS)
    assert found is not None
    assert found.keep_processor > 5 * found.processor
    assert found.age > found.keep_age
    assert found.cost < found.keep_cost
    assert found.best > 900


def test_too_few_looks_are_no_estimate() -> None:
    assert estimate(looks(300, 2, FEWEST - 1), TERMS) is None
    assert estimate([], TERMS) is None


def test_a_job_that_found_nothing_has_an_estimate() -> None:
    nothing = [(at, span, 0, cpu) for at, span, _, cpu in looks(3600, 5, 50)]
    found = estimate(nothing, TERMS)
    assert found is not None
    assert found.age == found.keep_age == 0
    assert found.best == pytest.approx(TERMS.longest)
