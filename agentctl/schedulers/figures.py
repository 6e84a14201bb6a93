"""The records of the monitor: as JSON, as rows of a table and as text. `now` is always an argument."""

from agentctl.client import Record
from agentctl.schedulers.records import named
from agentctl.show import picked
from agentctl.times import clock, span
from agentd.core.quantities import SECOND

HEADER = ("FIGURE", "MEAN", "P95", "MAX", "UNIT")
_SHOWN = {"share": ("%", 100.0), "s": ("ms", 1000.0)}
"""The units in which people read some of agentd's, and the factor."""
_SESSION = (
    "on",
    "keep",
    "since",
    "until",
    "interval_s",
    "groups",
    "samples",
    "switches",
    "forgotten",
    "trouble",
    "ended",
)

# As JSON


def session_json(session: Record, summaries: list[Record], figures: list[Record]) -> Record:
    """Returns a session with its summaries, and their figures by name."""
    interval = session["interval"] / SECOND if "interval" in session else None
    return {
        **picked({**session, "interval_s": interval}, *_SESSION, instants=("since", "until")),
        "summaries": [
            _summary_json(summary, [one for one in figures if one.get("summary") == number])
            for number, summary in enumerate(summaries)
        ],
    }


def _summary_json(summary: Record, figures: list[Record]) -> Record:
    keys = ("name", "ops", "seq", "since", "until", "seconds", "samples", "events")
    of_machine: Record = {}
    of_groups: dict[str, Record] = {}
    for one in figures:
        if "mean" in one:
            own = of_groups.setdefault(one["group"], {}) if one.get("group") else of_machine
            own[one["name"]] = picked(one, "mean", "p95", "max", "unit")
    missing = {_label(one): one["why"] for one in figures if "why" in one}
    measured = {"figures": of_machine, "control_groups": of_groups, "missing": missing}
    return {**picked(summary, *keys, instants=("since", "until")), **measured}


# For people


def headline(session: Record, now: int) -> str:
    """Returns when the session began and ends, or how it ended."""
    if not session:
        return "nothing was measured since agentd was started; to begin: agentctl sched monitor"
    since, until = (clock(session.get(key, 0), now, seconds=True) for key in ("since", "until"))
    if session.get("on"):
        return f"measuring from {since} to {until}, every {span(session.get('interval', 0))}"
    why = str(session.get("ended", ""))
    return f"measured from {since} to {until}" + (f": {why}" if why else "")


def progress(session: Record, now: int) -> str:
    """Returns how a session goes."""
    left = max(0, session.get("until", 0) - now) // SECOND * SECOND
    trouble = session.get("trouble")
    return f"measuring: {_counted(session.get('samples', 0))}, {span(left)} left" + (f"; {trouble}" if trouble else "")


def remarks(session: Record, summaries: list[Record]) -> list[str]:
    """Returns what is to be known of the figures."""
    switches, forgotten, trouble = (session.get(key) for key in ("switches", "forgotten", "trouble"))
    found = []
    if session and not summaries:
        found.append("there are no figures: they need two readings under one scheduler")
    if switches:
        times = "once" if switches == 1 else f"{switches} times"
        why = "agentctl sched history tells why"
        found.append(f"another scheduler came {times} ({why}); the time across a switch counts for neither")
    if forgotten:
        found.append(f"{forgotten} schedulers that ran first are left out")
    if trouble:
        found.append(f"the last reading failed: {trouble}")
    return found


def summary_line(summary: Record, now: int) -> str:
    """Returns whose figures come, and of which time they are."""
    since, until = (clock(summary.get(key, 0), now, seconds=True) for key in ("since", "until"))
    seconds = span(round(summary.get("seconds", 0.0) * SECOND))
    return (
        f"{named(str(summary.get('name', '')))}: {since} to {until}, {_counted(summary.get('samples', 0))} in {seconds}"
    )


def row(figure: Record) -> tuple[str, ...]:
    """Returns a row under HEADER."""
    unit, factor = _SHOWN.get(figure.get("unit", ""), (str(figure.get("unit", "")), 1.0))
    return (_label(figure), *(_number(figure[key] * factor) for key in ("mean", "p95", "max")), unit)


def missing_lines(figures: list[Record]) -> list[str]:
    """Returns a line for each reason why figures are missing."""
    reasons: dict[str, list[str]] = {}
    for one in figures:
        if "why" in one:
            reasons.setdefault(one["why"], []).append(_label(one))
    return [f"missing: {', '.join(names)}: {why}" for why, names in reasons.items()]


def events_line(events: Record) -> str:
    """Returns "events: SCX_EV_X 12"."""
    return "events: " + ", ".join(f"{name} {count}" for name, count in sorted(events.items()))


def _label(figure: Record) -> str:
    return " ".join(filter(None, (str(figure.get("group", "")), str(figure.get("name", "")))))


def _counted(samples: int) -> str:
    return "1 sample" if samples == 1 else f"{samples} samples"


def _number(value: float) -> str:
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
