"""The command that measures how the machine fares under its scheduler."""

import contextlib
import os
import sys
import time

import click

from agentctl import times
from agentctl.cli import command, parsed
from agentctl.client import Client, Failure, Record
from agentctl.schedulers import calls, figures
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table
from agentd.core.quantities import DAY, SECOND

POLL_SECONDS = 1.0
GROUPS = "/sys/fs/cgroup"
_span = parsed(times.parse_positive)


def _groups(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the control groups of this machine whose paths begin so."""
    above, slash, begun = incomplete.rpartition("/")
    with contextlib.suppress(OSError, ValueError), os.scandir(f"{GROUPS}/{above}") as entries:
        names = sorted(one.name for one in entries if one.is_dir() and one.name.startswith(begun))
        return [f"{above}{slash}{name}" for name in names]
    return []


@command("monitor", context_settings={"allow_interspersed_args": False})
@click.option(
    "--interval", metavar="DURATION", callback=_span, help="The time between two readings: 1s, the default, to 1min."
)
@click.option(
    "--for",
    "span",
    metavar="DURATION",
    callback=_span,
    help="For how long, at most 1d; by default 10min, or as long as COMMAND runs.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="PATH",
    shell_complete=_groups,
    help="A control group to look at, such as system.slice/ssh.service; may be given again.",
)
@click.option("--background", is_flag=True, help="Begin, and return at once.")
@click.option("--status", is_flag=True, help="Show what was measured, or is being measured.")
@click.option("--stop", is_flag=True, help="End what was begun, and show it.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def monitor(
    session: Session,
    interval: int | None,
    span: int | None,
    groups: tuple[str, ...],
    background: bool,
    status: bool,
    stop: bool,
    program: tuple[str, ...],
) -> None:
    """Measures how the machine fares, under each scheduler that runs meanwhile.

    Until its time is over, Ctrl-C, or the end of COMMAND: then mean, 95th percentile and maximum of each figure are
    shown. With COMMAND stdout carries its output alone (with --json: the figures alone), the rest goes to stderr; the
    exit status is the command's.

    \b
    Examples:
      agentctl sched monitor --for 30s
      agentctl sched monitor --group system.slice/postgresql.service
      agentctl sched monitor --json -- make -j16 | jq '.summaries[].figures.run_delay.p95'
      agentctl sched monitor --background --for 8h; agentctl sched monitor --stop
    """
    if sum((background, status, stop, bool(program))) > 1:
        raise click.UsageError("--background, --status, --stop and COMMAND exclude each other")
    if (status or stop) and (interval or span or groups):
        raise click.UsageError("--interval, --for and --group are for a session that begins")
    client = session.client
    if status:
        _show(session)
    elif stop:
        client.call(calls.STOP_MONITOR)
        _show(session)
    else:
        span = span or (DAY if program else None)
        wanted = {"interval": interval, "for": span, "groups": list(groups) or None, "keep": background or None}
        (begun,) = client.call(calls.START_MONITOR, wanted)
        if background:
            _tell(session, begun)
        elif program:
            _measure_command(session, begun, program)
        else:
            _wait(client, begun)
            _show(session, begun)


def _tell(session: Session, begun: Record) -> None:
    if session.json:
        print_json(figures.session_json(begun, [], []))
    else:
        print_line(figures.headline(begun, now()))
        print_line(
            "to see the figures: agentctl sched monitor --status; to end the session: agentctl sched monitor --stop"
        )


def _measure_command(session: Session, begun: Record, program: tuple[str, ...]) -> None:
    """Measures while a command runs, and ends with its exit status. Raises Failure."""
    from agentctl.schedulers import programs

    try:
        code = programs.ended(program, to_stderr=session.json)
    finally:
        session.client.call(calls.STOP_MONITOR)
    with contextlib.nullcontext() if session.json else contextlib.redirect_stdout(sys.stderr):
        _show(session, begun)
    click.get_current_context().exit(code)


def _wait(client: Client, begun: Record) -> None:
    """Returns once a session is over, after Ctrl-C too, and tells on a terminal how it goes. Raises Failure."""
    shows = sys.stderr.isatty()
    try:
        if not shows:
            click.echo(f"{figures.headline(begun, now())}; Ctrl-C ends it", err=True)
        while True:
            found = client.call(calls.GET_MONITOR)[0]
            if not found.get("on") or found.get("since") != begun.get("since"):
                break
            if shows:
                click.echo(f"\r{figures.progress(found, now())}; Ctrl-C ends it\x1b[K", err=True, nl=False)
            left = (found.get("until", 0) - now()) / SECOND
            time.sleep(min(POLL_SECONDS, max(left, POLL_SECONDS / 20)))
    except KeyboardInterrupt:
        client.call(calls.STOP_MONITOR)
    if shows:
        click.echo("\r\x1b[K", err=True, nl=False)


def _show(session: Session, begun: Record | None = None) -> None:
    """Prints what was measured, in the session that was `begun` where that is said. Raises Failure."""
    found, summaries, measured = session.client.call(calls.GET_MONITOR)
    if begun is not None and found.get("since") != begun.get("since"):
        raise Failure("the figures are lost: agentd was restarted meanwhile, or somebody began to measure anew")
    if session.json:
        print_json(figures.session_json(found, summaries, measured))
        return
    print_line(figures.headline(found, now()), bold=True)
    for remark in figures.remarks(found, summaries):
        print_line(remark, "yellow")
    for number, summary in enumerate(summaries):
        own = [one for one in measured if one.get("summary") == number]
        click.echo()
        print_line(figures.summary_line(summary, now()), bold=True)
        print_table(figures.HEADER, [figures.row(one) for one in own if "mean" in one])
        for line in figures.missing_lines(own):
            print_line(line, "yellow")
        if summary.get("events"):
            print_line(figures.events_line(summary["events"]))
