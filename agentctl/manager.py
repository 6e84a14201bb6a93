"""The daemon itself: its calls, its records, and the commands about it."""

import os
import sys

import click

from agentctl import __version__
from agentctl.cli import Session, command, now
from agentctl.client import Call, ExitCode, Failure, Record
from agentctl.show import picked, print_json, print_line
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


@command("reload")
def reload(session: Session) -> None:
    """Reads the configuration again and prints what changed.

    A configuration with errors changes nothing: the errors are printed, and the exit status is 2.

    \b
    Example:
      agentctl reload
    """
    before = session.client.properties(MANAGER).get("ConfigurationLoadedUSec", 0)
    (changes,) = session.client.call(RELOAD)
    if session.json:
        print_json({"changes": changes})
    else:
        since = f" since agentd read the configuration by itself at {clock(before, now())}" if before else ""
        for change in changes or [f"nothing changed{since}"]:
            print_line(change)


@command("check")
@click.argument("file", required=False, type=click.Path())
def check(session: Session, file: str | None) -> None:
    """Checks the configuration, or one FILE, for errors.

    The check needs no running agentd. The exit status is 2 when there are errors.

    \b
    Examples:
      agentctl check
      agentctl check ./agentd.yaml
    """
    import subprocess
    from pathlib import Path

    # -P and the path: the agentd next to this agentctl, never one that lies about in the current folder.
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))
    arguments = [sys.executable, "-P", "-m", "agentd", "--check"]
    arguments += [file] if file else []
    arguments += ["--json"] if session.json else []
    ended = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, check=False)
    click.get_current_context().exit(ended.returncode if ended.returncode >= 0 else ExitCode.ERROR)


@command("version")
def version(session: Session) -> None:
    """Shows the versions of agentctl and of the running agentd.

    \b
    Example:
      agentctl version
    """
    try:
        daemon = session.client.properties(MANAGER)
    except Failure as failed:
        if failed.code != ExitCode.NOT_RUNNING:
            raise
        daemon = {}
    if session.json:
        print_json({"client": __version__, "daemon": daemon.get("Version")})
        return
    print_line(f"agentctl {__version__}")
    print_line(f"agentd {daemon['Version']} ({daemon.get('Mode')})" if daemon else "agentd is not running")


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Prints the completion script for a shell.

    With it a shell completes commands, options and the names of jobs.

    \b
    Examples:
      source <(agentctl completion bash)
      agentctl completion fish > ~/.config/fish/completions/agentctl.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise Failure(f"the installed click does not know {shell}: use bash, or a newer click")
    agentctl = click.get_current_context().find_root().command
    script = complete(agentctl, {}, "agentctl", "_AGENTCTL_COMPLETE").source()
    if session.json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
