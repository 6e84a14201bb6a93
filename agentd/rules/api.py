"""The members of org.agentd1.Rules: the handlers and the records that callers get."""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from agentd.bus.arguments import Records, limit_of, only, record
from agentd.bus.contract import Handler
from agentd.core.part import Refused
from agentd.core.patterns import matcher
from agentd.core.quantities import DAY, HOUR, MINUTE, nearest
from agentd.core.rules import story
from agentd.core.rules.gauges import UNSEEN, Value
from agentd.core.rules.kpis import KPIS
from agentd.core.rules.model import Evidence, KpisSampled
from agentd.core.rules.rules import Rules
from agentd.core.rules.standing import Standing
from agentd.part import Host
from agentd.rules.selftest import Result, SelfTest
from agentd.rules.tables import KEPT, Rolled, list_evidence, list_samples

_KPI = {**dict.fromkeys(("name", "unit", "help", "shown", "missing"), "s"), "value": "d", "at": "t"}
_KPI |= dict.fromkeys(("own", "sampled"), "b")
_ROLLED = {"at": "t", "count": "u", **dict.fromkeys(("mean", "least", "most"), "d")}
_RULE = {
    **dict.fromkeys(("name", "state", "when", "priority", "withheld", "gate"), "s"),
    **dict.fromkeys(("since", "last_fired"), "t"),
    **dict.fromkeys(("sees", "does"), "as"),
    "shadow": "b",
}
_LINE = {**dict.fromkeys(("kind", "text", "truth", "sees", "of"), "s"), "depth": "u"}
_EVIDENCE = {
    "at": "t",
    **dict.fromkeys(("rule", "action", "when"), "s"),
    **dict.fromkeys(("sees", "kpis", "processes"), "as"),
}
_RESULT = {**dict.fromkeys(("name", "result", "text", "remedy"), "s"), "took": "t"}
_TRUTHS = {True: "true", False: "false", None: "unknown"}
_STATES = ("firing", "clearing", "pending", "inactive", "unknown")


class Api:
    """The members of the interface."""

    def __init__(self, host: Host, rules: Rules, tests: SelfTest) -> None:
        self._host, self._rules, self._tests = host, rules, tests

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (
            self.ListKpis, self.GetSamples, self.ListRules, self.ExplainRule, self.ListEvidence, self.SelfTest,
        )  # fmt: skip
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return {"Firing": lambda: self._rules.firing, "SelfTestState": lambda: self._tests.state}

    def ListKpis(self, filter: dict[str, Any]) -> Records[tuple[str, Value | None]]:
        only(filter, name=str)
        matches = matcher(filter.get("name", "*"))
        sampled = self._rules.gauges.values
        seen = {name.partition(":")[0] for name in sampled}
        known = {name: f"{name}:{kpi.instance.upper()}" if kpi.instance else name for name, kpi in KPIS.items()}
        found: list[tuple[str, Value | None]] = [*sampled.items()]
        found += [(shown, None) for name, shown in known.items() if name not in seen]
        return Records(self._kpi, sorted((one for one in found if matches(one[0])), key=lambda one: one[0]))

    async def GetSamples(self, kpi: str, options: dict[str, Any]) -> Records[Rolled]:
        only(options, since=int, span=int, limit=int)
        now = self._host.now()
        since = options.get("since", now - HOUR)
        span = options.get("span", 0 if since >= now - HOUR - MINUTE else MINUTE if since >= now - 2 * DAY else HOUR)
        if span not in KEPT:
            raise Refused(
                "InvalidArgument", f"span must be one of {', '.join(map(str, KEPT))} microseconds, not {span}"
            )
        self._named_kpi(kpi)
        limit = limit_of({"limit": 1000} | options)
        rows: list[Rolled] = await self._host.ask(list_samples, kpi=kpi, span=span, since=since, limit=limit)
        if not span:
            latest = rows[-1].at if rows else since - 1
            found = [(one.at, one.values[kpi]) for one in self._host.collected(KpisSampled) if kpi in one.values]
            rows += [Rolled(at, 1, value, value, value) for at, value in found if at > latest]
        return Records(lambda row: record({key: getattr(row, key) for key in _ROLLED}, _ROLLED), rows[:limit])

    def ListRules(self, filter: dict[str, Any]) -> Records[Standing]:
        only(filter, name=str, state=str)
        matches, state = matcher(filter.get("name", "*")), filter.get("state", "")
        if state not in {"", *_STATES}:
            raise Refused("InvalidArgument", f'"{state}" is not one of {", ".join(_STATES)}')
        found = [one for name, one in self._rules.standings.items() if matches(name) and state in {"", one.state}]
        return Records(self._rule, sorted(found, key=lambda one: (_STATES.index(one.state), one.rule.name)))

    def ExplainRule(self, rule: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        standing = self._named(rule)
        parts = [("when", standing.when), ("clear", standing.clear)]
        lines = [
            record({**structs.asdict(line), "truth": _TRUTHS[line.truth], "of": of}, _LINE)
            for of, part in parts
            if part is not None
            for line in story.lines(part, self._rules.missing, self._rules.moment.at, unit=self._rules.gauges.unit)
        ]
        return self._rule(standing), lines

    async def ListEvidence(self, rule: str, options: dict[str, Any]) -> Records[Evidence]:
        only(options, before=int, limit=int)
        self._named(rule)
        limit = limit_of(options)
        found = await self._host.ask(list_evidence, rule=rule, before=options.get("before", 0), limit=limit)
        return Records(self._evidence, found)

    async def SelfTest(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        only(options, full=bool)
        results = await self._tests.run(full=options.get("full", False), why="asked for")
        return [_result(one) for one in results]

    # Records

    def _kpi(self, one: tuple[str, Value | None]) -> dict[str, Any]:
        name, value = one
        base = name.partition(":")[0]
        unit = self._rules.gauges.unit(name)
        values = {
            "name": name,
            "unit": unit.name,
            "help": KPIS[base].help if base in KPIS else "a KPI of your own",
            "own": base not in KPIS,
            "sampled": value is not None,
            "value": None if value is None else value.value,
            "shown": unit.show(None if value is None else value.value),
            "missing": "no rule needs it, so nobody looks" if value is None else value.missing,
            "at": 0 if value is None or value is UNSEEN else self._rules.gauges.at,
        }
        return record(values, _KPI)

    def _rule(self, standing: Standing) -> dict[str, Any]:
        rule = standing.rule
        values = {
            "name": rule.name,
            "state": standing.state,
            "since": standing.since,
            "when": rule.when,
            "sees": self._rules.reasons(standing),
            "does": [f"{step.do} after {story.after(step)}" if step.after else str(step.do) for step in rule.steps],
            "priority": rule.priority,
            "last_fired": standing.last_fired,
            "shadow": rule.shadow,
            "withheld": standing.withheld,
            "gate": standing.gate,
        }
        return record(values, _RULE)

    def _evidence(self, one: Evidence) -> dict[str, Any]:
        kpis = [f"{name} {self._shown(name, value)}" for name, value in sorted(one.kpis.items())]
        values = {"at": one.at, "rule": one.rule, "action": one.action, "when": one.when}
        return record({**values, "sees": one.seen, "kpis": kpis, "processes": one.processes}, _EVIDENCE)

    def _shown(self, kpi: str, value: float) -> str:
        known = kpi.partition(":")[0] in KPIS or kpi in self._rules.gauges.values
        return self._rules.gauges.unit(kpi).show(value) if known else f"{value:g}"  # a KPI of one's own that is no more

    def _named(self, name: str) -> Standing:
        """Returns how a rule stands. Raises Refused NoSuchRule."""
        if name not in self._rules.standings:
            raise Refused("NoSuchRule", f'there is no rule "{name}"{nearest(name, self._rules.standings)}')
        return self._rules.standings[name]

    def _named_kpi(self, name: str) -> None:
        """Raises Refused NoSuchKpi where no rule needs such a KPI, and there is none."""
        if name not in self._rules.gauges.values and name.partition(":")[0] not in KPIS:
            raise Refused("NoSuchKpi", f'there is no KPI "{name}"{nearest(name, [*KPIS, *self._rules.gauges.values])}')


def _result(one: Result) -> dict[str, Any]:
    return record({key: getattr(one, key) for key in _RESULT}, _RESULT)
