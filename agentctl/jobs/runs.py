"""The commands about runs: starting, stopping, watching and looking back."""

import os
import sys
import time
from collections.abc import Iterator

import click

from agentctl import times
from agentctl.cli import Session, command, job_argument, now, parsed
from agentctl.client import Client, ExitCode, Failure
from agentctl.jobs import records
from agentctl.show import print_json, print_line, print_table

POLL_SECONDS = 0.2
MOST_RUNS = 10_000  # the contract's limit for ListRuns


@command("run")
@job_argument()
@click.option("--wait", is_flag=True, help="Wait for the run's end; exit 6 unless it is a success.")
@click.option("--follow", is_flag=True, help="Print the output while it runs, then as --wait.")
def run(session: Session, job: str, wait: bool, follow: bool) -> None:
    """Starts JOB now and prints the id of the run.

    Also when the job is disabled; the id names a queued run as well.
    With --follow stdout carries the job's output alone (with --json: the result alone), the rest goes to stderr.

    \b
    Examples:
      agentctl run backup
      agentctl run backup --wait && poweroff
      agentctl run backup --follow
    """
    client = session.client
    # Listen before the start: a short run is over before its start is answered.
    signals = client.subscribe("JobFinished")
    (run_id,) = client.call("RunJob", job, {})
    if not session.json:
        click.echo(run_id, err=follow)
    if not (wait or follow):
        if session.json:
            print_json({"run_id": run_id})
        return
    try:
        if follow:
            _copy(_output(client, run_id, to_end=True), to_stderr=session.json)
        record = client.wait_finished(signals, run_id)
    except KeyboardInterrupt:
        click.echo(f"\n{run_id} goes on without you; to end it: agentctl stop {run_id}", err=True)
        raise
    if session.json:
        print_json(records.run_json(record))
    else:
        click.echo(records.ending(record), err=follow)
    if record.get("result") != "success":
        click.get_current_context().exit(ExitCode.RUN_FAILED)


@command("stop")
@job_argument("job_or_run")
def stop(session: Session, job_or_run: str) -> None:
    """Stops the runs of a JOB, or one RUN.

    What is queued and what was to be tried again is taken back.

    \b
    Examples:
      agentctl stop backup
      agentctl stop backup.17
    """
    (run_ids,) = session.client.call("StopJob", job_or_run)
    if session.json:
        print_json({"run_ids": run_ids})
    elif run_ids:
        print_line(f"stopping {', '.join(run_ids)}")
    else:
        print_line(f"{job_or_run} is not running: there is nothing to stop")


@command("log")
@job_argument("job_or_run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
def log(session: Session, job_or_run: str, follow: bool) -> None:
    """Prints the output of a RUN, or of the newest run of a JOB.

    Byte for byte as the job wrote it; installed, as the journal has it, for those who may read that.

    \b
    Examples:
      agentctl log backup
      agentctl log -f backup
      agentctl log backup.17 | less
    """
    run_id = _find_run(session.client, job_or_run)
    output = _output(session.client, run_id, to_end=follow)
    if session.json:
        print_json({"run_id": run_id, "output": b"".join(output).decode(errors="replace")})
    elif not _copy(output):
        click.echo(f"{run_id} has written nothing", err=True)


def _find_run(client: Client, name: str) -> str:
    """The newest run of the job of this name that has begun, or else the run of this id."""
    runs = [run for run in client.runs(job=name, limit=50) if run.get("started")]
    runs = runs or client.runs(run_id=name)
    if runs:
        return str(runs[0]["run_id"])
    client.call("GetJob", name)  # its error suggests the nearest name
    raise Failure(f"{name} has not run yet: start it with: agentctl run {name}", ExitCode.NO_SUCH)


def _output(client: Client, run_id: str, to_end: bool) -> Iterator[bytes]:
    """The output of a run, piece by piece: up to now, or to the run's end."""
    if client.daemon().get("Mode") == "system":
        from agentctl.jobs import journal

        yield from journal.output(client, run_id, to_end)
        return
    offset, finished = 0, False
    while not finished:
        data, offset, finished = client.call("ReadOutput", run_id, offset)
        yield data
        if not data and not finished:
            if not to_end:
                return
            time.sleep(POLL_SECONDS)


def _copy(pieces: Iterator[bytes], to_stderr: bool = False) -> int:
    """Writes bytes as they are and returns how many there were."""
    stream = (sys.stderr if to_stderr else sys.stdout).buffer
    written = 0
    for piece in pieces:
        stream.write(piece)
        stream.flush()
        written += len(piece)
    return written


@command("history")
@job_argument(required=False)
@click.option("-n", "count", type=click.IntRange(1, MOST_RUNS), default=20, show_default=True, help="How many.")
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
        (decided,) = client.call("ListDecisions", {"job": job, "limit": count})
        found = [decision for decision in decided if decision.get("at", 0) >= (since or 0)]
    else:
        found = client.runs(job=job, failed=failed or None, since=since, limit=count)
    if job and not found:
        client.call("GetJob", job)  # the past of an unknown job is an error, not empty
    if session.json:
        as_json = records.decision_json if decisions else records.run_json
        print_json([as_json(record) for record in found])
    elif not found:
        click.echo("nothing found")
    elif decisions:
        print_table(records.DECISION_HEADER, [records.decision_row(decision, now()) for decision in found])
    else:
        print_table(records.RUN_HEADER, [records.run_row(run, now()) for run in found])


@command("progress")
@click.argument("text", nargs=-1, required=True)
def progress(session: Session, text: tuple[str, ...]) -> None:
    """Tells agentd how far a job is; for use inside the job.

    TEXT is one line of at most 200 characters; agentctl status shows it.

    \b
    Example:
      agentctl progress "40%: copying /home"
    """
    run_id = os.environ.get("AGENTD_RUN_ID")
    if not run_id:
        sentence = "progress works only inside a job that agentd started: AGENTD_RUN_ID is not set"
        raise Failure(sentence, ExitCode.USAGE)
    session.client.call("ReportProgress", run_id, " ".join(text))
    if session.json:
        print_json({"run_id": run_id, "progress": " ".join(text)})
