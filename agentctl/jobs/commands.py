"""The commands about jobs: their state, their schedule and its changes."""

import click

from agentctl import times
from agentctl.cli import command, count_option, parsed
from agentctl.client import Call
from agentctl.jobs import calls, records
from agentctl.jobs.arguments import job_argument
from agentctl.jobs.status import status as show
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table


@command("status")
@job_argument(required=False)
def status(session: Session, job: str | None = None) -> None:
    """Shows all jobs, or one JOB in detail.

    Above the table stand the rules that fire, and a reboot that is pending. The table tells which jobs run and how far
    each is, when it is due next, and how its last run went. A star marks a setting that you changed, not an interval
    that agentd learnt.

    \b
    Examples:
      agentctl status
      agentctl status backup
      agentctl status --json | jq '.jobs[] | select(.state == "running").name'
    """
    show(session, job)


def _change(session: Session, call: Call, *args: object) -> None:
    """Calls a method that changes a job's schedule and prints the outcome."""
    (change,) = session.client.call(call, *args)
    if session.json:
        print_json(records.change_json(change))
    else:
        print_line(str(change.get("note") or "done"))


@command("increase")
@job_argument()
def increase(session: Session, job: str) -> None:
    """Runs JOB more often from now on.

    The interval gets shorter by one bounded step, remembered as your preference.

    \b
    Example:
      agentctl increase feed
    """
    _change(session, calls.INCREASE, job)


@command("decrease")
@job_argument()
def decrease(session: Session, job: str) -> None:
    """Runs JOB less often from now on.

    The interval gets longer by one bounded step, remembered as your preference.

    \b
    Example:
      agentctl decrease feed
    """
    _change(session, calls.DECREASE, job)


@command("enable")
@job_argument()
def enable(session: Session, job: str) -> None:
    """Lets JOB run by its schedule.

    The configuration may say otherwise; agentctl reset undoes the change.

    \b
    Example:
      agentctl enable feed
    """
    _change(session, calls.SET_ENABLED, job, True)


@command("disable")
@job_argument()
def disable(session: Session, job: str) -> None:
    """Keeps JOB from running by its schedule.

    The change outlives a restart of agentd; agentctl reset undoes it.

    \b
    Example:
      agentctl disable feed
    """
    _change(session, calls.SET_ENABLED, job, False)


def _presets(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [preset for preset in times.PRESETS if preset.startswith(incomplete)]


@command("set")
@job_argument()
@click.option(
    "--every",
    required=True,
    metavar="DURATION",
    callback=parsed(times.parse_positive),
    shell_complete=_presets,
    help=f"The interval: 15s, 5min, 2h, 1d, 1w, '1h 30min', or {', '.join(times.PRESETS)}.",
)
def set_interval(session: Session, job: str, every: int) -> None:
    """Runs JOB at a fixed interval.

    The interval takes the place of the schedule and outlives a restart of agentd; agentctl reset undoes it.

    \b
    Examples:
      agentctl set feed --every 2h
      agentctl set feed --every "1h 30min"
    """
    _change(session, calls.SET_INTERVAL, job, every)


@command("reset")
@job_argument()
def reset(session: Session, job: str) -> None:
    """Makes JOB what the configuration says again.

    Reset undoes increase, decrease, set, enable and disable.

    \b
    Example:
      agentctl reset feed
    """
    _change(session, calls.RESET, job)


@command("next")
@job_argument(required=False)
@count_option(10, most=1000)
@click.option(
    "--at",
    "start",
    metavar="DATE",
    callback=parsed(lambda text: times.parse_instant(text, now())),
    help="Begin at DATE instead of now: 2026-10-25, '2026-10-25 01:30', tomorrow.",
)
def next_times(session: Session, job: str | None, count: int, start: int | None) -> None:
    """Shows when jobs, or one JOB, will be due.

    The times have their UTC offset, so that a change of daylight saving time shows. Those of one JOB are in its own
    time zone, those of all jobs in local time.

    \b
    Examples:
      agentctl next
      agentctl next backup -n 3 --at 2026-10-25
    """
    (due,) = session.client.call(calls.NEXT_TIMES, job or "", start or 0, count)
    at = now()
    if session.json:
        print_json([{"job": name, "due": times.iso(at)} for name, at in due])
    elif due:
        zone = session.client.call(calls.GET_JOB, job)[0].get("timezone", "") if job else ""
        print_table(("DUE", "IN", "JOB"), [(times.stamp(t, zone), times.relative(t, at), name) for name, t in due])
    elif job:
        (found,) = session.client.call(calls.GET_JOB, job)
        print_line(f"{job} is never due by itself" if (when := records.when(found)) == "" else f"{job} is due {when}")
    else:
        print_line("no job is ever due by itself")
