"""The engine of rules against the oracle: both see the same traces and must say the same at each sample.

AGENTD_TRACES is the number of traces, of a hundred samples each on average; AGENTD_SAMPLES are the lengths of which a
trace has one. AGENTD_SEED does one of them again.
"""

import math
import os
import random
from collections import Counter
from zoneinfo import ZoneInfo

import pytest

from agentd.core.rules.conditions import Measure
from agentd.core.rules.model import Moment
from agentd.core.rules.settings import Action, Rule, measures, parsed
from agentd.core.rules.standing import Change, Seen, Standing, calm
from agentd.core.rules.turns import Turns
from agentd.core.rules.units import PERCENT
from tests.unit.rules.history import Instant, Sample, State
from tests.unit.rules.oracle import Event, Oracle, Rebooted, Restarted, Suspended
from tests.unit.rules.traces import KPIS, PERIODS, RuleMaker, TraceMaker

TRACES = int(os.environ.get("AGENTD_TRACES", "60"))
LENGTHS = [int(length) for length in os.environ.get("AGENTD_SAMPLES", "40,80,180").split(",")]
ENOUGH = 50
"""Traces of which each run has all that can happen to a rule."""
KNOWN = measures({}) | {"SwapUsage": Measure(PERCENT, counter=True)}

Said = list[tuple[State, Action | None]]


def _moment(instant: Instant) -> Moment:
    return Moment(instant.at, instant.alive, instant.wall, instant.boot)


def _acts(change: Change) -> bool:
    """Returns whether something was done, or would have been but for the shadow."""
    return change.action is not None or change.withheld.startswith("in shadow")


class Engine:
    """A rule as the engine has it."""

    def __init__(self, standing: Standing) -> None:
        self._standing, self._turns = standing, Turns([standing])
        self._values: dict[str, float] = {}
        self._at: int | None = None

    def take(self, event: Event) -> Said:
        """Hands an event to the engine; returns its changes as the oracle says them.

        A change that only tells why nothing is done is left out: the oracle does not say why.
        """
        before = self._standing.state
        match event:
            case Sample():
                found = self._turns.look(self._seen(event), _moment(event.moment))
                changes = [change for _, changes in found for change in changes]
                return [(one.state, one.action) for one in changes if one.state != before or _acts(one)]
            case Suspended():
                for standing in self._turns.roused(self._at):
                    standing.resumed(_moment(event.moment))
            case Restarted():
                for standing in self._turns.roused(self._at):
                    standing.restarted(event.downtime)
            case Rebooted():
                for standing in self._turns.roused(self._at):
                    standing.rebooted()
        return []

    def _seen(self, sample: Sample) -> Seen:
        """Returns a sample as Gauges has it."""
        before, failed = self._values, sample.failed
        self._values = {kpi: value for kpi, value in sample.values.items() if math.isfinite(value)}
        changed = {kpi for kpi in KPIS if self._values.get(kpi) != before.get(kpi)}
        look = calm(_moment(sample.moment), self._values)
        at, self._at = self._at, sample.moment.at
        return Seen(look, sample.running, lambda since: failed is not None and failed >= since.alive, changed, at)


def _drawn(seed: int) -> tuple[Rule, int, list[Event]]:
    """Returns a rule, its period and a trace."""
    chance = random.Random(seed)
    period = chance.choice(PERIODS)
    rule = RuleMaker(chance, period).rule()
    return rule, period, TraceMaker(chance, period).events(chance.choice(LENGTHS))


def _difference(rule: Rule, period: int, events: list[Event], counts: Counter[str]) -> str:
    """Returns where the engine and the oracle first differ, with all before it; "" where they agree.

    `counts` is told what the oracle saw happen.
    """
    conditions = parsed(rule, KNOWN, period)
    oracle = Oracle(rule, conditions, period)
    engine = Engine(Standing(rule, conditions, period, ZoneInfo("UTC")))
    for number, event in enumerate(events):
        expected = oracle.take(event)
        said = engine.take(event)
        if said != expected:
            before = "\n".join(map(str, events[: number + 1]))
            return f"{rule}\nevery {period}\n{before}\nthe oracle says {expected}\nthe engine says {said}"
        counts[oracle.state] += isinstance(event, Sample)
        counts["done"] += sum(action is not None for _, action in said)
    counts["withheld"] += oracle.withheld
    return ""


def test_the_engine_says_at_each_sample_what_the_oracle_works_out_from_all_that_was_seen() -> None:
    counts: Counter[str] = Counter()
    first = 0 if "CI" in os.environ else random.SystemRandom().randrange(10**9)
    only = os.environ.get("AGENTD_SEED")
    for seed in range(first, first + TRACES) if only is None else [int(only)]:
        difference = _difference(*_drawn(seed), counts)
        if difference:
            pytest.fail(f"AGENTD_SEED={seed}\n{difference}", pytrace=False)
    if only is None and TRACES >= ENOUGH:  # that there was something to judge
        for what in ("unknown", "inactive", "pending", "firing", "clearing", "done", "withheld"):
            assert counts[what], counts
