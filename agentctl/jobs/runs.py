"""The commands about runs: starting, stopping, watching and looking back."""

import os
import time
from collections import deque
from typing import Any

import click

from agentctl import daemon, times
from agentctl.cli import MOST_RECORDS, command, count_option, listed, parsed
from agentctl.client import Client, ExitCode, Failure, Record, safe
from agentctl.jobs import calls, output, records
from agentctl.jobs.arguments import job_argument
from agentctl.jobs.start import start
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table

FIRST_LOOK = 1.0
"""Seconds after which `run --wait` asks for the first time what its run is doing."""


@command("run")
@job_argument()
@click.option("--wait", is_flag=True, help="Wait for the end of the last attempt; exit 6 unless it is a success.")
@click.option("--follow", is_flag=True, help="Print the output while it runs, then as --wait.")
@click.option("--raw", is_flag=True, help="With --follow: leave bytes as they are on a terminal, too.")
def run(session: Session, job: str, wait: bool, follow: bool, raw: bool) -> None:
    """Starts JOB now and prints the id of the run.

    A disabled JOB runs as well, and a run that has to wait in the queue has its id already.
    With --follow stdout carries the job's output alone (with --json: the result alone), the rest goes to stderr.
    A run that fails and is tried again is over when its last attempt is.

    \b
    Examples:
      agentctl run backup
      agentctl run backup --wait && poweroff
      agentctl run backup --follow
    """
    if not (wait or follow):
        start(session, job)
        return
    client = session.client
    # Listen before the start: a short run is over before its start is answered.
    signals = client.subscribe(calls.JOBS, "JobFinished", "sssa{sv}")
    (run_id,) = client.call(calls.RUN_JOB, job, {})
    if not session.json:
        click.echo(run_id, err=follow)
    try:
        while True:
            if follow:
                output.copy(output.read(client, run_id, to_end=True), to_stderr=session.json, raw=raw)
            record = wait_finished(client, signals, run_id)
            retry = _retry_of(client, record)
            if retry is None:
                break
            run_id = retry["run_id"]
            for line in (records.ending(record), f"{run_id}: {retry.get('reason')}"):
                click.echo(safe(line), err=True)
    except KeyboardInterrupt:
        click.echo(f"\n{run_id} goes on without you; to end it: agentctl stop {run_id}", err=True)
        raise
    if session.json:
        print_json(records.run_json(record))
    else:
        click.echo(safe(records.ending(record)), err=follow)
    if record.get("result") != "success":
        click.get_current_context().exit(ExitCode.RUN_FAILED)


def wait_finished(client: Client, signals: deque[Any], run_id: str, patience: float = 5.0) -> Record:
    """Returns the record of a run once the run has ended; `signals` collects JobFinished since before its start.

    After each `patience` seconds agentctl asks for the run itself: a daemon that was restarted in the meantime may have
    told nobody of the end. Each reason for which the run has not begun is told once, on stderr. Raises Failure.
    """
    told = {""}
    look_at = time.monotonic() + min(FIRST_LOOK, patience)
    while True:
        left = look_at - time.monotonic()
        signal = client.receive(signals, left) if left > 0 else None
        if signal is None:
            (runs,) = client.call(calls.LIST_RUNS, {"run_id": run_id})
            for run in runs:
                if run.get("state") == "ended":
                    return dict(run)
                if (reason := str(run.get("waits", ""))) not in told:
                    told.add(reason)
                    click.echo(f"{run_id} waits: {safe(reason)}", err=True)
            look_at = time.monotonic() + patience
            continue
        _, finished, _, run = signal.values
        if finished == run_id:
            return dict(run)


def _retry_of(client: Client, ended: Record) -> Record | None:
    """Returns the attempt that comes after a run that failed, where one comes, or has come."""
    if ended.get("result") == "success":
        return None
    (runs,) = client.call(calls.LIST_RUNS, {"job": ended.get("job"), "limit": 50})
    for run in reversed(runs):
        of_it = run.get("cause") == "retry" and run.get("due") == ended.get("due")
        if of_it and run.get("attempt", 1) == ended.get("attempt", 1) + 1:
            return dict(run)
    return None


@command("stop")
@job_argument("job_or_run")
def stop(session: Session, job_or_run: str) -> None:
    """Stops the runs of a JOB, or one RUN.

    Queued runs and retries that are due later are taken back.

    \b
    Examples:
      agentctl stop backup
      agentctl stop backup.17
    """
    (run_ids,) = session.client.call(calls.STOP_JOB, job_or_run)
    if session.json:
        print_json({"run_ids": run_ids})
    elif run_ids:
        print_line(f"stopping {', '.join(run_ids)}")
    else:
        print_line(f"{job_or_run} is not running: there is nothing to stop")


@command("log")
@job_argument("job_or_run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--raw", is_flag=True, help="Leave bytes as they are on a terminal, too.")
def log(session: Session, job_or_run: str, follow: bool, raw: bool) -> None:
    """Prints the output of a RUN, or of the newest run of a JOB.

    Into pipes and files the output goes byte for byte as the job wrote it; on a terminal all but newlines, tabs and
    colours is shown as text, such as \\x1b. With an installed agentd the output comes from the journal, for those who
    may read that; else, of one beyond its limit, the beginning is printed and then the last lines.

    \b
    Examples:
      agentctl log backup
      agentctl log -f backup
      agentctl log backup.17 | less
    """
    run_id = _find_run(session.client, job_or_run)
    pieces = output.read(session.client, run_id, to_end=follow)
    if session.json:
        print_json({"run_id": run_id, "output": b"".join(pieces).decode(errors="replace")})
    elif not output.copy(pieces, raw=raw):
        click.echo(f"{run_id} has written nothing", err=True)


def _find_run(client: Client, name: str) -> str:
    """Returns the id of the newest run that has begun of the job of this name, or else this id where a run has it.

    Raises Failure where there is neither.
    """
    (runs,) = client.call(calls.LIST_RUNS, {"job": name, "limit": 50})
    found = [run for run in runs if run.get("started")]
    if not found:
        (found,) = client.call(calls.LIST_RUNS, {"run_id": name})
    if found:
        return str(found[0]["run_id"])
    job, _, number = name.rpartition(".")
    (known,) = client.call(calls.LIST_RUNS, {"job": job, "limit": 1}) if job and number.isdecimal() else ([],)
    if known:
        raise Failure(f"there is no run {name} (agentctl history {job} lists those that are known)", ExitCode.NO_SUCH)
    client.call(calls.GET_JOB, name)  # its error suggests the nearest name
    raise Failure(f"{name} has not run yet: start it with: agentctl run {name}", ExitCode.NO_SUCH)


@command("history")
@job_argument(required=False)
@count_option(20, most=MOST_RECORDS)
@click.option(
    "--since",
    metavar="DATE|DURATION",
    callback=parsed(lambda text: times.parse_since(text, now())),
    help="Only what happened since then: 2h, 1d, 2026-10-25, yesterday.",
)
@click.option("--failed", is_flag=True, help="Only runs that failed.")
@click.option("--decisions", is_flag=True, help="What agentd decided and why, instead of runs.")
def history(session: Session, job: str | None, count: int, since: int | None, failed: bool, decisions: bool) -> None:
    """Shows past runs of all jobs or one JOB, newest first.

    \b
    Examples:
      agentctl history backup -n 5
      agentctl history --failed --since 1d
      agentctl history --decisions backup
    """
    if decisions and failed:
        raise click.UsageError("--failed selects runs and does not go with --decisions")
    client = session.client
    if decisions:
        found = [decision for decision in _decisions(client, job, count) if decision.get("at", 0) >= (since or 0)]
    else:
        wanted = {"job": job, "failed": failed or None, "since": since, "tail": session.json or None}
        found = listed(client, calls.LIST_RUNS, count, lambda run: int(run["run_id"].rpartition(".")[2]), **wanted)
    if job and not found:
        client.call(calls.GET_JOB, job)  # the past of an unknown job is an error, not empty
    if session.json:
        as_json = daemon.decision_json if decisions else records.past_json
        print_json([as_json(record) for record in found])
    elif not found:
        click.echo("nothing found")
    elif decisions:
        print_table(daemon.DECISION_HEADER, [daemon.decision_row(decision, now()) for decision in found])
    else:
        print_table(records.RUN_HEADER, [records.run_row(run, now()) for run in found])


def _decisions(client: Client, job: str | None, limit: int) -> list[Record]:
    """Returns the newest decisions of all parts, or those about one job, newest first. Raises Failure."""
    about = {"part": "jobs", "about": job} if job else {}
    try:
        return listed(client, daemon.LIST_DECISIONS, limit, lambda decision: decision.get("seq"), **about)
    except Failure as failed:
        if failed.error != "UnknownMethod":
            raise
        # An older agentd: its decisions name no part, and only those about reboots are of the kind "reboot".
        (older,) = client.call(calls.LIST_DECISIONS, {"job": job, "limit": limit})
        part = {"reboot": "reboots"}
        return [{**one, "part": part.get(one.get("kind"), "jobs"), "about": one.get("job", "")} for one in older]


@command("progress")
@click.argument("text", nargs=-1)
@click.option("--tool", metavar="NAME", help="The tool that the run uses for it, such as web-search.")
@click.option("--changed", is_flag=True, help="The run found what it looked for: it was of use (useful: reported).")
def progress(session: Session, text: tuple[str, ...], tool: str | None, changed: bool) -> None:
    """Tells agentd how far a job is; for use inside the job.

    TEXT is one line of at most 200 characters; agentctl status shows it. With --tool people may be told of the use of a
    tool, the event "tool", and of no other progress. A job whose setting useful is "reported" says by --changed that
    its run was of use, so that agentd learns how often the job should run.

    \b
    Examples:
      agentctl progress "40%: copying /home"
      agentctl progress --tool web-search "looking for the date of the exam"
      agentctl progress --changed
      agentctl progress --changed "3 new articles"
    """
    if not text and not changed and tool is None:
        raise click.UsageError("give a TEXT, or --changed, or both; or --tool and the name of a tool")
    run_id = os.environ.get("AGENTD_RUN_ID")
    if not run_id:
        sentence = "progress works only inside a job that agentd started: AGENTD_RUN_ID is not set"
        raise Failure(sentence, ExitCode.USAGE)
    if changed:
        session.client.call(calls.REPORT_CHANGE, run_id)
    if tool is not None:
        session.client.call(calls.REPORT, run_id, " ".join(text), {"tool": tool})
    elif text:
        session.client.call(calls.REPORT_PROGRESS, run_id, " ".join(text))
    if session.json:
        print_json({"run_id": run_id, "progress": " ".join(text) or None, "tool": tool, "changed": changed})
