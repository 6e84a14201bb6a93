"""A job that learns: what a run found goes in, an interval comes out, with every reason that led to it."""

from math import log

from msgspec import Struct, field

from agentd.core.jobs.interval import MOST_PREFERENCE, STEP
from agentd.core.learning import champion, guardrails
from agentd.core.learning import memory as memories
from agentd.core.learning.champion import AIMD, CONFIGURED, COUNTED, MLP, MODELS
from agentd.core.learning.features import MANUAL, PREFERENCE, features
from agentd.core.learning.memory import Memory
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.rate import AIM, best, bounded, deserved

START_COST = 0.05
"""Seconds of processor time that a start costs the machine, beside what the job itself takes."""
LEAST_RATIO, MOST_RATIO = 0.2, 4.0
"""The factors between which the network may correct the counted rate."""
_AIMD_ADD, _AIMD_DIVIDE = 0.1, 2.0
_URGES = (0.0, 1.0, 2.0, 4.0)


class Terms(Struct, frozen=True, kw_only=True):
    """The terms on which a job learns. Intervals are in seconds; `price` is that of a second of processor time, in
    square seconds (see rate.AIM)."""

    start: float
    shortest: float
    longest: float
    price: float = AIM


class State(Struct):
    """The state of a job that learns, as it is kept across restarts."""

    memory: Memory
    interval: float
    """The interval in force, in seconds."""
    aimd: float
    model: str = COUNTED
    why: str = ""
    runs: int = 0
    """The runs since that model decides."""
    scores: list[float] = field(default_factory=lambda: [0.0] * len(MODELS))
    foretold: list[float] = []
    """The rates that the models foretold for the next run, in their order; 0 where one did not."""
    features: list[float] = []
    """The features from which they were foretold."""


class Row(Struct, frozen=True):
    """A run that the network learns from: the features before a run, the counted rate (changes a second) and the span
    (seconds) since the run before, and whether the run found a change."""

    features: list[float]
    rate: float
    span: float
    useful: bool


class Decision(Struct, frozen=True, kw_only=True):
    """The interval that a job gets, in seconds, and how it came about."""

    interval: float
    model: str
    why: str
    rate: float
    rates: dict[str, float]
    intervals: dict[str, float]
    """The interval that each model would give, before any bound."""
    wanted: float
    """The interval that the deciding model and the person's wishes lead to, before any bound."""
    bound: str
    """The bound that acted, or ""."""
    features: list[float]


def begin(terms: Terms, cost: float) -> State:
    """Returns the state of a job of which nothing is known but what its first run cost, in seconds of processor."""
    prior = deserved(terms.start, terms.price * (START_COST + cost))
    return State(memories.begin(prior), interval=terms.start, aimd=terms.start)


def sound(state: State) -> bool:
    """Tells whether a state that was stored is one of this agentd: another version may count by other spans, or know
    other models."""
    known = state.model in MODELS and len(state.scores) == len(MODELS) and len(state.foretold) in (0, len(MODELS))
    return known and state.interval > 0 and state.aimd > 0 and memories.sound(state.memory)


def price(state: State, terms: Terms) -> float:
    """Returns the price of a run of the job, in square seconds."""
    return terms.price * (START_COST + state.memory.cost)


def outcome(state: State, terms: Terms, at: float, *, useful: bool, cost: float, local: float) -> Row | None:
    """Takes what a run found at an instant and cost; returns what the network can learn from that."""
    memory, row = state.memory, None
    span = at - memory.at if memory.at else 0.0
    if span > 0 and state.foretold:
        state.scores = champion.score(state.scores, state.foretold, span, useful=useful)
        row = Row(state.features, state.foretold[MODELS.index(COUNTED)], span, useful)
        state.features, state.foretold = [], []
    memories.spend(memory, cost)
    memories.look(memory, at, useful=useful, local=local)
    memory.failures = 0
    state.aimd = follow_aimd(state.aimd, terms, useful=useful)
    state.runs += 1
    return row


def decide(
    state: State,
    terms: Terms,
    at: float,
    preference: int,
    model: Mlp | None,
    local: float,
    *,
    spread: float = 1.0,
    wish: int = 0,
) -> Decision:
    """Decides about the interval, and has the models foretell the next run. The caller puts the interval in force.

    `spread` is the factor of this machine and job, `wish` what a person just wanted (see guardrails.held).
    """
    memory, run_price = state.memory, price(state, terms)
    counted = memories.mean_rate(memory)
    state.features = features(memory, counted, at, state.interval, preference, local)
    ratio = _ratio(model, state.features, preference, memories.by_hand(memory, at))
    rates = {
        CONFIGURED: deserved(terms.start, run_price),
        AIMD: deserved(state.aimd, run_price),
        COUNTED: counted,
        MLP: bounded(counted * ratio) if ratio else 0.0,
    }
    state.foretold = [bounded(rates[name]) if rates[name] else 0.0 for name in MODELS]
    # Where every run finds something, AIMD ends at `min`, whatever that costs: its rate is taken, not its interval.
    intervals = {
        CONFIGURED: terms.start,
        **{name: best(rates[name], run_price) for name in (AIMD, COUNTED, MLP) if rates[name]},
    }
    chosen, state.why = champion.choose(state.model, state.scores, state.runs)
    if chosen == MLP and not ratio:
        chosen, state.why = COUNTED, "there is no network to ask"
    if chosen != state.model:
        state.model, state.runs = chosen, 0
    wanted = intervals[chosen] / STEP ** guardrails.lean(preference, memories.by_hand(memory, at))
    interval, bound = guardrails.within(wanted * spread, state.interval, terms.shortest, terms.longest, memory.failures)
    if guardrails.held(interval, state.interval, wish):
        interval, bound = state.interval, "wish"
    return Decision(
        interval=interval,
        model=chosen,
        why=state.why,
        rate=rates[chosen],
        rates={name: rate for name, rate in rates.items() if rate},
        intervals=intervals,
        wanted=wanted,
        bound=bound,
        features=state.features,
    )


def _ratio(model: Mlp | None, inputs: list[float], preference: int, by_hand: float) -> float:
    """Returns the factor by which the network corrects the counted rate; 0 without a network.

    The network sees the person's wishes as well, and whatever it makes of them, more wishing never lengthens an
    interval: of the factors for this wish and for all smaller ones the largest counts.
    """
    if model is None:
        return 0.0
    asked = [log(1 + urge) for urge in _URGES if urge <= by_hand] or [0.0]
    wishes = [value / 4 for value in range(-MOST_PREFERENCE, preference + 1)]
    outputs = model.along(inputs, (PREFERENCE, MANUAL), [(wish, urge) for wish in wishes for urge in asked])
    return max(LEAST_RATIO, min(max(outputs), MOST_RATIO))


def follow_aimd(interval: float, terms: Terms, *, useful: bool) -> float:
    """Returns the interval of AIMD after a run: divided after a change, a little longer after none."""
    if useful:
        return max(terms.shortest, interval / _AIMD_DIVIDE)
    return min(terms.longest, interval + _AIMD_ADD * terms.start)
