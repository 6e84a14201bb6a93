"""The things that all commands share with click: options, completion, and groups of commands."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from importlib import import_module
from typing import Any

import click

from agentctl.client import PAGE, Call, Client, ExitCode, Failure, Record
from agentctl.session import Session

MOST_RECORDS = 10_000  # the contract's limit for a list


def listed(
    client: Client, call: Call, count: int, before: Callable[[Record], object], **wanted: object
) -> list[Record]:
    """Returns up to `count` records of a list, the filter being `wanted`: page by page, as the daemon gives them.

    `before` returns the number of a record by which the page behind it is asked for. Raises Failure.
    """
    found: list[Record] = []
    while True:
        (page,) = client.call(call, {**wanted, "limit": count - len(found)})
        found += page
        # An agentd that knows no pages gives all at once, and its decisions have no number.
        if len(page) != PAGE or len(found) >= count or not (number := before(page[-1])):
            return found
        wanted["before"] = number


def completed(names: Callable[[Client], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Makes a completion of what asks agentd for names: none without a daemon, as a shell shows no errors."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        session = context.find_root().ensure_object(Session)
        with suppress(Failure), closing(Client.connect(session.address, session.state_dir)) as client:
            return [name for name in names(client) if name.startswith(incomplete)]
        return []

    return complete


def parsed(parse: Callable[[str], int]) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Makes an option's callback of a function that raises ValueError with a sentence."""

    def callback(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def _keep(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:
    """Puts an option into the one session, whether it stands before or after the subcommand."""
    if value and parameter.name:
        setattr(context.find_root().ensure_object(Session), parameter.name, value)


def address_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the two options that tell which agentd is meant."""
    for name, metavar, text in (
        ("--state-dir", "DIR", "The state directory of the standalone agentd that is meant, where several run."),
        ("--address", "ADDRESS", "The D-Bus address where agentd is, instead of looking for it."),
    ):
        option = click.option(name, metavar=metavar, type=str, callback=_keep, expose_value=False, help=text)
        function = option(function)
    return function


json_option = click.option("--json", is_flag=True, callback=_keep, expose_value=False, help="Print JSON.")
pass_session = click.make_pass_decorator(Session, ensure=True)


def count_option(default: int, most: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes the option -n of a command that lists `default` records or as many as the user wants, up to `most`."""
    return click.option(
        "-n", "count", type=click.IntRange(1, most), default=default, show_default=True, help="How many."
    )


class Commands(click.Group):
    """A group that lists its commands in the order of their definition and suggests the nearest name.

    `table` holds, by name, commands whose modules are imported when they are called: the place ("module:name") and the
    first sentence of the help. Until then a command of that name and help stands for each in --help and completion.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._places: dict[str, str] = {}
        for name, (place, sentence) in (table or {}).items():
            self._places[name] = place
            self.commands[name] = click.Command(name, help=sentence)

    def loaded(self, name: str) -> click.Command:
        """Returns the command of this name, after importing the module that it is in."""
        if place := self._places.pop(name, ""):
            module, _, attribute = place.partition(":")
            self.commands[name] = getattr(import_module(module), attribute)
        return self.commands[name]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Calls the command; where nobody reads its output any more, as after `| head`, that is no error of its own."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open to the end
            ctx.exit(ExitCode.NO_READER)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return args[0], self.loaded(args[0]), args[1:]
        if not ctx.resilient_parsing:
            from agentd.core.quantities import closest

            near = closest(args[0], self.commands)
            hint = f'Did you mean "{near}"?' if near else f"{ctx.command_path} --help lists the commands."
            ctx.fail(f'There is no command "{args[0]}". {hint}')
        return super().resolve_command(ctx, args)


def command(
    name: str, group: click.Group | None = None, **settings: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a command of a function, which gets the session first, then its own parameters; `settings` are click's.

    A command of `group` is registered there; one of agentctl itself stands in the table of agentctl.__main__.
    """
    make = group.command if group else click.command

    def register(function: Callable[..., None]) -> click.Command:
        return make(name, **settings)(address_option(json_option(pass_session(function))))

    return register
