"""The JOB argument of commands, completed with the names of jobs."""

from collections.abc import Callable

import click

from agentctl.cli import completed
from agentctl.jobs.calls import all_jobs

complete_job = completed(lambda client: [job["name"] for job in all_jobs(client)])


def job_argument(name: str = "job", required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes the argument "job" (JOB) or "job_or_run" (JOB|RUN) of a command."""
    metavar = {"job": "JOB", "job_or_run": "JOB|RUN"}[name]
    if not required:
        metavar = f"[{metavar}]"
    return click.argument(name, required=required, metavar=metavar, shell_complete=complete_job)
