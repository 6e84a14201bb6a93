"""The KPIs that are needed: where their facts come from, and their latest values."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct

from agentd.core.jobs.model import Run
from agentd.core.rules.kpis import KPIS, Missing
from agentd.core.rules.model import Gone, Source
from agentd.core.rules.settings import OwnKpi
from agentd.core.rules.units import BY_NAME, Unit
from agentd.core.rules.work import Watch

OWN = frozenset({"work", "job", "self-test"})
"""The sources that the core of rules is itself."""
_WORK, _SELF_TEST = Source("work"), Source("self-test")
_NOBODY, _UNKNOWN = Gone("nobody looked"), Gone("")
_LONGEST_LINE, _LONGEST_VALUE = 200, 40  # characters that are shown


_Of = Callable[[Any, str], float]
_BySource = list[tuple[Source | None, list[tuple[str, _Of | None]]]]
"""KPIs by the source of their facts, each with how it follows from these; None: each is one of somebody's own."""


class Value(Struct, frozen=True):
    """The latest sample of a KPI: a number in its unit, or why there is none."""

    value: float | None
    missing: str = ""


UNSEEN = Value(None, "no sample yet")
"""The value of a KPI that nobody has looked at yet."""


class Gauges:
    """The values of KPIs, by the names that rules call them."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.at = 0
        """The instant of the latest samples (microseconds since 1970)."""
        self.sources: tuple[Source, ...] = ()
        """The sources that the shell is asked for."""
        self._needs: dict[str, Source | None] = {}  # by KPI; None: the KPI is one of somebody's own
        self._all: _BySource = []
        self._moving: _BySource = []  # those of which the value may be another at each look
        self._works = False  # whether one of them follows from all jobs together
        self._runs = -1  # how many runs had ended at the latest look; -1: look at all
        self.found: dict[str, float] = {}
        """The KPIs that have a value."""
        self._facts: Mapping[Source, Any] = {}  # the facts of the latest look
        self._own: Mapping[str, OwnKpi] = {}
        self._ended: dict[str, Run] = {}  # the latest run of each job that a KPI of one's own is about
        self._lines: dict[str, str] = {}  # the last line of its output

    def need(self, names: Iterable[str], own: Mapping[str, OwnKpi]) -> None:
        """Has these KPIs sampled from now on, and no others."""
        self._own = own
        jobs = {kpi.job for kpi in own.values()}
        self._ended = {job: run for job, run in self._ended.items() if job in jobs}
        self._lines = {job: line for job, line in self._lines.items() if job in jobs}
        self._needs = {name: self._source(name) for name in sorted(set(names))}
        self._all = self._by_source(self._needs)
        self._moving = self._by_source([name for name, one in self._needs.items() if not _is_by_runs(one, name)])
        self._works = _WORK in self._needs.values()
        self._runs = -1
        self._facts = {}
        self.values = {name: self.values.get(name, UNSEEN) for name in self._needs}
        self.found = {name: one.value for name, one in self.values.items() if one.value is not None}
        self.sources = self.outside(self._needs)

    @property
    def own(self) -> Collection[str]:
        """The names of the KPIs of one's own."""
        return self._own.keys()

    @property
    def of_jobs(self) -> bool:
        """Whether a KPI is needed that follows from how the jobs do."""
        return any(source is not None and source.name in {"work", "job"} for source in self._needs.values())

    def ended(self, run: Run) -> bool:
        """Takes note of a run that ended; returns whether a KPI of one's own wants its last line, for output()."""
        about = [kpi for kpi in self._own.values() if kpi.job == run.job]
        if about:
            self._ended[run.job] = run
        return any(kpi.value != "exit-code" for kpi in about)

    def output(self, run: Run, line: str) -> None:
        """Takes the last line of a run's output."""
        if self._ended.get(run.job) == run:
            self._lines[run.job] = line

    def take(
        self, facts: Mapping[Source, Any], watch: Watch, failed: bool | None, now: int
    ) -> tuple[dict[str, float], set[str]]:
        """Takes what the sources had to tell; returns the KPIs that have a value, and those that have another than
        before. `failed` is what the latest self-test came to."""
        self.at = now
        facts = {**facts, _SELF_TEST: failed}
        if self._works:
            facts[_WORK] = watch.work(now)
        looked = self._moving if self._runs == watch.ends else self._all
        self._runs = watch.ends
        known, self._facts = self._facts, facts
        changed: set[str] = set()
        for source, names in looked:
            # A fact that is the same object is one that was not looked at anew: half of them, at a look each second.
            if source is not None and facts.get(source, _NOBODY) is known.get(source, _UNKNOWN):
                continue
            for name, of in names:
                before, value, why = self.values[name], None, ""
                try:
                    value = self._value(name, source, of, facts, watch, now)
                except Missing as missing:
                    why = str(missing)
                if value == before.value and why == before.missing:
                    continue
                self.values[name] = Value(value, why)
                if value != before.value:
                    changed.add(name)
                    if value is None:
                        del self.found[name]
                    else:
                        self.found[name] = value
        return self.found.copy(), changed

    def glance(
        self, names: Iterable[str], facts: Mapping[Source, Any], watch: Watch, failed: bool | None, now: int
    ) -> dict[str, Value]:
        """Returns the values of KPIs, whether a rule needs them or not; keeps nothing."""
        facts = {**facts, _SELF_TEST: failed, _WORK: watch.work(now)}
        found = {}
        for name in names:
            try:
                found[name] = Value(self._value(name, self._source(name), self._of(name), facts, watch, now))
            except Missing as missing:
                found[name] = Value(None, str(missing))
        return found

    def unit(self, name: str) -> Unit:
        """Returns the unit of a KPI."""
        own = self._own.get(name)
        return KPIS[name.partition(":")[0]].unit if own is None else BY_NAME[own.unit]

    def outside(self, names: Iterable[str]) -> tuple[Source, ...]:
        """Returns the sources of KPIs that the shell is asked for, in order."""
        sources = {self._source(name) for name in names}
        return tuple(sorted(source for source in sources if source is not None and source.name not in OWN))

    def _source(self, name: str) -> Source | None:
        """Returns the source of a KPI; None: the KPI is one of somebody's own."""
        kpi, _, instance = name.partition(":")
        return None if kpi in self._own else Source(KPIS[kpi].needs, instance)

    def _of(self, name: str) -> _Of | None:
        """Returns how a KPI follows from facts; None: the KPI is one of somebody's own."""
        kpi = name.partition(":")[0]
        return None if kpi in self._own else KPIS[kpi].of

    def _by_source(self, names: Iterable[str]) -> _BySource:
        found: dict[Source | None, list[tuple[str, _Of | None]]] = {}
        for name in names:
            found.setdefault(self._source(name), []).append((name, self._of(name)))
        return list(found.items())

    def _value(
        self, name: str, source: Source | None, of: _Of | None, facts: Mapping[Source, Any], watch: Watch, now: int
    ) -> float:
        """Returns the value of a KPI, a finite one. Raises Missing."""
        if source is None or of is None:
            own = self._own[name]
            value = _of_run(own, self._ended.get(own.job), self._lines.get(own.job, ""))
        else:
            seen = watch.job(source.instance, now) if source.name == "job" else facts.get(source, _NOBODY)
            if isinstance(seen, Gone):
                raise Missing(seen.why)
            try:
                value = float(of(seen, source.instance))
            except ArithmeticError as error:
                raise Missing(f"its value cannot be worked out: {error}") from error
        if not math.isfinite(value):
            raise Missing("its value is no number")
        return value


def _is_by_runs(source: Source | None, name: str) -> bool:
    return source is not None and KPIS[name.partition(":")[0]].by_runs


def _of_run(kpi: OwnKpi, run: Run | None, line: str) -> float:
    """Returns what a KPI of one's own is after the latest run of its job, with the last line of its output. Raises
    Missing."""
    if run is None:
        raise Missing(f"{kpi.job} has not run yet")
    if kpi.value == "exit-code":
        if run.exit_code is None:
            raise Missing(f"{run.run_id} has no exit code ({run.result})")
        return float(run.exit_code)
    shown = f'"{line[:_LONGEST_LINE]}"' if line else "nothing"
    if kpi.value == "output":
        return _read(line, BY_NAME[kpi.unit], f"the last line of {run.run_id} is {shown}")
    key = kpi.value.removeprefix("json:")
    try:
        found = json.loads(line)[key]
    except (ValueError, TypeError, RecursionError):
        raise Missing(f"the last line of {run.run_id} is {shown}, and no JSON object") from None
    except KeyError:
        raise Missing(f'the last line of {run.run_id} has no "{key}"') from None
    return _read(found, BY_NAME[kpi.unit], f'the last line of {run.run_id} has {_shown(found)} as "{key}"')


def _read(value: Any, unit: Unit, where: str) -> float:
    """Returns a value that a job printed: a text, or what JSON has. Raises Missing."""
    try:
        if isinstance(value, str) or unit.words:
            return unit.read(value if isinstance(value, str) else json.dumps(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        raise Missing(f"{where}: that is too large") from None
    except ValueError as error:
        raise Missing(f"{where}: {error}") from None
    raise Missing(f"{where}: expected a number")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
