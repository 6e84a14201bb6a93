"""The records of rules and KPIs: as JSON, as rows of a table and as text. `now` is always an argument."""

from collections.abc import Iterator, Sequence

from agentctl.client import Record
from agentctl.show import picked, size
from agentctl.times import clock, iso, relative, span, stamp
from agentd.core.quantities import SECOND

KPI_HEADER = ("NAME", "VALUE", "AGE", "HELP")
RULE_HEADER = ("NAME", "STATE", "SINCE", "SEES", "LAST FIRED", "DOES")
FIRES = ("firing", "clearing")
_TRUTHS = {"true": "yes", "false": "no", "unknown": "?"}
_SUFFIXES = {"percent": "%", "celsius": "C", "per hour": "/h"}
_SIGNS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
_FEW = 5  # processes of an evidence that a person is shown

# KPIs


def kpi_json(kpi: Record) -> Record:
    """Returns a KPI as it is now."""
    return picked(kpi, "name", "unit", "help", "sampled", "value", "shown", "missing", "at", instants=("at",))


def sample_json(row: Record) -> Record:
    """Returns a row of a KPI's past."""
    return picked(row, "at", "count", "mean", "least", "most", instants=("at",))


def kpi_row(kpi: Record, now: int) -> tuple[str, ...]:
    """Returns a row under KPI_HEADER; a KPI without a value has the reason instead."""
    at = kpi.get("at", 0)
    return (str(kpi.get("name")), _value(kpi), relative(at, now) if at else "-", str(kpi.get("help") or "-"))


def kpi_facts(kpi: Record, rows: Sequence[Record], since: int, now: int) -> list[tuple[str, str]]:
    """Returns the labelled lines about a KPI now and since an instant."""
    at, unit = kpi.get("at", 0), str(kpi.get("unit"))
    seen = "sampled" if kpi.get("sampled") else "looked at"
    facts = [
        ("value", _value(kpi)),
        (seen, f"{clock(at, now, seconds=True)} ({relative(at, now)})" if at else ""),
        ("unit", unit),
        ("is", str(kpi.get("help") or "")),
        ("since", f"{stamp(since)}  {relative(since, now)}"),
        *((label, shown(value, unit)) for label, value in summary(rows).items()),
        ("samples", str(sum(row["count"] for row in rows)) if rows else "none"),
    ]
    return [(label, text) for label, text in facts if text]


def summary(rows: Sequence[Record]) -> dict[str, float]:
    """Returns the minimum, the mean and the maximum of rows; nothing where there are none."""
    if not rows:
        return {}
    count = sum(row["count"] for row in rows)
    mean = sum(row["mean"] * row["count"] for row in rows) / count
    return {"minimum": min(row["least"] for row in rows), "mean": mean, "maximum": max(row["most"] for row in rows)}


def shown(value: float, unit: str) -> str:
    """Returns a number in a unit of KPIs as a person reads it."""
    if unit == "bytes":
        return size(round(value)) if value >= 0 else f"-{size(round(-value))}"
    if unit == "seconds" and value >= 0:
        return span(round(value * SECOND)) if value >= 1 else f"{value * 1000:.3g}ms"
    if unit == "yes or no" and value in {0, 1}:
        return "yes" if value else "no"
    return (str(round(value)) if abs(value) >= 1000 else f"{value:.4g}") + _SUFFIXES.get(unit, "")


def _value(kpi: Record) -> str:
    return f"- ({kpi['missing']})" if kpi.get("missing") else str(kpi.get("shown") or "-")


# Rules


def rule_json(rule: Record) -> Record:
    """Returns a rule as it stands."""
    keys = ("name", "state", "since", "when", "sees", "does", "priority", "last_fired", "shadow", "withheld", "gate")
    return picked(rule, *keys, instants=("since", "last_fired"))


def line_json(line: Record) -> Record:
    """Returns a part of a rule's condition."""
    return picked(line, "kind", "text", "truth", "sees", "depth", "of")


def evidence_json(evidence: Record) -> Record:
    """Returns what there was to see as a rule acted."""
    return picked(evidence, "at", "rule", "action", "when", "sees", "kpis", "processes", instants=("at",))


def rule_row(rule: Record, now: int) -> tuple[str, ...]:
    """Returns a row under RULE_HEADER."""
    since, fired = rule.get("since", 0), rule.get("last_fired", 0)
    return (
        str(rule.get("name")),
        str(rule.get("state") or "-"),
        relative(since, now) if since else "-",
        "; ".join(dict.fromkeys(map(_seen, rule.get("sees", [])))) or "-",
        relative(fired, now) if fired else "never",
        _does(rule),
    )


def _seen(sentence: str) -> str:
    """Returns "91% against 90%" of "MemoryUsage > 90%: 91% against 90%": the condition itself is in `explain`."""
    condition, _, found = sentence.partition(": ")
    return found or condition


def _does(rule: Record) -> str:
    """Returns the actions of a rule, and why none of them happens where that is so."""
    actions = ", ".join(rule.get("does", [])) or "nothing"
    return f"{actions} ({', '.join(_brakes(rule))})" if _brakes(rule) else actions


def _brakes(rule: Record) -> list[str]:
    shadow = "in shadow: it only tells" if rule.get("shadow") else ""
    return [text for text in (shadow, rule.get("withheld", ""), rule.get("gate", "")) if text]


def headline(rule: Record, now: int) -> str:
    """Returns "memory-high: firing since 14:03 (2min ago)"."""
    since = rule.get("since", 0)
    return f"{rule.get('name')}: {rule.get('state')}" + (
        f" since {clock(since, now, seconds=True)} ({relative(since, now)})" if since else ""
    )


def condition(lines: Sequence[Record]) -> list[tuple[str, ...]]:
    """Returns rows of a table: whether a part of a condition holds, the part, indented, and what it sees."""
    return [
        (_TRUTHS.get(line.get("truth", ""), "?"), "  " * line.get("depth", 0) + line["text"], line.get("sees", ""))
        for line in lines
    ]


def missing(lines: Sequence[Record]) -> list[str]:
    """Returns what keeps a condition from holding: a line for each of its least parts that do not hold."""
    if not lines or lines[0].get("truth") == "true":
        return []
    top, below = lines[0], lines[1:]
    parts = list(_branches(below))
    lacking = [part for part in parts if part[0].get("truth") != "true"]
    kind = top.get("kind") or _kind(top, parts)
    if not lacking or kind == "not":
        return [f"{top['text']}: {top.get('sees') or _opposite(parts)}"]
    first, *others = [missing(part) for part in lacking]
    either = "or " if kind == "or" else ""
    return [*first, *(f"{either}{text}" for texts in others for text in texts)]


def _kind(top: Record, parts: Sequence[Sequence[Record]]) -> str:
    """Returns "not" or "or" where a part is that, with an agentd that does not say so, and "" otherwise."""
    text = str(top["text"]).upper()
    if len(parts) == 1:  # a window sees something, a NOT itself does not
        return "not" if text.startswith("NOT") and not top.get("sees") else ""
    after = text.partition(str(parts[0][0]["text"]).upper())[2] if parts else ""
    return "or" if after.lstrip(" )").startswith("OR") else ""


def _opposite(parts: Sequence[Sequence[Record]]) -> str:
    """Returns why a NOT does not hold."""
    sees = [str(line["sees"]) for part in parts for line in part if line.get("sees")]
    return "; ".join(sees) or "does not hold"


def _branches(lines: Sequence[Record]) -> Iterator[list[Record]]:
    """Yields the parts right below a part, each with what is below it."""
    branch: list[Record] = []
    for line in lines:
        if branch and line.get("depth", 0) <= branch[0].get("depth", 0):
            yield branch
            branch = []
        branch.append(line)
    if branch:
        yield branch


def consequence(rule: Record) -> list[str]:
    """Returns what happens when a rule fires, a line an action, and what holds it back."""
    does = rule.get("does", []) or ["nothing: the rule has no action"]
    return [*does, *(f"but: {text}" for text in _brakes(rule))]


def evidence_lines(evidence: Record, now: int) -> list[str]:
    """Returns the lines about a time that a rule acted: the instant, the action, what the rule saw, the KPIs and
    the processes."""
    at = evidence.get("at", 0)
    processes, action = evidence.get("processes", []), evidence.get("action", "")
    return [
        f"{clock(at, now, seconds=True)} ({relative(at, now)})" + (f": {action}" if action else ""),
        *(f"  saw {text}" for text in evidence.get("sees", [])),
        f"  KPIs: {', '.join(evidence.get('kpis', [])) or '-'}",
        *(f"  {text}" for text in processes[:_FEW]),
    ]


def status_lines(firing: Sequence[str], warnings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns a line for each rule that fires, with what it sees where a warning of the daemon's tells, and the other
    warnings."""
    rest, lines = list(warnings), []
    for name in firing:
        told = next((text for text in rest if text.startswith(f"the rule {name} fires")), f"the rule {name} fires")
        rest = [text for text in rest if text != told]
        lines.append(told)
    return lines, rest


# The self-test


def result_json(result: Record) -> Record:
    """Returns how a check ended; the time that it took in seconds."""
    took = result.get("took")
    return picked(
        {**result, "took_s": None if took is None else took / SECOND}, "name", "result", "text", "remedy", "took_s"
    )


def result_lines(result: Record) -> list[str]:
    """Returns a line for a check, and below one that failed what to do."""
    sign = _SIGNS.get(result.get("result", ""), str(result.get("result")))
    line = f"{sign:>7}  {result.get('name')}: {result.get('text')} ({span(result.get('took', 0))})"
    remedy = result.get("remedy") if result.get("result") == "failed" else ""
    return [line, f"         {remedy}"] if remedy else [line]


# Samples for a replay


def sample_line(at: int, kpis: Record) -> str:
    """Returns a sample of all KPIs as a line that a replay reads; its clock counts from 1970."""
    import json

    return json.dumps({"at": at / SECOND, "kpis": kpis})


def period_json(since: int, rows: Sequence[Record]) -> Record:
    """Returns what was of a KPI since an instant."""
    found = summary(rows)
    return {
        "since": iso(since),
        **{key: found.get(key) for key in ("minimum", "mean", "maximum")},
        "samples": [sample_json(row) for row in rows],
    }
