"""The commands about what agentd has learnt of its jobs."""

import os
import sys

import click

from agentctl.cli import Commands, address_option, command, json_option
from agentctl.client import ExitCode
from agentctl.learning.listing import print_learners
from agentctl.session import Session


@click.group("learning", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def learning(context: click.Context) -> None:
    """Shows what agentd has learnt of each job, and tries it on old events.

    Without a command the adaptive jobs are listed, with what learning brought: what their runs cost and how old the
    news was, against the configured interval. The figures are estimates.

    \b
    Examples:
      agentctl learning
      agentctl learning --json | jq .total
      agentctl learning simulate --events deploys.log
    """
    if context.invoked_subcommand is None:
        print_learners(context.ensure_object(Session))


@command("simulate", learning)
@click.option(
    "--events",
    "files",
    multiple=True,
    required=True,
    type=click.Path(allow_dash=True),
    metavar="FILE...",
    help="The times of events, one a line. May be given again.",
)
@click.argument("more", nargs=-1, type=click.Path(allow_dash=True), metavar="[FILE]...")
@click.option("--cost", default="1", show_default=True, metavar="SECONDS", help="The processor time of a run.")
@click.option("--start", default="5min", show_default=True, metavar="DURATION", help="The interval to begin with.")
@click.option("--min", "least", default="30s", show_default=True, metavar="DURATION", help="The shortest interval.")
@click.option("--max", "most", default="6h", show_default=True, metavar="DURATION", help="The longest interval.")
def simulate(
    session: Session, files: tuple[str, ...], more: tuple[str, ...], cost: str, start: str, least: str, most: str
) -> None:
    """Tells what an adaptive job would have cost, had it watched for old events.

    A FILE has the times at which something changed, one a line: a date and time as in ISO 8601, or a number of seconds.
    They are replayed through agentd's choice of an interval, and through simpler ones, beside the fixed interval that
    would have been best. No running agentd is needed, and nothing changes.

    \b
    Examples:
      agentctl learning simulate --events deploys.log
      git log --reverse --format=%cI | agentctl learning simulate --events - --cost 3 --max 1d
      agentctl learning simulate --events one.log two.log --json | jq .overall.agentd
    """
    import subprocess
    from pathlib import Path

    # -P and the path: the agentd next to this agentctl, never one that lies about in the current folder.
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    arguments = [sys.executable, "-P", "-m", "agentd.learning.simulate"]
    arguments += ["--json"] if session.json else []
    arguments += [f"--cost={cost}", f"--start={start}", f"--min={least}", f"--max={most}", "--", *files, *more]
    ended = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, check=False)
    click.get_current_context().exit(ended.returncode if ended.returncode >= 0 else ExitCode.ERROR)
