"""The memory of a job: what its runs found, in numbers that fade, so that a month costs no more than a day.

Instants are in seconds since 1970, spans in seconds, costs in seconds of processor time.
"""

from math import exp, log

from msgspec import Struct

from agentd.core.learning.rate import bounded, changes, log_likelihood

HOUR, DAY = 3600.0, 86_400.0
SPANS = (2 * HOUR, 8 * HOUR, 1.5 * DAY, 6 * DAY)
"""The spans over which changes are counted: what was seen fades by half in 0.7 of each. Which of them to believe
follows from how well each foretold."""
PRIOR = 0.25
"""The number of changes that the configured interval is worth as evidence."""
_BELIEF = 3 * DAY  # the span over which is remembered how well each span foretold
_PROFILE = 7 * DAY
_GAP = 0.2  # the weight of a new gap between changes among those before
_FRACTIONS = (2 * HOUR, DAY)
_COST = 0.2
_RECENT = 6
BY_HAND = DAY
"""The half-life of runs that somebody asked for."""


class Memory(Struct):
    """The memory of a job. Lists by span are in the order of SPANS."""

    prior: float
    """The rate that the configured interval deserves, in changes a second."""
    at: float = 0.0
    """The last instant at which was looked; 0: never."""
    changed: float = 0.0
    """The last run that found a change; 0: none did."""
    counts: list[float] = []
    exposures: list[float] = []
    scores: list[float] = []
    hours: list[float] = []
    hours_seen: list[float] = []
    days: list[float] = []
    days_seen: list[float] = []
    gap: float = 0.0
    gap_square: float = 0.0
    gaps: int = 0
    found: list[float] = []
    looked: list[float] = []
    useful: bool = False
    runs: int = 0
    """The runs whose outcome is known."""
    cost: float = 0.0
    failures: int = 0
    """The runs that failed one after the other, up to now."""
    by_hand: float = 0.0
    by_hand_at: float = 0.0
    intervals: list[float] = []
    """The spans between the last runs, at most six."""


def begin(prior: float) -> Memory:
    """Returns the memory of a job of which nothing is known but the rate that its configured interval deserves."""
    prior, count = bounded(prior), len(SPANS)
    return Memory(
        prior=prior,
        counts=[PRIOR] * count,
        exposures=[PRIOR / prior] * count,
        scores=[0.0] * count,
        hours=[0.0] * 24,
        hours_seen=[0.0] * 24,
        days=[0.0] * 7,
        days_seen=[0.0] * 7,
        found=[0.0] * len(_FRACTIONS),
        looked=[0.0] * len(_FRACTIONS),
    )


def sound(memory: Memory) -> bool:
    """Tells whether a memory has a number for each span, hour and day, and rates that are some."""
    kinds = (memory.counts, memory.exposures, memory.scores, memory.hours, memory.hours_seen)
    found = [len(values) for values in (*kinds, memory.days, memory.days_seen, memory.found, memory.looked)]
    wanted = [*[len(SPANS)] * 3, 24, 24, 7, 7, *[len(_FRACTIONS)] * 2]
    return found == wanted and memory.prior > 0 and min(*memory.counts, *memory.exposures) > 0


def rates(memory: Memory) -> list[float]:
    """Returns the rate by each of SPANS, in changes a second."""
    return [bounded(count / seen) for count, seen in zip(memory.counts, memory.exposures, strict=True)]


def mean_rate(memory: Memory) -> float:
    """Returns the rate that the spans together tell: the geometric mean, weighted by how well each foretold."""
    most = max(memory.scores)
    weights = [exp(score - most) for score in memory.scores]
    logs = sum(weight * log(rate) for weight, rate in zip(weights, rates(memory), strict=True))
    return bounded(exp(logs / sum(weights)))


def look(memory: Memory, at: float, *, useful: bool, local: float) -> float:
    """Takes what a run found at an instant; `local` is that instant by the wall clock, as if that were UTC. Returns the
    span since the look before, 0 where there was none."""
    span = at - memory.at if memory.at and at > memory.at else 0.0
    memory.at = at
    if span:
        rate = mean_rate(memory)
        expected = changes(rate, span) if useful else 0.0
        _count(memory, span, useful=useful)
        _profile(memory, span, local, expected / (rate * span))
        memory.intervals = [*memory.intervals, span][-_RECENT:]
    for number, width in enumerate(_FRACTIONS):
        fade = exp(-span / width)
        memory.found[number] = memory.found[number] * fade + useful
        memory.looked[number] = memory.looked[number] * fade + 1
    if useful:
        _gap(memory, at)
    memory.useful = useful
    memory.runs += 1
    return span


def move(memory: Memory, by: float) -> None:
    """Moves the instants with a clock that was set by so many seconds."""
    memory.at += by if memory.at else 0.0
    memory.changed += by if memory.changed else 0.0
    memory.by_hand_at += by


def spend(memory: Memory, cost: float) -> None:
    """Takes what a run cost, in seconds of processor time."""
    memory.cost = cost if not memory.cost else memory.cost + _COST * (cost - memory.cost)


def ran_by_hand(memory: Memory, at: float) -> None:
    """Takes note that somebody asked for a run."""
    memory.by_hand, memory.by_hand_at = by_hand(memory, at) + 1, at


def by_hand(memory: Memory, at: float) -> float:
    """Returns how many runs somebody asked for, each fading by half in a day."""
    return memory.by_hand * 0.5 ** (max(0.0, at - memory.by_hand_at) / BY_HAND) if memory.by_hand else 0.0


def _count(memory: Memory, span: float, *, useful: bool) -> None:
    """Counts by each of SPANS, as one step of expectation-maximisation: a useful run may have found several changes."""
    fade_belief = exp(-span / _BELIEF)
    for number, width in enumerate(SPANS):
        rate = bounded(memory.counts[number] / memory.exposures[number])
        likely = log_likelihood(rate, span, useful=useful)
        memory.scores[number] = memory.scores[number] * fade_belief + likely
        fade, start = exp(-span / width), PRIOR / memory.prior
        memory.counts[number] = (
            PRIOR + (memory.counts[number] - PRIOR) * fade + (changes(rate, span) if useful else 0.0)
        )
        memory.exposures[number] = start + (memory.exposures[number] - start) * fade + min(span, 4 * width)


def _profile(memory: Memory, span: float, local: float, surprise: float) -> None:
    """Notes for the hours and the weekdays that a span touched how many changes there were for one expected."""
    fade, left, until = exp(-span / _PROFILE), min(span, DAY), local
    for values in (memory.hours, memory.hours_seen, memory.days, memory.days_seen):
        values[:] = [value * fade for value in values]
    while left > 0:
        part = min(left, (until % HOUR) or HOUR)
        middle = until - part / 2
        hour, day = int(middle % DAY // HOUR), int(middle // DAY + 3) % 7
        memory.hours[hour] += surprise * part
        memory.hours_seen[hour] += part
        memory.days[day] += surprise * part
        memory.days_seen[day] += part
        left, until = left - part, until - part


def _gap(memory: Memory, at: float) -> None:
    """Notes the gap between two runs that found a change."""
    gap = at - memory.changed if memory.changed else 0.0
    if gap > 0:  # a clock may be set back while agentd is away
        weight = max(_GAP, 1 / (memory.gaps + 1))
        memory.gap += weight * (gap - memory.gap)
        memory.gap_square += weight * (gap * gap - memory.gap_square)
        memory.gaps += 1
    memory.changed = at
