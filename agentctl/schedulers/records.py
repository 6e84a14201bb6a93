"""The records of schedulers: as JSON, as rows of a table and as text. `now` is always an argument."""

from agentctl.client import Record
from agentctl.show import picked
from agentctl.times import clock, relative, span, stamp
from agentd.core.quantities import SECOND, format_duration

NONE = "none"
LIST_HEADER = ("NAME", "READINESS", "INSTALLED", "RUNS HERE", "SUMMARY")
WANTS_HEADER = ("WHO", "WANTS", "SINCE", "UNTIL", "WINS")
HISTORY_HEADER = ("SINCE", "SCHEDULER", "FOR", "WANTED BY", "GAP", "ENDED")
FLAGS_HEADER = ("FLAG", "DEFAULT", "VALUES", "MEANING")
STATES = {
    "absent": "this kernel has no sched_ext: it cannot load schedulers",
    "disabled": "the kernel's own scheduler runs",
    "enabling": "a scheduler is being loaded",
    "disabling": "a scheduler is being unloaded",
}
"""The kernel's states, but for the one in which a scheduler runs."""
_READINESS = {
    "ready": "for everyday use",
    "tune": "for everyday use after tuning",
    "conditional": "under the conditions below",
    "experimental": "experimental",
    "test": "for tests alone",
    "no": "unfinished",
}
_STATUS = (
    *("state", "current", "ops", "loaded_by", "mode", "flags", "since", "wanted", "wanted_by", "waits", "probation"),
    *("switched_all", "rejected", "seq", "default"),
)
_TENURE = (
    *("number", "name", "mode", "flags", "ops", "loaded_by", "wanted_by", "reason", "since", "enabled", "gap_s"),
    *("ended", "kind", "cause", "message", "noticed_s"),
)
Facts = list[tuple[str, str]]

# As JSON


def status_json(status: Record, wants: list[Record], quarantines: list[Record]) -> Record:
    """Returns the status with the wishes, in the order in which they win, and the schedulers that failed."""
    keys = ("source", "holder", "name", "mode", "reason", "since", "until", "wins", "why")
    return {
        **picked(status, *_STATUS, instants=("since", "probation")),
        "wants": [picked(want, *keys, instants=("since", "until")) for want in wants],
        "quarantines": [picked(one, "name", "until", "failures", "why", instants=("until",)) for one in quarantines],
    }


def scheduler_json(scheduler: Record) -> Record:
    """Returns a scheduler of the catalogue."""
    keys = (
        *(
            "name",
            "summary",
            "readiness",
            "use_cases",
            "installed",
            "version",
            "path",
            "runs",
            "obstacles",
            "catalogue",
        ),
        *("algorithm", "limits", "min_kernel", "needs", "warnings"),
    )
    return {**picked(scheduler, *keys), "timeout_s": _seconds(scheduler.get("timeout"))}


def flag_json(flag: Record) -> Record:
    """Returns a flag of a scheduler."""
    return picked(flag, "name", "option", "type", "default", "low", "high", "choices", "pattern", "unit", "help")


def tenure_json(tenure: Record) -> Record:
    """Returns a scheduler's time on the machine; spans in seconds."""
    spans = {f"{key}_s": _seconds(tenure.get(key)) for key in ("gap", "noticed")}
    return picked({**tenure, **spans}, *_TENURE, instants=("since", "enabled", "ended"))


def _seconds(usec: int | None) -> float | None:
    return None if usec is None else usec / SECOND


# For people


def named(name: str, mode: str = "", flags: Record | None = None) -> str:
    """Returns "scx_bpfland (gaming, slice-us=5000)", or "the kernel's own scheduler"."""
    if name in {NONE, ""}:
        return "the kernel's own scheduler"
    extras = [
        *([mode] if mode not in {"", "auto", NONE} else []),
        *(f"{key}={_value(one)}" for key, one in (flags or {}).items()),
    ]
    return f"{name} ({', '.join(extras)})" if extras else name


def headline(status: Record) -> str:
    """Returns what runs, as the kernel says."""
    state = str(status.get("state", ""))
    if state != "enabled":
        return STATES.get(state, f"the kernel says: {state}")
    name = named(str(status.get("current", "")), str(status.get("mode", "")), status.get("flags"))
    return f"{name} runs" + (
        "; somebody else loaded it, agentd leaves it alone" if status.get("loaded_by") == "other" else ""
    )


def status_facts(status: Record, now: int) -> Facts:
    """Returns the labelled lines below the headline."""
    since, probation = status.get("since", 0), status.get("probation", 0)
    wanted, current = status.get("wanted"), status.get("current")
    differs = bool(wanted) and wanted != current
    facts = [
        ("since", f"{stamp(since)}  {relative(since, now)}" if since else ""),
        ("kernel", f'shows it as "{status["ops"]}"' if status.get("ops") else ""),
        ("probation", f"until {clock(probation, now, seconds=True)} ({relative(probation, now)})" if probation else ""),
        ("wanted", f"{named(str(wanted))}, by {status.get('wanted_by') or '-'}" if differs else ""),
        ("waits", str(status.get("waits", ""))),
        (
            "partial",
            "only tasks that ask for it run under it"
            if status.get("switched_all") is False and current != NONE
            else "",
        ),
        ("refused", f"{status['rejected']} tasks, by the scheduler" if status.get("rejected") else ""),
        ("default", named(str(status["default"])) if "default" in status else ""),
    ]
    return [(label, text) for label, text in facts if text]


def want_row(want: Record, now: int) -> tuple[str, ...]:
    """Returns a row under WANTS_HEADER."""
    until = want.get("until", 0)
    return (
        want_by(want),
        named(str(want.get("name", "")), str(want.get("mode", ""))),
        clock(want["since"], now) if want.get("since") else "-",
        clock(until, now) if until else "-",
        "yes" if want.get("wins") else f"no: {want.get('why') or 'another wish stands before it'}",
    )


def want_by(want: Record) -> str:
    """Returns whose wish it is: "job render", "a lease of :1.7", "default"."""
    source, holder = str(want.get("source", "")), str(want.get("holder", ""))
    return f"{source} {holder}".strip() if source != holder else source


def quarantine_line(one: Record, now: int) -> str:
    """Returns why a scheduler is not tried again for a while."""
    until = one.get("until", 0)
    times = one.get("failures", 1)
    often = "" if times == 1 else f" ({times} failures in a row)"
    return f"{one.get('name')} is not tried before {clock(until, now)}{often}: {one.get('why')}"


def list_row(scheduler: Record) -> tuple[str, ...]:
    """Returns a row under LIST_HEADER."""
    obstacles = scheduler.get("obstacles") or []
    return (
        str(scheduler.get("name")),
        str(scheduler.get("readiness")),
        (scheduler.get("version") or "yes") if scheduler.get("installed") else "no",
        "running" if scheduler.get("runs") else "no" if obstacles else "yes",
        str(scheduler.get("summary", "")),
    )


def scheduler_facts(scheduler: Record) -> Facts:
    """Returns the labelled lines about one scheduler; a line without a label belongs to the one above it."""
    readiness = str(scheduler.get("readiness", ""))
    where = f"{scheduler.get('version') or 'version unknown'}, {scheduler.get('path')}"
    timeout = scheduler.get("timeout", 0)
    facts = [
        ("readiness", f"{readiness}: {_READINESS[readiness]}" if readiness in _READINESS else readiness),
        ("algorithm", str(scheduler.get("algorithm", ""))),
        *_labelled("good for", scheduler.get("use_cases", [])),
        *_labelled("limits", scheduler.get("limits", [])),
        ("kernel", f"from {scheduler['min_kernel']} on" if scheduler.get("min_kernel") else ""),
        ("needs", ", ".join(scheduler.get("needs", []))),
        ("watchdog", f"a task waits {format_duration(timeout)} at most" if timeout else ""),
        ("installed", where if scheduler.get("installed") else "no"),
        *_labelled("cannot run", scheduler.get("obstacles", [])),
        *_labelled("differs", scheduler.get("warnings", [])),
        ("catalogue", str(scheduler.get("catalogue", ""))),
    ]
    return [(label, text) for label, text in facts if text]


def _labelled(label: str, lines: list[str]) -> Facts:
    return [("" if index else label, line) for index, line in enumerate(lines)]


def flag_row(flag: Record) -> tuple[str, ...]:
    """Returns a row under FLAGS_HEADER."""
    default = flag.get("default")
    return (
        str(flag.get("name")),
        "-" if default is None else _value(default),
        _values(flag),
        str(flag.get("help", "")),
    )


def _values(flag: Record) -> str:
    low, high = flag.get("low"), flag.get("high")
    unit = f" {flag['unit']}" if flag.get("unit") else ""
    if flag.get("choices"):
        return " | ".join(flag["choices"])
    if flag.get("type") == "bool":
        return "yes | no"
    if low is None and high is None:
        return str(flag.get("pattern") or flag.get("type"))
    ends = ["" if end is None else f"{end:.10g}" for end in (low, high)]
    return f"{ends[0]}..{ends[1]}{unit}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def mode_line(mode: str, flags: Record) -> str:
    """Returns "gaming: primary-domain=all"."""
    return f"{mode}: " + (" ".join(f"{name}={_value(value)}" for name, value in flags.items()) or "no flags")


def history_row(tenure: Record, now: int) -> tuple[str, ...]:
    """Returns a row under HISTORY_HEADER."""
    enabled, ended = tenure.get("enabled", 0), tenure.get("ended", 0)
    lasted = span((ended or now) - enabled) if enabled else "never ran"
    return (
        stamp(enabled or tenure.get("since", 0)),
        named(str(tenure.get("name", "")), str(tenure.get("mode", "")), tenure.get("flags")),
        lasted,
        "another program" if tenure.get("loaded_by") == "other" else str(tenure.get("wanted_by") or "-"),
        span(tenure["gap"]) if "gap" in tenure else "-",
        ending(tenure) if ended else "runs",
    )


def ending(tenure: Record) -> str:
    """Returns how a scheduler ended: "stall: runnable task stall (bash[12] failed to run for 5.1s)"."""
    kind, cause, message = (str(tenure.get(key) or "") for key in ("kind", "cause", "message"))
    text = f"{kind}: {cause}" if cause and cause != kind else kind
    return (f"{text} ({message})" if message else text) or "-"
