"""Guard rails on random states: monotone in what a person wants, within bounds and steps, within the budget.

AGENTD_STATES sets how many states there are (4,000; 100,000 take some minutes).
"""

import os
from collections.abc import Callable
from itertools import pairwise
from math import exp
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from agentd.core.learning import guardrails, learner
from agentd.core.learning.champion import MODELS
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import START_COST, State, Terms
from agentd.core.learning.memory import SPANS, Memory
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.rate import best
from tests.examples import examples

STATES = int(os.environ.get("AGENTD_STATES", examples(4000)))
NOW = 1.8e9


def some_terms(random: Random) -> Terms:
    shortest = exp(random.uniform(0, 7))
    longest = shortest * exp(random.uniform(0, 9))
    start = min(longest, shortest * exp(random.uniform(0, 9)))
    return Terms(start=start, shortest=shortest, longest=longest, price=exp(random.uniform(0, 15)))


def some_network(random: Random) -> Mlp:
    """Returns a network of any weights: nothing says that one makes sense."""
    inputs, size = len(NAMES), random.choice((1, 8, 32))
    strength = random.choice((0.1, 1.0, 10.0))
    return Mlp(
        [random.gauss(0, 1) for _ in range(inputs)],
        [random.uniform(0.1, 3) for _ in range(inputs)],
        [[random.gauss(0, strength) for _ in range(inputs)] for _ in range(size)],
        [random.gauss(0, 1) for _ in range(size)],
        [random.gauss(0, strength) for _ in range(size)],
        random.gauss(1, strength),
    )


def some_memory(random: Random) -> Memory:
    rate = exp(random.uniform(-18, 0))
    age, gap = exp(random.uniform(0, 12)), exp(random.uniform(0, 12))
    looked = [random.uniform(1, 50), random.uniform(1, 500)]
    return Memory(
        prior=rate,
        at=NOW - random.uniform(0, 1000),
        changed=random.choice((0.0, NOW - age)),
        counts=[random.uniform(0.01, 50) for _ in SPANS],
        exposures=[exp(random.uniform(0, 14)) for _ in SPANS],
        scores=[random.uniform(-30, 0) for _ in SPANS],
        hours=[random.uniform(0, 3000) for _ in range(24)],
        hours_seen=[random.uniform(0, 3000) for _ in range(24)],
        days=[random.uniform(0, 9000) for _ in range(7)],
        days_seen=[random.uniform(0, 9000) for _ in range(7)],
        gap=random.choice((0.0, gap)),
        gap_square=gap * gap * random.uniform(0.5, 3),
        gaps=random.randrange(50),
        found=[one * random.random() for one in looked],
        looked=looked,
        useful=random.random() < 0.5,
        runs=random.randrange(10_000),
        cost=random.choice((0.0, exp(random.uniform(-6, 5)))),
        failures=random.choice((0, 0, 0, 1, 2, 5, 100)),
        by_hand=random.choice((0.0, 0.0, random.uniform(0, 20))),
        by_hand_at=NOW - random.uniform(0, 200_000),
        intervals=[exp(random.uniform(0, 9)) for _ in range(random.randrange(7))],
    )


def some_state(random: Random, terms: Terms) -> State:
    interval = min(terms.longest, terms.shortest * exp(random.uniform(0, 9)))
    return State(
        some_memory(random),
        interval=interval,
        aimd=min(terms.longest, terms.shortest * exp(random.uniform(0, 9))),
        model=random.choice(MODELS),
        runs=random.randrange(20),
        scores=[random.uniform(-20, 0) for _ in MODELS],
    )


def test_more_wishing_never_lengthens_an_interval_and_no_bound_is_crossed() -> None:
    random = Random(7)
    networks = [None, *(some_network(random) for _ in range(20))]
    for number in range(STATES):
        terms = some_terms(random)
        state, network = some_state(random, terms), random.choice(networks)
        model, runs, before = state.model, state.runs, state.interval
        spread = guardrails.spread(random.random())
        intervals = []
        for preference in range(-4, 5):
            state.model, state.runs = model, runs
            decision = learner.decide(state, terms, NOW, preference, network, NOW, spread=spread)
            intervals.append(decision.interval)
        state.memory.by_hand, state.memory.by_hand_at = state.memory.by_hand + 1, NOW
        state.model, state.runs = model, runs
        intervals.append(learner.decide(state, terms, NOW, 4, network, NOW, spread=spread).interval)
        assert all(more <= less * (1 + 1e-12) for less, more in pairwise(intervals)), number
        for interval in intervals:
            assert terms.shortest <= interval <= terms.longest, number
            assert before / 2 * (1 - 1e-12) <= interval <= before * 2 * (1 + 1e-12), number


def afforded(
    intervals: dict[str, float], cost: dict[str, float], most: dict[str, float], budget: float
) -> dict[str, float]:
    """The intervals of jobs, as far as all of them together can be afforded."""
    factor = guardrails.stretch(intervals, cost, most, budget)
    return {name: guardrails.stretched(one, factor, most[name]) for name, one in intervals.items()}


costs = st.floats(0.001, 1000)
spans = st.floats(1, 1e6)


@given(st.lists(st.tuples(spans, costs, st.floats(1, 1000)), max_size=30), st.floats(0.001, 100))
def test_a_budget_is_kept_as_far_as_bounds_allow_and_shortens_nothing(
    jobs: list[tuple[float, float, float]], budget: float
) -> None:
    intervals = {str(number): interval for number, (interval, _, _) in enumerate(jobs)}
    cost = {str(number): one for number, (_, one, _) in enumerate(jobs)}
    most = {str(number): interval * room for number, (interval, _, room) in enumerate(jobs)}
    given = afforded(intervals, cost, most, budget)
    spent = sum(cost[name] / given[name] for name in given)
    at_most = sum(cost[name] / most[name] for name in given)
    assert spent <= max(budget, at_most) * (1 + 1e-6)
    for name, interval in given.items():
        assert intervals[name] <= interval <= most[name] * (1 + 1e-9)


@given(st.lists(st.tuples(spans, costs), min_size=1, max_size=10), st.floats(0.01, 10), st.floats(1.01, 4))
def test_a_budget_does_not_turn_a_wish_around(jobs: list[tuple[float, float]], budget: float, wish: float) -> None:
    intervals = {str(number): interval for number, (interval, _) in enumerate(jobs)}
    cost = {str(number): one for number, (_, one) in enumerate(jobs)}
    most = {name: interval * 50 for name, interval in intervals.items()}
    less = afforded(intervals, cost, most, budget)["0"]
    more = afforded({**intervals, "0": intervals["0"] / wish}, cost, most, budget)["0"]
    assert more <= less * (1 + 1e-6)


def test_what_is_adverse_does_not_drive_an_interval_to_a_bound() -> None:
    """Histories that no model expects end where the cost model has them, not at a bound."""
    terms = Terms(start=300.0, shortest=5.0, longest=86_400.0)
    random = Random(3)
    adverse: dict[str, Callable[[int, float, float], bool]] = {
        "each second run": lambda number, _at, _last: number % 2 == 0,
        "each tenth run": lambda number, _at, _last: number % 10 == 0,
        "ten in a row, then none": lambda number, _at, _last: number // 10 % 2 == 0,
        "only after an hour without": lambda _number, at, last: at - last > 3600,
        "at random": lambda _number, _at, _last: random.random() < 0.3,
        "more the longer one waits": lambda _number, at, last: random.random() < (at - last) / 7200,
    }
    for name, useful in adverse.items():
        state = learner.begin(terms, 0.95)
        at = last = NOW
        for number in range(3000):
            found = useful(number, at, last)
            last = at if found else last
            learner.outcome(state, terms, at, useful=found, cost=0.95, local=at)
            state.interval = learner.decide(state, terms, at, 0, None, at).interval
            at += state.interval
        price = learner.price(state, terms)
        rates = [count / seen for count, seen in zip(state.memory.counts, state.memory.exposures, strict=True)]
        assert best(max(rates), price) / 1.2 <= state.interval <= best(min(rates), price) * 1.2, name
        assert terms.shortest * 2 < state.interval < terms.longest / 2, name


def test_an_interval_reaches_a_bound_where_costs_have_it_beyond() -> None:
    for useful, expected in ((True, 300.0), (False, 1800.0)):
        terms = Terms(start=600.0, shortest=300.0, longest=1800.0)
        state, at = learner.begin(terms, 0.95), NOW
        for _ in range(300):
            learner.outcome(state, terms, at, useful=useful, cost=0.95, local=at)
            state.interval = learner.decide(state, terms, at, 0, None, at).interval
            at += state.interval
        assert state.interval == expected
        price = START_COST + state.memory.cost
        assert price > 0.9


@given(spans, spans, st.floats(1, 1e6), spans, st.sampled_from((-1, 0, 1)), st.floats(1, 10))
def test_a_budget_keeps_to_the_step_and_to_what_a_person_wanted(
    wanted: float, before: float, factor: float, longest: float, wish: int, shorter: float
) -> None:
    interval, bound = guardrails.afforded(wanted, "", before, factor, longest, wish)
    assert before / 2 <= interval <= before * 2
    assert (interval - before) * wish <= 0
    assert bound or interval == wanted
    more, _ = guardrails.afforded(wanted / shorter, "", before, factor, longest, wish)
    assert more <= interval
