"""The records of reboots: as JSON, as rows of a table and as text. `now` is always an argument."""

from agentctl.client import Record
from agentctl.show import picked
from agentctl.times import clock, relative, span, stamp
from agentd.core.quantities import SECOND, format_duration

HISTORY_HEADER = ("WHEN", "CAUSE", "REASON", "STATE", "DOWN", "NOTE")
HOLDER_HEADER = ("HOST", "SINCE", "STATE", "")
CALM = {None, "idle", "disabled"}  # nothing is pending
_MEANINGS = {
    "idle": "no reboot is pending",
    "announced": "people are warned",
    "draining": "nothing new starts, what runs gets its time",
    "locked": "nothing runs any more, a last look",
    "issued": "the machine was asked to go down",
    "disabled": "agentd does not reboot this machine",
}
_LOGIND = {
    "no": "logind does not let agentd reboot this machine",
    "challenge": "logind wants a password for a reboot, and agentd has none to give",
    "na": "logind cannot reboot this machine",
}
Facts = list[tuple[str, str]]


def reboot_json(reboot: Record) -> Record:
    """Returns a reboot; the time that the machine was down in seconds."""
    keys = (
        *("id", "cause", "reason", "kind", "automatic", "occurrence", "requested", "begin", "until", "at", "state"),
        *("issued", "up", "downtime_s", "attempts", "note", "health"),
    )
    return picked(
        {**reboot, "downtime_s": _seconds(reboot.get("downtime") or None)},
        *keys,
        instants=("requested", "begin", "until", "at", "issued", "up"),
    )


def status_json(status: Record) -> Record:
    """Returns the keys of GetStatus; the pending reboot as an object of its own."""
    reboot = pending(status)
    keys = (
        *("state", "required", "required_by", "booted", "pending", "beside", "next_begin", "next_end", "next_at"),
        *(
            "scheduled",
            "scheduled_at",
            "scheduled_by",
            "last_window",
            "last_day",
            "last_week",
            "ahead",
            "per_day",
            "per_week",
            "min_uptime_s",
            "breakers",
            "ledger",
            "can",
            "kinds",
            "fleet",
            "slot",
            "slot_asked",
        ),
    )
    return picked(
        {
            **status,
            "pending": reboot_json(reboot) if reboot else None,
            "min_uptime_s": _seconds(status.get("min_uptime")),
        },
        *keys,
        instants=("booted", "next_begin", "next_end", "next_at", "scheduled_at"),
    )


def blocker_json(blocker: Record) -> Record:
    """Returns something that is in the way of a reboot."""
    return picked(blocker, "kind", "who", "why", "since", instants=("since",))


def holder_json(holder: Record) -> Record:
    """Returns a machine that holds a slot of the fleet."""
    return picked(holder, "id", "host", "since", "state", "mine", instants=("since",))


def _seconds(usec: int | None) -> float | None:
    return None if usec is None else usec / SECOND


def pending(status: Record) -> Record:
    """Returns the pending reboot's record; empty when there is none."""
    return {key.removeprefix("pending_"): value for key, value in status.items() if key.startswith("pending_")}


def history_row(reboot: Record) -> tuple[str, ...]:
    """Returns a row under HISTORY_HEADER. A reboot that did not happen stands where it would have."""
    when = next((reboot[key] for key in ("issued", "at", "begin", "requested") if reboot.get(key)), 0)
    health = f"after boot: {reboot['health']}" if reboot.get("health") else ""
    return (
        stamp(when) if when else "-",
        reboot.get("cause") or "-",
        reboot.get("reason") or "-",
        reboot.get("state") or "-",
        span(reboot["downtime"]) if reboot.get("downtime") else "-",
        "; ".join(filter(None, (reboot.get("note"), health))) or "-",
    )


def holder_row(holder: Record, now: int) -> tuple[str, ...]:
    """Returns a row under HOLDER_HEADER."""
    since = holder.get("since", 0)
    return (
        holder_name(holder),
        f"{clock(since, now)} ({relative(since, now)})" if since else "-",
        holder.get("state") or "unknown",
        "this machine" if holder.get("mine") else "",
    )


def holder_name(holder: Record) -> str:
    """Returns a host's name, or the id of one that has no name."""
    return str(holder.get("host") or holder.get("id") or "-")


def blocker_line(blocker: Record, now: int) -> str:
    """Returns "session alice: alice is logged in on tty1 (since 22:10)"."""
    name = " ".join(filter(None, (blocker.get("kind"), blocker.get("who")))) or "something"
    why, since = blocker.get("why"), blocker.get("since")
    return name + (f": {why}" if why else "") + (f" (since {clock(since, now)})" if since else "")


def pending_line(status: Record, blockers: list[Record], now: int) -> str:
    """Returns one line about a pending reboot: "reboot: announced for 03:00 (nightly)"; empty when there is none."""
    state, reboot = status.get("state"), pending(status)
    if state in CALM:
        return ""
    begin, at = reboot.get("begin", 0), reboot.get("at", 0)
    cause = f" ({reboot['cause']})" if reboot.get("cause") else ""
    if state == "announced" and at:
        return f"reboot: announced for {clock(at, now)}{cause}"
    if state != "waiting":
        how = reboot.get("note") or _MEANINGS.get(str(state), "see agentctl reboot status")
        return f"reboot: {state}{cause}: {how}"
    if begin > now:
        return f"reboot: waiting for {clock(begin, now)}{cause}"
    since = max(begin, reboot.get("requested", 0))
    text = f"reboot: waiting{f' since {clock(since, now)}' if since else ''}{cause}"
    return f"{text}: held by {', '.join(map(_holding, blockers))}" if blockers else text


def _holding(blocker: Record) -> str:
    kind = blocker.get("kind") or "something"
    return f"{blocker['who']} ({kind})" if blocker.get("who") else str(kind)


def status_facts(status: Record, blockers: list[Record], now: int) -> Facts:
    """Returns the labelled lines about reboots; a line without a label belongs to the one above it."""
    state, booted = status.get("state", ""), status.get("booted", 0)
    facts = [
        ("state", f"{state}: {_MEANINGS[state]}" if state in _MEANINGS else str(state)),
        ("booted", _moment(booted, now)),
        ("required", f"the machine asks for a reboot ({_asks(status)})" if status.get("required") else ""),
        *_pending_facts(pending(status), now),
        *_labelled("beside it", status.get("beside", [])),
        *_labelled("in the way", [blocker_line(blocker, now) for blocker in blockers]),
        ("shutdown", _scheduled(status, now)),
        ("last window", status.get("last_window", "")),
        ("next window", _window(status, now)),
        ("automatic", _limits(status)),
        ("min uptime", _min_uptime(status, now)),
        *_labelled("breaker", status.get("breakers", [])),
        ("ledger", status.get("ledger", "")),
        ("to clear", "agentctl reboot clear" if any(map(status.get, ("breakers", "ledger", "ahead"))) else ""),
        ("logind", _LOGIND.get(status.get("can", ""), "")),
        ("kinds", ", ".join(status.get("kinds", []))),
        ("fleet", _slot(status)),
    ]
    return [(label, text) for label, text in facts if text]


def _scheduled(status: Record, now: int) -> str:
    if not status.get("scheduled"):
        return ""
    by = f" by {status['scheduled_by']}" if status.get("scheduled_by") else ""
    when = _moment(status.get("scheduled_at", 0), now)
    return f"{status['scheduled']} scheduled{by} for {when} (shutdown -c cancels it)"


def _asks(status: Record) -> str:
    return str(status.get("required_by") or "/run/reboot-required")


def _labelled(label: str, lines: list[str]) -> Facts:
    return [("" if index else label, line) for index, line in enumerate(lines)]


def _moment(instant: int, now: int) -> str:
    return f"{stamp(instant)}  {relative(instant, now)}" if instant else ""


def _pending_facts(reboot: Record, now: int) -> Facts:
    if not reboot:
        return []
    begin, at = reboot.get("begin", 0), reboot.get("at", 0)
    kind = reboot.get("kind", "reboot")
    due = _moment(at, now) or (f"not before {_moment(begin, now)}" if begin > now else "when nothing is in the way")
    return [
        ("reason", reboot.get("reason", "")),
        ("cause", reboot.get("cause", "")),
        ("kind", "" if kind == "reboot" else kind),
        ("asked", _moment(reboot.get("requested", 0), now)),
        ("when", due),
        ("given up", _moment(reboot.get("until", 0), now)),
        ("note", reboot.get("note", "")),
    ]


def _window(status: Record, now: int) -> str:
    if "next_begin" not in status:
        return ""
    begin, end, at = (status.get(f"next_{key}", 0) for key in ("begin", "end", "at"))
    if not begin:
        return "none"
    till = f" to {clock(end, begin)}" if end else ""
    here = f", here at {clock(at, begin, seconds=True)}" if at else ""
    return f"{stamp(begin)}{till}{here}  {relative(at or begin, now)}"


def _limits(status: Record) -> str:
    parts = [
        f"{status.get(f'last_{unit}', 0)} of {status[f'per_{unit}']} within a {unit}"
        for unit in ("day", "week")
        if f"per_{unit}" in status
    ]
    ahead = status.get("ahead", 0)
    return ", ".join(parts) + (f" ({ahead} of a clock that was ahead)" if ahead else "")


def _min_uptime(status: Record, now: int) -> str:
    wanted, booted = status.get("min_uptime", 0), status.get("booted", 0)
    if not wanted:
        return ""
    left = booted + wanted - now if booted else 0
    return f"{format_duration(wanted)}, for another {span(left)}" if left > 0 else format_duration(wanted)


def _slot(status: Record) -> str:
    held = f"this machine holds {'a' if status.get('slot') else 'no'} slot"
    if status.get("slot_asked"):
        held = "asked for a slot, no answer yet"
    if status.get("fleet"):
        return f"{status['fleet']}: {held}"
    return held if status.get("slot") else ""  # of a fleet that was taken out of the configuration
