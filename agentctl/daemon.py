"""The daemon itself: its calls, and its records as JSON, as rows of a table and as text."""

from agentctl.client import Call, Record
from agentctl.show import picked
from agentctl.times import clock, span
from agentd.core.quantities import SECOND

MANAGER = "org.agentd1.Manager"

_DECISIONS = {"part": "s", "about": "s", "run_id": "s", "before": "t", "limit": "u"}

RELOAD = Call(MANAGER, "Reload")
LIST_DECISIONS = Call(MANAGER, "ListDecisions", "a{sv}", free=True, options=_DECISIONS)

DECISION_HEADER = ("AT", "ABOUT", "WHAT", "WHY")
_DAEMON_KEYS = {
    "version": "Version",
    "mode": "Mode",
    "state": "State",
    "started": "StartedUSec",
    "configuration_files": "ConfigurationFiles",
    "configuration_loaded": "ConfigurationLoadedUSec",
    "configuration_error": "ConfigurationError",
    "timezone": "TimeZone",
    "warnings": "Warnings",
    "state_directory": "StateDirectory",
}


def daemon_json(daemon: Record) -> Record:
    """Returns the daemon's properties under lower-case names."""
    properties = {key: daemon.get(name) for key, name in _DAEMON_KEYS.items()}
    return picked(properties, *_DAEMON_KEYS, instants=("started", "configuration_loaded"))


def headline(daemon: Record, jobs: list[Record], now: int) -> str:
    """Returns "agentd 0.1.0 (standalone), running since Sat 08:00 (2h 3min), 12 jobs, 1 running, time zone
    Europe/Berlin"."""
    running = sum(len(job.get("running", [])) for job in jobs)
    started = daemon.get("StartedUSec", 0)
    since = f"running since {clock(started, now)} ({span(max(0, now - started) // SECOND * SECOND)})"
    counted = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
    zone = f", time zone {daemon['TimeZone']}" if daemon.get("TimeZone") else ""
    return f"agentd {daemon.get('Version')} ({daemon.get('Mode')}), {since}, {counted}, {running} running{zone}"


def troubles(daemon: Record, now: int) -> list[tuple[str, str]]:
    """Returns the lines that a person should read before anything else, each with its colour."""
    lines = []
    if daemon.get("State") == "draining":
        text = "agentd is draining: nothing new starts; after the running jobs agentd ends, or the machine reboots"
        lines.append((text, "yellow"))
    if daemon.get("State") == "paused":
        lines.append(("the jobs are paused by a rule that fires: nothing new starts until it is over", "yellow"))
    if daemon.get("ConfigurationError"):
        loaded = daemon.get("ConfigurationLoadedUSec", 0)
        in_force = f"that of {clock(loaded, now)}" if loaded else "the one before"
        lines.append((f"configuration error: the last reload was refused, {in_force} stays in force:", "red"))
        lines += [(f"  {line}", "red") for line in daemon["ConfigurationError"].splitlines()]
    return lines + [(f"warning: {warning}", "yellow") for warning in daemon.get("Warnings", [])]


def decision_json(decision: Record) -> Record:
    """Returns a decision for JSON; "job" is empty where it is about no job."""
    job = decision.get("about") if decision.get("part") == "jobs" else ""
    return picked({**decision, "job": job}, "at", "kind", "job", "run_id", "reason", "part", "about", instants=("at",))


def decision_row(decision: Record, now: int) -> tuple[str, ...]:
    """Returns a row under DECISION_HEADER: a run, a job, or another part with what of it the decision is about."""
    part, about = decision.get("part", ""), decision.get("about", "")
    if part != "jobs" or not about:
        about = f"{part} {about}".strip()
    return (
        clock(decision.get("at", 0), now, seconds=True),
        decision.get("run_id") or about or "-",
        decision.get("kind", ""),
        decision.get("reason", ""),
    )
