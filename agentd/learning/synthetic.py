"""Rows for the first model: histories drawn at random, replayed through agentd's own core."""

from collections.abc import Iterator
from math import exp, log
from random import Random

from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import Row, Terms
from agentd.core.learning.simulation import Agent, replay
from agentd.learning.histories import DAY, KINDS

LENGTH = 20 * DAY
"""The length of a history, in seconds."""
_USUAL = Terms(start=300.0, shortest=30.0, longest=21_600.0)
_USUAL_COST = 0.95
_USUALLY = 0.6  # the share of histories on the usual terms
_MANUAL = (0, 0, 0, 0, 1, 2, 4)
_FAILED = (*[0] * 9, 1, 3)
_OVERWRITTEN = tuple(NAMES.index(name) for name in ("preference", "manual_runs", "failure_streak", "log_cost"))


def rows(histories: int, seed: int, length: float = LENGTH) -> Iterator[list[Row]]:
    """Yields the rows of each history of `length` seconds, of as many histories of each kind. The same seed gives the
    same rows."""
    for number in range(histories):
        for kind in KINDS:
            yield list(_rows(kind, Random(f"train {kind} {number} {seed}"), length))  # noqa: S311 - nothing secret


def _rows(kind: str, random: Random, length: float) -> Iterator[Row]:
    """Yields the rows of one history."""
    terms, cost = (_USUAL, _USUAL_COST) if random.random() < _USUALLY else _terms(random)
    agent = Agent(terms, cost, None, vary=_Varying(random))
    replay(KINDS[kind](random, length), length, cost, terms.start, agent)
    for row in agent.rows:
        # These tell nothing of the changes; were they always 0, the network would make anything of them.
        values = (
            random.uniform(-4, 4) / 4,
            log(1 + random.choice(_MANUAL)),
            log(1 + random.choice(_FAILED)),
            random.uniform(-4, 4),
        )
        for place, value in zip(_OVERWRITTEN, values, strict=True):
            row.features[place] = value
        yield row


def _terms(random: Random) -> tuple[Terms, float]:
    """Returns terms other than the usual ones, and the processor time of a run: 0.1 to 20 seconds."""
    start = 60 * exp(random.uniform(0, log(120)))
    shortest = max(30.0, start / random.uniform(2, 30))
    return Terms(start=start, shortest=shortest, longest=start * random.uniform(5, 100)), exp(
        random.uniform(log(0.1), log(20))
    )


class _Varying:
    """A factor of intervals that becomes another now and then: rows show what other intervals would have found."""

    def __init__(self, random: Random) -> None:
        self._random, self._factor = random, 1.0

    def __call__(self) -> float:
        """Returns the factor of the next interval."""
        if self._random.random() < 0.05:
            self._factor = exp(self._random.gauss(0, 0.5))
        return self._factor
