"""The JOB argument of commands, completed with the names of jobs."""

from collections.abc import Callable
from contextlib import closing, suppress

import click

from agentctl.cli import Session
from agentctl.client import Client, Failure
from agentctl.jobs.calls import all_jobs


def job_argument(name: str = "job", required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes the argument "job" (JOB) or "job_or_run" (JOB|RUN) of a command."""
    metavar = {"job": "JOB", "job_or_run": "JOB|RUN"}[name]
    if not required:
        metavar = f"[{metavar}]"
    return click.argument(name, required=required, metavar=metavar, shell_complete=complete_job)


def complete_job(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the names of jobs that begin like this; none without a daemon, as a shell shows no errors."""
    session = context.find_root().ensure_object(Session)
    with suppress(Failure), closing(Client.connect(session.address)) as client:
        jobs = all_jobs(client)
        return [job["name"] for job in jobs if job["name"].startswith(incomplete)]
    return []
