"""The members of org.agentd1.Rules: the handlers and the records that callers get."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

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
from agentd.part import Host
from agentd.rules.glimpse import Glimpse
from agentd.rules.selftest import Result, SelfTest
from agentd.rules.tables import KEPT, Rolled, list_evidence, list_samples

if TYPE_CHECKING:
    from agentd.core.rules.standing import Standing

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


_UNWATCHED = Value(None, "no rule needs it, so nobody looks")


class _Shown(Struct, frozen=True):
    """A KPI at an instant (microseconds since 1970), `sampled` because a rule needs it."""

    name: str
    value: Value
    at: int
    sampled: bool = False


class Api:
    """The members of the interface."""

    def __init__(self, host: Host, rules: Rules, tests: SelfTest, glimpse: Glimpse) -> None:
        self._host, self._rules, self._tests, self._glimpse = host, rules, tests, glimpse

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (
            self.ListKpis, self.GetSamples, self.ListRules, self.ExplainRule, self.ListEvidence, self.SelfTest,
        )  # fmt: skip
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return {"Firing": lambda: self._rules.firing, "SelfTestState": lambda: self._tests.state}

    async def ListKpis(self, filter: dict[str, Any]) -> Records[_Shown]:
        only(filter, name=str, look=bool)
        matches = matcher(filter.get("name", "*"))
        seen = await self._glimpse.values() if filter.get("look") else {}
        gauges, now = self._rules.gauges, self._host.now()
        found = [_Shown(name, value, gauges.at, sampled=True) for name, value in gauges.values.items()]
        found += [_Shown(name, value, now) for name, value in seen.items() if name not in gauges.values]
        shown = {one.name.partition(":")[0] for one in found}
        forms = {name: f"{name}:{kpi.instance.upper()}" if kpi.instance else name for name, kpi in KPIS.items()}
        others = [form for name, form in (forms | {own: own for own in gauges.own}).items() if name not in shown]
        found += [_Shown(name, _UNWATCHED, now) for name in others]
        shown_now = sorted((one for one in found if matches(one.name)), key=lambda one: one.name)
        return Records(self._kpi, shown_now, _KPI)

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
        return Records(lambda row: {key: getattr(row, key) for key in _ROLLED}, rows[:limit], _ROLLED)

    def ListRules(self, filter: dict[str, Any]) -> "Records[Standing]":
        only(filter, name=str, state=str)
        matches, state = matcher(filter.get("name", "*")), filter.get("state", "")
        if state not in {"", *_STATES}:
            raise Refused("InvalidArgument", f'"{state}" is not one of {", ".join(_STATES)}')
        found = [one for name, one in self._rules.standings.items() if matches(name) and state in {"", one.state}]
        found.sort(key=lambda one: (_STATES.index(one.state), one.rule.name))
        return Records(self._rule, found, _RULE)

    def ExplainRule(self, rule: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        standing = self._named(rule)
        self._rules.show(standing)
        parts = [("when", standing.when), ("clear", standing.clear)]
        lines = [
            record({**structs.asdict(line), "truth": _TRUTHS[line.truth], "of": of}, _LINE)
            for of, part in parts
            if part is not None
            for line in story.lines(part, self._rules.missing, self._rules.moment.at, unit=self._rules.gauges.unit)
        ]
        return record(self._rule(standing), _RULE), lines

    async def ListEvidence(self, rule: str, options: dict[str, Any]) -> Records[Evidence]:
        only(options, before=int, limit=int)
        self._named(rule)
        limit = limit_of(options)
        found = await self._host.ask(list_evidence, rule=rule, before=options.get("before", 0), limit=limit)
        return Records(self._evidence, found, _EVIDENCE)

    async def SelfTest(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        only(options, full=bool)
        results = await self._tests.run(full=options.get("full", False), why="asked for")
        return [_result(one) for one in results]

    # Records

    def _kpi(self, one: _Shown) -> dict[str, Any]:
        base = one.name.partition(":")[0]
        unit = self._rules.gauges.unit(one.name)
        return {
            "name": one.name,
            "unit": unit.name,
            "help": KPIS[base].help if base in KPIS else "a KPI of your own",
            "own": base not in KPIS,
            "sampled": one.sampled,
            "value": one.value.value,
            "shown": unit.show(one.value.value),
            "missing": one.value.missing,
            "at": 0 if one.value in {UNSEEN, _UNWATCHED} else one.at,
        }

    def _rule(self, standing: "Standing") -> dict[str, Any]:
        rule = standing.rule
        return {
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

    def _evidence(self, one: Evidence) -> dict[str, Any]:
        kpis = [f"{name} {self._shown(name, value)}" for name, value in sorted(one.kpis.items())]
        values = {"at": one.at, "rule": one.rule, "action": one.action, "when": one.when}
        return {**values, "sees": one.seen, "kpis": kpis, "processes": one.processes}

    def _shown(self, kpi: str, value: float) -> str:
        known = kpi.partition(":")[0] in KPIS or kpi in self._rules.gauges.values
        return self._rules.gauges.unit(kpi).show(value) if known else f"{value:g}"  # a KPI of one's own that is no more

    def _named(self, name: str) -> "Standing":
        """Returns how a rule stands. Raises Refused NoSuchRule."""
        if name not in self._rules.standings:
            raise Refused("NoSuchRule", f'there is no rule "{name}"{nearest(name, self._rules.standings)}')
        return self._rules.standings[name]

    def _named_kpi(self, name: str) -> None:
        """Raises Refused NoSuchKpi where no rule needs such a KPI, and there is none."""
        gauges = self._rules.gauges
        if name not in gauges.values and name not in gauges.own and name.partition(":")[0] not in KPIS:
            raise Refused("NoSuchKpi", f'there is no KPI "{name}"{nearest(name, [*KPIS, *gauges.own, *gauges.values])}')


def _result(one: Result) -> dict[str, Any]:
    return record({key: getattr(one, key) for key in _RESULT}, _RESULT)
