"""What all commands share: the session, the options, the command group and completion of job names."""

import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property

import click

from agentctl import __version__
from agentctl.client import Client, Failure

EPILOG = """\b
Exit status:
  0  done
  1  agentd refused, or something went wrong
  2  wrong usage, or a configuration with errors
  3  agentd is not running
  4  not allowed
  5  no such job or run, or no pending reboot
  6  run --wait, run --follow: the run did not end with success
  7  reboot-now: something is in the way
"""


@dataclass
class Session:
    """What the global options say, and the connection, made when a command first needs it."""

    address: str | None = None
    json: bool = False

    @cached_property
    def client(self) -> Client:
        client = Client.connect(self.address)
        click.get_current_context().find_root().call_on_close(client.close)
        return client


def now() -> int:
    """This instant in microseconds since 1970."""
    return time.time_ns() // 1000


def parsed(parse: Callable[[str], int]) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """An option's callback from a function that raises ValueError with a sentence."""

    def callback(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def complete_job(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of jobs that begin like this; none when the daemon cannot be asked, for a shell shows no errors."""
    session = context.find_root().ensure_object(Session)
    with suppress(Failure), closing(Client.connect(session.address)) as client:
        (jobs,) = client.call("ListJobs", {})
        return [job["name"] for job in jobs if job["name"].startswith(incomplete)]
    return []


def _keep(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    """Options that stand before or after the subcommand end up in the one session."""
    if value and parameter.name:
        setattr(context.find_root().ensure_object(Session), parameter.name, value)


address_option = click.option(
    "--address",
    metavar="ADDRESS",
    callback=_keep,
    expose_value=False,
    help="The D-Bus address where agentd is, instead of looking for it.",
)
json_option = click.option("--json", is_flag=True, callback=_keep, expose_value=False, help="Print JSON.")
pass_session = click.make_pass_decorator(Session, ensure=True)


class Commands(click.Group):
    """A group that lists its commands in the order of their definition and suggests the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(args[0], self.commands, 1)
            hint = f'Did you mean "{near[0]}"?' if near else f"{ctx.command_path} --help lists the commands."
            ctx.fail(f'There is no command "{args[0]}". {hint}')
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # rich heeds NO_COLOR by itself, click does not.
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@address_option
@json_option
@click.version_option(__version__, "--version", message="agentctl %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Shows and steers the jobs of agentd and the reboots of its machine.

    Without a command: the status of all jobs.

    \b
    Examples:
      agentctl                      what runs, what is next, what failed
      agentctl run backup --follow  run a job now and watch its output
      agentctl history --failed     what went wrong lately
    """
    context.ensure_object(Session)
    if context.invoked_subcommand is None:
        context.invoke(cli.commands["status"])


def command(name: str, group: click.Group = cli) -> Callable[[Callable[..., None]], click.Command]:
    """Registers a function as a subcommand: it gets the session first, then its own parameters."""

    def register(function: Callable[..., None]) -> click.Command:
        return group.command(name)(address_option(json_option(pass_session(function))))

    return register


def job_argument(name: str = "job", required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The JOB argument, completed with the names of jobs."""
    metavar = {"job": "JOB", "job_or_run": "JOB|RUN"}[name]
    if not required:
        metavar = f"[{metavar}]"
    return click.argument(name, required=required, metavar=metavar, shell_complete=complete_job)
