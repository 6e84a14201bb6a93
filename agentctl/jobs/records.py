"""The records of jobs and runs: as JSON, as rows of a table, as text. `now` is always an argument, in microseconds."""

import shlex

from agentctl.client import Record
from agentctl.show import picked, size
from agentctl.times import clock, relative, span, stamp
from agentd.core.quantities import SECOND, format_duration

JOB_KEYS = (
    *("name", "description", "command", "trigger", "kind", "timezone", "enabled", "adaptive", "state", "next"),
    *(
        "interval",
        "overridden",
        "fixed",
        "preference",
        "running",
        "starting",
        "queued",
        "progress",
        "last_run_id",
        "last_due",
    ),
    *("last_started", "last_ended", "last_result", "last_exit_code", "last_signal", "last_skip", "last_skip_at"),
    "unmet",
)
JOB_INSTANTS = ("next", "last_due", "last_started", "last_ended", "last_skip_at")
RUN_INSTANTS = ("due", "started", "ended")
JOB_HEADER = ("JOB", "STATE", "SCHEDULE", "NEXT", "LAST")
RUN_HEADER = ("RUN", "DUE", "STARTED", "TOOK", "RESULT", "CPU", "PEAK")


def job_json(job: Record) -> Record:
    """Returns a job with the keys of the contract; durations in microseconds, null for none; "last" is its last run."""
    last = {key: job.get(f"last_{key}") for key in ("run_id", "result", "exit_code", "started", "ended")}
    return {
        **picked(job, *JOB_KEYS, instants=JOB_INSTANTS),
        "interval": job.get("interval") or None,
        "unmet": job.get("unmet", {}),
        "last": picked(last, *last, instants=RUN_INSTANTS) if last["run_id"] else None,
    }


def run_json(run: Record) -> Record:
    """Returns a run; CPU time in seconds, peak memory in bytes."""
    usage = run.get("cpu_usec")
    return {
        **picked(run, "job", "run_id", "due", "started", "ended", "result", "exit_code", instants=RUN_INSTANTS),
        "cpu_s": None if usage is None else usage / SECOND,
        **picked(run, "peak_memory", "cause", "attempt", "state", "signal", "progress", "reason"),
    }


def past_json(run: Record) -> Record:
    """Returns a run, with the last lines of its output where agentd keeps them."""
    return {**run_json(run), "tail": run.get("tail") or None}


def change_json(change: Record) -> Record:
    """Returns the outcome of a change of a job's schedule, with all keys that agentd gave it."""
    return picked(change, *change, instants=("next",))


def job_row(job: Record, now: int) -> tuple[str, ...]:
    """Returns a row under JOB_HEADER. A star marks what a person changed at run time."""
    overridden = job.get("overridden", [])
    due = job.get("next", 0)
    return (
        job["name"],
        state(job) + (" *" if "enabled" in overridden else ""),
        schedule(job) + (" *" if _leans(job) or by_hand(job) else ""),
        f"{relative(due, now)} ({clock(due, now)})" if due else "-",
        last(job, now),
    )


def removed_row(run: Record) -> tuple[str, ...]:
    """Returns a row under JOB_HEADER for a run of a job that is not configured any more."""
    return str(run.get("job")), f"{outcome(run)} ({run.get('run_id')})", "removed", "-", "-"


def run_row(run: Record, now: int) -> tuple[str, ...]:
    """Returns a row under RUN_HEADER."""
    due, started, ended = run.get("due", 0), run.get("started", 0), run.get("ended", 0)
    known_end = ended or (now if run.get("state") == "running" else started)
    return (
        run["run_id"],
        stamp(due) if due else "-",
        clock(started, now, seconds=True) if started else "-",
        span(max(0, known_end - started)) if started else "-",
        outcome(run),
        span(run["cpu_usec"]) if run.get("cpu_usec") else "-",
        size(run["peak_memory"]) if run.get("peak_memory") else "-",
    )


def state(job: Record) -> str:
    """Returns the state of a job with its progress, other runs and what is not as expected: "running: 40% (+2 queued),
    too-long"."""
    text = str(job.get("state", ""))
    if job.get("progress") and job.get("running"):
        text += f": {job['progress']}"
    if len(job.get("running", [])) > 1:
        text += f" ({len(job['running'])} runs)"
    if job.get("queued"):
        text += f" ({job['queued']})" if text == "queued" else f" (+{job['queued']} queued)"
    return ", ".join((text, *job.get("unmet", {})))


def by_hand(job: Record) -> bool:
    """Tells whether a person set the interval in force: that of an adaptive job is changed by learning as well. An
    agentd that does not tell whether it is fixed does not learn."""
    return "interval" in job.get("overridden", []) and (not job.get("adaptive") or job.get("fixed") is not False)


def _leans(job: Record) -> bool:
    """Tells whether a person prefers an adaptive job more or less often than it would be."""
    return bool(job.get("adaptive") and job.get("preference") and not by_hand(job))


def schedule(job: Record) -> str:
    """Returns the schedule in force: an interval set by hand replaces the configured trigger, and that of an adaptive
    job stands there once it is another than the one to begin with."""
    trigger, interval = str(job.get("trigger", "")), job.get("interval", 0)
    if interval and by_hand(job):
        return f"every {format_duration(interval)}"
    moved = interval and job.get("adaptive") and f"from {format_duration(interval)} " not in trigger
    text = f"adaptive, now every {format_duration(interval)}" if moved else trigger
    return f"{text}, preference {job['preference']:+d}" if _leans(job) else text


def when(job: Record) -> str:
    """Returns in words when a job is due whose next time no clock tells: after the next boot, or after another job."""
    phrase = str(job.get("trigger", "")) if job.get("enabled") else ""
    return {"boot": phrase.replace("after boot", "after the next boot"), "after": phrase}.get(str(job.get("kind")), "")


def last(job: Record, now: int) -> str:
    """Returns the result of the last run, and when that run ended."""
    if not job.get("last_result"):
        return "-"
    text = outcome({key: job.get(f"last_{key}") for key in ("result", "exit_code", "signal")})
    ended = job.get("last_ended", 0)
    return f"{text}, {relative(ended, now)}" if ended else text


def outcome(run: Record) -> str:
    """Returns a run's result with its number or name: "exit-code 3", "signal SIGSEGV"; its state until it ends."""
    result = run.get("result") or run.get("state", "")
    if result == "exit-code" and run.get("exit_code") is not None:
        return f"exit-code {run['exit_code']}"
    if result in ("signal", "core-dump") and run.get("signal"):
        return f"{result} {run['signal']}"
    if result == "running" and run.get("progress"):
        return f"running: {run['progress']}"
    return str(result)


def changes(jobs: list[Record]) -> str:
    """Returns the footnote to the stars of job_row; empty when there are none."""
    names = [job["name"] for job in jobs if "enabled" in job.get("overridden", []) or by_hand(job) or _leans(job)]
    if not names:
        return ""
    return f"* set by you; agentctl reset {shlex.quote(names[0]) if len(names) == 1 else 'JOB'} undoes it"


def job_facts(job: Record, due: list[int], now: int, learning: str = "") -> list[tuple[str, str]]:
    """Returns the labelled lines about one job; `learning` is what learning does with it."""
    overridden, zone = job.get("overridden", []), str(job.get("timezone", ""))
    undo = f" (set by you; agentctl reset {shlex.quote(job['name'])} undoes it)"
    facts = [
        ("about", str(job.get("description", ""))),
        ("state", state(job) + (undo if "enabled" in overridden else "")),
        ("command", shlex.join(job.get("command", []))),
        ("schedule", schedule(job) + (undo if by_hand(job) else "")),
        ("configured", str(job.get("trigger", "")) if schedule(job) != job.get("trigger") else ""),
        ("timezone", zone),
        ("preference", preference(job)),
        ("learning", learning),
        *(("" if index else "next", f"{stamp(at, zone)}  {relative(at, now)}") for index, at in enumerate(due)),
        ("running", ", ".join(job.get("running", []))),
        ("last", last(job, now)),
        *job.get("unmet", {}).items(),
    ]
    if job.get("last_skip"):
        when = job.get("last_skip_at", 0)
        facts.append(("skipped", f"{job['last_skip']}" + (f" ({relative(when, now)})" if when else "")))
    return [(label, text) for label, text in facts if text]


def preference(job: Record) -> str:
    """Returns by how many steps a person wants a job more or less often, in words; empty for none."""
    balance = job.get("preference", 0)
    if not balance:
        return ""
    word = "more often" if balance > 0 else "less often"
    if job.get("adaptive"):
        return f"{balance:+d}, {word} (agentctl prefer {shlex.quote(job['name'])} 0 takes it back)"
    return f"{word}, asked {'once' if abs(balance) == 1 else f'{abs(balance)} times'}"


def ending(run: Record) -> str:
    """Returns one line about an ended run: "backup.12: exit-code 3 after 1.2s: the disk is full"."""
    took = max(0, run.get("ended", 0) - run.get("started", 0)) if run.get("started") else 0
    after = f" after {span(took)}" if run.get("started") else ""
    reason = f": {run['reason']}" if run.get("reason") else ""
    return f"{run.get('run_id')}: {outcome(run)}{after}{reason}"
