"""The start of a job that nobody waits for, as scripts do it. Nothing here needs click."""

from agentctl.jobs import calls
from agentctl.session import Session
from agentctl.show import echo, print_json


def start(session: Session, job: str) -> None:
    """Starts JOB now and prints the id of the run. Raises Failure."""
    (run_id,) = session.client.call(calls.RUN_JOB, job, {})
    if session.json:
        print_json({"run_id": run_id})
    else:
        echo(run_id)
