"""The sections `rules` and `kpis` of the configuration: the rules by name, KPIs of one's own, and which settings
contradict each other."""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct, field

from agentd.core.fields import Duration, Fault, Invalid, Keys, Parser, Raw, as_mapping, as_text, parse_text
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND, nearest, parse_duration
from agentd.core.rules import grammar, unitfile
from agentd.core.rules.conditions import Measure, Node, Wrong, kpis
from agentd.core.rules.kpis import KPIS
from agentd.core.rules.llm_address import place
from agentd.core.rules.units import BY_NAME
from agentd.core.schedulers import settings as schedulers
from agentd.core.times import local_instant, midnight, moment

Priority = Literal["low", "medium", "high", "critical"]
MissingPolicy = Literal["hold", "reset", "fire", "clear"]
StepIf = Literal["still_firing", "self_test_failed"]

UnitName = Annotated[str, Meta(extra={"kind": "unit-name"})]
"""The full name of a unit of systemd that can be restarted, such as llama.service."""

_EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)
_UNIT = r"[A-Za-z0-9:_.\\@-]{1,255}\.(service|socket|target|mount|timer|path|slice|scope|device|swap|automount)"
_LONGEST_UNIT = 255 - len(unitfile.unit(""))
"""Characters of the longest name that leaves the unit which restarts it a name that systemd and file systems take."""
_MOST_FIRES = re.compile(r"\s*([0-9]{1,6})\s+(?:per|in|/)\s*(\S.*)", re.IGNORECASE)


class Action(Struct, frozen=True):
    """Something that a rule does, such as RunJob, and the job, unit or scheduler that it does it to."""

    verb: str
    target: str = ""

    def __str__(self) -> str:
        return f"{self.verb}:{self.target}" if self.target else self.verb


class Verb(Struct, frozen=True):
    """An action that there is. `target` is the word for what it is done to, empty where it needs nothing.

    `tells` marks what changes nothing and so happens in any case, such as in the first minutes after a suspend.
    """

    help: str
    target: str = ""
    tells: bool = False


VERBS: Mapping[str, Verb] = {
    "TriggerSelfTest": Verb("runs the self-test", tells=True),
    "RequestReboot": Verb("asks for a reboot, which all guards of reboots still hold or refuse"),
    "RunJob": Verb("runs a job now", "job"),
    "StopJob": Verb("stops the runs of a job", "job"),
    "PauseJobs": Verb("starts no job while the rule fires"),
    "Notify": Verb("tells people", tells=True),
    "RestartUnit": Verb("restarts a unit that may_restart names", "unit"),
    "SetScheduler": Verb("has another CPU scheduler while the rule fires", "scheduler"),
}


class Fires(Struct, frozen=True):
    """At most so many fires within a span (microseconds): "3 per 24h"."""

    most: int
    span: int


class Step(Struct, frozen=True, kw_only=True):
    """A step of a ladder: what is done so long after the rule began to fire, where the condition still holds."""

    do: Annotated[Action, Meta(extra={"kind": "action"})]
    after: Duration = 0
    if_: StepIf = field(default="still_firing", name="if")


class Within(Struct, frozen=True, kw_only=True):
    """A part of the day: from `at` (seconds since local midnight) on, for `window` (microseconds), on some weekdays."""

    at: Annotated[int, Meta(extra={"kind": "time-of-day"})] = 0
    window: Annotated[int, Meta(ge=MINUTE, le=DAY, extra={"kind": "duration"})] = DAY
    days: Annotated[tuple[int, ...], Meta(extra={"kind": "weekdays"})] = _EVERY_DAY

    def holds(self, wall: int, zone: ZoneInfo) -> bool:
        """Returns whether an instant is within; a window that began yesterday counts."""
        today = moment(wall, zone).date()
        for day in (today, today - timedelta(days=1)):
            begin = local_instant(midnight(day) + timedelta(seconds=self.at), zone)
            if day.weekday() in self.days and begin <= wall < begin + self.window:
                return True
        return False


class Rule(Struct, frozen=True, kw_only=True):
    """A rule. Spans are in microseconds.

    `when` and `clear` are conditions as they were written, see parsed(). `missing` is what an unknown condition counts
    as, `max_gap` the number of samples that may be lost without a break in what must hold for a while.
    """

    name: str
    when: str
    do: Annotated[Action, Meta(extra={"kind": "action"})] | None = None
    then: tuple[Step, ...] = ()
    priority: Annotated[Priority, Meta(extra={"kind": "priority"})] = "medium"
    clear: str = ""
    clear_for: Duration = 0
    cooldown: Duration = 5 * MINUTE
    max_fires: Annotated[Fires, Meta(extra={"kind": "fires"})] | None = None
    missing: MissingPolicy = "hold"
    max_gap: Annotated[int, Meta(ge=1, le=1000)] = 3
    only_while: tuple[str, ...] = ()
    except_while: tuple[str, ...] = ()
    within: Within | None = None
    shadow: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The deeds of the rule, in order: `do` at once, then the ladder."""
        return (() if self.do is None else (Step(do=self.do),)) + self.then


class Sampling(Struct, frozen=True, kw_only=True):
    """The sampling of KPIs; `every` is in microseconds."""

    every: Annotated[int, Meta(ge=SECOND // 2, le=HOUR, extra={"kind": "duration"})] = 5 * SECOND


class LlmServer(Struct, frozen=True, kw_only=True):
    """The llama.cpp server of the machine: its URL, and how often it is asked (microseconds)."""

    url: Annotated[str, Meta(extra={"kind": "llm-url"})]
    every: Annotated[int, Meta(ge=SECOND, le=HOUR, extra={"kind": "duration"})] = 30 * SECOND


class Parsed(Struct, frozen=True):
    """The conditions of a rule as nodes."""

    when: Node
    clear: Node | None


class OwnKpi(Struct, frozen=True, kw_only=True):
    """A KPI of one's own: what the latest run of a job came to.

    `value` is "output" (the last line of its output), "exit-code", or the key of a JSON object that is its last line.
    """

    name: str
    job: str
    value: Annotated[str, Meta(extra={"kind": "kpi-value"})] = "output"
    unit: Annotated[str, Meta(extra={"kind": "unit"})] = "count"


def measures(own: Mapping[str, OwnKpi]) -> dict[str, Measure]:
    """Returns all KPIs as conditions see them, `own` among them."""
    known = {name: Measure(kpi.unit, kpi.instance, kpi.counter) for name, kpi in KPIS.items()}
    return known | {name: Measure(BY_NAME[kpi.unit]) for name, kpi in own.items()}


def parsed(rule: Rule, known: Mapping[str, Measure], period: int) -> Parsed:
    """Returns the conditions of a rule as nodes. Raises Wrong."""
    when = grammar.parse(rule.when, known, period)
    return Parsed(when, grammar.parse(rule.clear, known, period) if rule.clear else None)


def faults(
    rules: Mapping[str, Rule],
    own: Mapping[str, OwnKpi],
    period: int,
    jobs: Collection[str],
    may_restart: Collection[str],
) -> Iterator[Fault]:
    """Yields a fault for each condition that cannot be read, and each rule and KPI that names what is not there."""
    for name, kpi in own.items():
        yield from _of_own(name, kpi, jobs)
    known = measures(own)
    for name, rule in rules.items():
        for key, text in (("when", rule.when), ("clear", rule.clear)):
            if not text and key == "clear":
                continue
            try:
                found = grammar.parse(text, known, period)
            except Wrong as wrong:
                yield Fault(("rules", name, key), str(wrong), wrong.at)
            else:
                for kpi_name in sorted(kpis(found)):
                    yield from _of_instance(name, key, text, kpi_name, jobs)
        yield from _of_rule(name, rule, jobs, may_restart)


def _of_own(name: str, kpi: OwnKpi, jobs: Collection[str]) -> Iterator[Fault]:
    if name in KPIS:
        yield Fault(("kpis", name), f"{name} is one of agentd's own KPIs: give this one another name")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        yield Fault(("kpis", name), f'"{name}" cannot stand in a condition: letters, digits and _ only, no digit first')
    if name.lower() in grammar.WORDS:
        yield Fault(("kpis", name), f'"{name}" is a word of conditions: give this KPI another name')
    if kpi.job not in jobs:
        yield Fault(("kpis", name, "job"), f'there is no job "{kpi.job}"{nearest(kpi.job, jobs)}')


def _of_instance(rule: str, key: str, text: str, kpi: str, jobs: Collection[str]) -> Iterator[Fault]:
    name, _, instance = kpi.partition(":")
    written = re.search(rf'\b{re.escape(name)}:"?{re.escape(instance)}', text)
    at = written.end() - len(instance) if written else 0
    known = KPIS.get(name)
    choices = () if known is None else known.choices or (tuple(jobs) if known.instance == "job" else ())
    if known is None or not instance:
        return
    if known.instance == "job" and instance not in jobs:
        yield Fault(("rules", rule, key), f'there is no job "{instance}"{nearest(instance, jobs)}', at)
    elif known.choices and instance not in choices:
        sentence = f'"{instance}" is not one of {", ".join(choices)}{nearest(instance, choices)}'
        yield Fault(("rules", rule, key), sentence, at)
    elif known.instance == "path" and not instance.startswith("/"):
        yield Fault(("rules", rule, key), f'"{instance}" is not an absolute path', at)
    elif known.instance == "unit" and not re.fullmatch(_UNIT, instance):
        yield Fault(("rules", rule, key), f'"{instance}" is not the name of a unit (try {instance}.service)', at)


def _of_rule(name: str, rule: Rule, jobs: Collection[str], may_restart: Collection[str]) -> Iterator[Fault]:
    if rule.do is None and not rule.then:
        yield Fault(("rules", name), "needs do, or a ladder of steps (then)")
    for key in ("only_while", "except_while"):
        for position, job in enumerate(getattr(rule, key)):
            if job not in jobs:
                yield Fault(("rules", name, key, position), f'there is no job "{job}"{nearest(job, jobs)}')
    latest = 0
    for position, step in enumerate(rule.then):
        if step.after < latest:
            where = ("rules", name, "then", position, "after")
            yield Fault(where, "comes before the step above: the steps of a ladder stand in the order of their time")
        latest = max(latest, step.after)
    steps: list[tuple[Keys, Action]] = [] if rule.do is None else [(("rules", name, "do"), rule.do)]
    steps += [(("rules", name, "then", position, "do"), step.do) for position, step in enumerate(rule.then)]
    for path, action in steps:
        yield from _of_action(path, action, jobs, may_restart)


def _of_action(path: Keys, action: Action, jobs: Collection[str], may_restart: Collection[str]) -> Iterator[Fault]:
    target, at = action.target, len(action.verb) + 1
    kind = VERBS[action.verb].target
    if kind == "job" and target not in jobs:
        yield Fault(path, f'there is no job "{target}"{nearest(target, jobs)}', at)
    elif kind == "unit" and target not in may_restart:
        yield Fault(path, f"{target} is not in may_restart, which lists the units that rules may restart", at)
    elif kind == "scheduler" and not schedulers.NAME.fullmatch(target):
        yield Fault(path, f'"{target}" cannot be the name of a scheduler: expected such as scx_lavd, or none', at)


def doubts(rules: Mapping[str, Rule], own: Mapping[str, OwnKpi]) -> Iterator[str]:
    """Yields a sentence for each setting that is allowed and seldom meant."""
    known = measures(own)
    for name, rule in rules.items():
        for text in (rule.when, rule.clear):
            for sentence in grammar.fractions(text, known):
                yield f"rules.{name}: {sentence}"
        of_jobs = sorted(kpi for kpi in _needs(rule, known) if kpi in own or KPIS[kpi].needs in {"work", "job"})
        if of_jobs and any(step.do.verb == "PauseJobs" for step in rule.steps):
            why = f"{' and '.join(of_jobs)} stay as they are while no job runs"
            yield f"rules.{name}: pauses the jobs, and {why}: the rule ends only when they are missing"


def _needs(rule: Rule, known: Mapping[str, Measure]) -> set[str]:
    """Returns the KPIs of a rule without their instances; none where the rule cannot be read."""
    try:
        both = parsed(rule, known, SECOND)
    except Wrong:
        return set()
    return {kpi.partition(":")[0] for node in (both.when, both.clear) if node is not None for kpi in kpis(node)}


def _choice(raw: Raw, words: Collection[str], what: str) -> str:
    text = as_text(raw, what)
    if text.lower() in words:
        return text.lower()
    raise Invalid(f'"{text}" is not one of {", ".join(words)}{nearest(text.lower(), words)}')


def _action(raw: Raw) -> Action:
    if isinstance(raw, list):
        raise Invalid("expected one action; others follow as steps: then: [{do: ACTION, after: 1m}]")
    text = as_text(raw, "an action such as TriggerSelfTest")
    verb, colon, target = text.strip().partition(":")
    if verb not in VERBS:
        raise Invalid(f'there is no action "{verb}"{nearest(verb, VERBS) or "; there are " + ", ".join(VERBS)}')
    needs = VERBS[verb].target
    if needs and not target:
        raise Invalid(f"{verb} needs a {needs}: {verb}:{needs.upper()}")
    if colon and not needs:
        raise Invalid(f'{verb} takes nothing after its name, and has ":{target}"')
    return Action(verb, target.strip())


def _fires(raw: Raw) -> Fires:
    text = as_text(raw, 'a number and a span such as "3 per 24h"')
    match = _MOST_FIRES.fullmatch(text)
    if not match:
        raise Invalid(f'"{text}" is not a number of fires in a span (try "3 per 24h")')
    span = parse_text(match[2], parse_duration, "a span such as 24h")
    if not int(match[1]) or not span:
        raise Invalid(f'"{text}" would never let the rule act: leave its action out, or use shadow: true')
    return Fires(int(match[1]), span)


def _kpi_value(raw: Raw) -> str:
    if isinstance(raw, dict):
        return "json:" + as_text(as_mapping(raw, {"json"}, "json: temperature").get("json"), "a key", "json")
    text = as_text(raw, "output, exit-code or {json: KEY}")
    if text not in {"output", "exit-code"}:
        raise Invalid(f'"{text}" is not one of output, exit-code, {{json: KEY}}')
    return text


def _llm_url(raw: Raw) -> str:
    text = as_text(raw, "the URL of a llama.cpp server")
    try:
        place(text)
    except ValueError as error:
        raise Invalid(str(error)) from None
    return text


def _unit_name(raw: Raw) -> str:
    text = as_text(raw, "the full name of a unit such as llama.service")
    prefix, at, instance = text.rpartition(".")[0].partition("@")
    if len(text) > _LONGEST_UNIT:
        raise Invalid(f"is a name of {len(text)} characters: expected at most {_LONGEST_UNIT}")
    if not re.fullmatch(_UNIT, text) or not prefix:
        whole = f"{text}.service"
        example = whole if "." not in text and re.fullmatch(_UNIT, whole) else "llama.service"
        raise Invalid(f'"{text}" is not the name of a unit: expected one such as {example}')
    if at and not instance:
        raise Invalid(f'"{text}" is a template: expected one of its units, such as {text.replace("@", "@x", 1)}')
    return text


KINDS: dict[str, Parser] = {
    "unit-name": _unit_name,
    "llm-url": _llm_url,
    "action": _action,
    "fires": _fires,
    "priority": lambda raw: _choice(raw, ("low", "medium", "high", "critical"), "a priority"),
    "kpi-value": _kpi_value,
    "unit": lambda raw: _choice(raw, tuple(BY_NAME), "a unit"),
}
"""The parsers of the kinds that only rules have."""
