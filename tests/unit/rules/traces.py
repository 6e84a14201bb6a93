"""Rules and what happens to them, as chance has it: conditions of every kind over three KPIs of few levels, samples
that are lost, late or missing, and clocks, suspends, restarts and boots at the wrong moment."""

import math
import random
import re

from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.settings import VERBS, Action, Fires, Rule, Step
from tests.unit.rules.history import Instant, Sample
from tests.unit.rules.oracle import Event, Rebooted, Restarted, Suspended

KPIS = ("MemoryUsage", "CpuUsage", "SwapUsage")
LEVELS = (0.0, 20.0, 40.0, 60.0, 80.0)
JOBS = ("backup", "update")
PERIODS = (10 * SECOND, MINUTE, 5 * MINUTE)


class RuleMaker:
    """Writes a rule for samples that come every `period` microseconds."""

    def __init__(self, chance: random.Random, period: int) -> None:
        self._chance = chance
        self._period = period

    def rule(self) -> Rule:
        """Returns a rule as somebody might write it, or nobody would."""
        chance = self._chance
        when = self._both(2) if chance.random() < 0.7 else self._plain(2)
        return Rule(
            name="mine",
            when=f"({when}) for {self._window()}" if chance.random() < 0.5 else when,
            do=None if chance.random() < 0.2 else self._action(),
            then=tuple(self._step() for _ in range(chance.choice([0, 0, 1, 3]))),
            clear=self._both(1) if chance.random() < 0.4 else "",
            clear_for=self._some(0, 8) * chance.randrange(2),
            cooldown=chance.choice([0, 5 * MINUTE, self._some(1, 30)]),
            max_fires=Fires(chance.randint(1, 3), self._some(5, 50)) if chance.random() < 0.3 else None,
            missing=chance.choice(["hold", "hold", "reset", "fire", "clear"]),
            max_gap=chance.randint(1, 5),
            only_while=JOBS[:1] if chance.random() < 0.1 else (),
            except_while=JOBS[1:] if chance.random() < 0.2 else (),
            shadow=chance.random() < 0.1,
        )

    def _some(self, least: int, most: int) -> int:
        """Returns some periods, whole ones or a little more."""
        return self._chance.randint(least, most) * self._period + self._chance.choice([0, 0, self._period // 3])

    def _span(self) -> str:
        longest = self._chance.choice([5, 5, 20, 20, 20, 160])
        return f"{self._some(2, longest) // 1000}ms"

    def _action(self) -> Action:
        verb = self._chance.choice([*VERBS])
        return Action(verb, "one" if VERBS[verb].target else "")

    def _step(self) -> Step:
        if self._chance.random() < 0.3:
            return Step(do=self._action(), after=self._some(0, 10), if_="self_test_failed")
        return Step(do=self._action(), after=self._some(0, 20))

    # --- conditions

    def _both(self, depth: int) -> str:
        joint = self._chance.choice([" AND ", " OR "])
        return joint.join(self._plain(depth - 1) for _ in range(self._chance.randint(2, 3)))

    def _plain(self, depth: int) -> str:
        """Returns a condition that may stand on either side of AND."""
        kind = self._chance.random()
        if depth <= 0 or kind < 0.3:
            return self._comparison()
        if kind < 0.45:
            return f"NOT ({_without_clear(self._both(depth))})"
        if kind < 0.6:
            return f"NOT {_without_clear(self._plain(depth - 1))}"
        if kind < 0.85:
            return f"({self._plain(depth - 1)} for {self._window()})"
        return f"({self._both(depth)} for {self._window()})"

    def _window(self) -> str:
        if self._chance.random() < 0.5:
            return f"{self._some(2, 8) // 1000}ms"
        most = self._chance.randint(1, 7)
        return f"{self._chance.randint(1, most)} of {most}"

    def _comparison(self) -> str:
        chance, kpi = self._chance, self._chance.choice(KPIS)
        kind = chance.random()
        if kind < 0.08:
            return f"{kpi} IS {chance.choice(['', 'NOT '])}missing"
        if kind < 0.15:
            return f"{kpi} {chance.choice(['>', '<=', '==', '!='])} {chance.choice(KPIS)}"
        if kind < 0.5:
            return f"{kpi} {self._limits(LEVELS, '%')}"
        if kind < 0.55:
            return f"{chance.choice(LEVELS)}% {chance.choice(['<', '>='])} {kpi}"
        if kind < 0.63:
            side = f"{chance.choice(['avg', 'min', 'max', 'p95'])}({kpi}, {self._span()})"
            return f"{side} {chance.choice(['>', '<='])} {chance.choice(KPIS)} CLEAR {chance.choice(KPIS)}"
        return self._function(kpi)

    def _function(self, kpi: str) -> str:
        function = self._chance.choice(["avg", "min", "max", "p95", "delta", "count", "rate"])
        if function == "count":
            return f"count({kpi}, {self._span()}, {self._chance.choice(LEVELS)}%) {self._limits((1, 2, 3, 6), '')}"
        if function == "delta":
            return f"delta({kpi}, {self._span()}) {self._limits((-20, 0, 20, 40), '%')}"
        if function == "rate":  # no limit that a rate may equal but for the last bit of a float
            usual = 20 * SECOND / self._period
            return f"rate({kpi}, {self._span()}) {self._limits((0.31 * usual, 0.53 * usual, 1.07 * usual), '')}"
        return f"{function}({kpi}, {self._span()}) {self._limits(LEVELS, '%')}"

    def _limits(self, levels: tuple[float, ...], unit: str) -> str:
        """Returns how a term is compared with one of some limits, with CLEAR now and then."""
        chance = self._chance
        compares = chance.choice([">", ">=", "<", "<=", "==", "!="])
        low, high = sorted(chance.choices(levels, k=2))
        limit, clear = (high, low) if compares[0] == ">" else (low, high)
        tail = f" CLEAR {clear:g}{unit}" if compares[0] in "<>" and chance.random() < 0.5 else ""
        return f"{compares} {limit:g}{unit}{tail}"


def _without_clear(condition: str) -> str:
    """Returns a condition that may stand below NOT."""
    return re.sub(r" CLEAR [^ )]+", "", condition)


class TraceMaker:
    """Has things happen. Each trace has its own share of lateness, of samples that are missing, and of change."""

    def __init__(self, chance: random.Random, period: int) -> None:
        self._chance = chance
        self._period = period
        self._late = chance.choice([0, 0, period // 20, period // 2])
        self._loses = chance.choice([0, 0.02, 0.1])
        self._misses = chance.choice([0, 0.02, 0.1])
        self._harm = chance.choice([0, 0.01, 0.05])
        self._moves = chance.choice([0.3, 0.3, 0.03])
        self._at = self._alive = period
        self._wall = 1_800_000_000 * SECOND
        self._boots = 1
        self._values = dict.fromkeys(KPIS, 0.0)
        self._missing = dict.fromkeys(KPIS, 0)
        self._running: set[str] = set()
        self._failed: int | None = None

    def events(self, count: int) -> list[Event]:
        """Returns what happens around so many samples."""
        found: list[Event] = []
        for number in range(1, count + 1):
            lost = self._chance.randint(1, 6) if self._chance.random() < self._loses else 0
            self._pass((1 + lost) * self._period + self._chance.randint(0, self._late))
            if self._chance.random() < self._harm:
                found.append(self._harmed())
                self._pass(self._chance.choice([0, 0, SECOND, self._period // 2]))
            found.append(self._sample(number))
        return found

    def _pass(self, span: int) -> None:
        self._at, self._alive, self._wall = self._at + span, self._alive + span, self._wall + span

    @property
    def _now(self) -> Instant:
        return Instant(self._at, self._alive, self._wall, f"boot {self._boots}")

    def _harmed(self) -> Event:
        chance = self._chance
        match chance.choice(["suspend", "suspend", "restart", "restart", "boot"]):
            case "suspend":
                span = chance.choice([SECOND, MINUTE, HOUR])
                self._alive, self._wall = self._alive + span, self._wall + span
                self._values = {kpi: chance.choice(LEVELS) for kpi in KPIS}
                return Suspended(self._now)
            case "restart":
                span = chance.choice([SECOND, self._period, 4 * self._period, 10 * MINUTE, 10 * MINUTE + 1, HOUR])
                self._pass(span)
                return Restarted(span)
        self._at = self._alive = chance.randint(1, 100) * SECOND
        self._wall += chance.choice([MINUTE, HOUR, -HOUR])
        self._boots, self._failed = self._boots + 1, None
        return Rebooted()

    def _sample(self, number: int) -> Sample:
        chance = self._chance
        if chance.random() < 0.02:
            self._wall += chance.choice([HOUR, -HOUR, SECOND])
        if chance.random() < 0.03:
            self._failed = self._alive
        if chance.random() < 0.08:
            self._running ^= {chance.choice(JOBS)}
        values = {kpi: self._value(kpi) for kpi in KPIS}
        seen = {kpi: value for kpi, value in values.items() if value is not None}
        return Sample(self._now, seen, frozenset(self._running), self._failed)

    def _value(self, kpi: str) -> float | None:
        """Returns the value of a KPI, which is None or no number where the KPI is missing."""
        chance = self._chance
        if chance.random() < self._moves:
            self._values[kpi] = chance.choice(LEVELS)
        if chance.random() < self._misses:
            self._missing[kpi] = chance.choice([1, 2, 5, 70])
        if not self._missing[kpi]:
            return self._values[kpi]
        self._missing[kpi] -= 1
        return chance.choice([None, None, math.nan, math.inf, -math.inf])
