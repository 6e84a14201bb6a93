"""The few command lines that scripts and prompts call, read without click.

click and the modules that it needs take 40 ms of processor time to be imported, three times Python's own start. Command
lines that are not as plain are left to click: each mistake, --help, completion, and whatever else a command can do.
"""

import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

from agentctl.client import ExitCode
from agentctl.session import Session
from agentctl.show import echo


class Quick(NamedTuple):
    """A command that needs no click: its function ("module:name"), the name of its one argument, whether that must be
    given, and its flags with the names of the function's parameters."""

    place: str
    argument: str
    required: bool
    flags: dict[str, str]


class Asked(NamedTuple):
    """The command that a command line asks for, with the values of the global options and of its own."""

    command: Quick
    session: Session
    values: dict[str, Any]


COMMANDS = {
    "status": Quick("agentctl.jobs.status:status", "job", required=False, flags={}),
    "run": Quick("agentctl.jobs.start:start", "job", required=True, flags={}),
    "kpi": Quick("agentctl.rules.kpis:kpi", "name", required=False, flags={"--all": "every"}),
}
_OPTIONS = {"--address": "address", "--state-dir": "state_dir"}


def read(arguments: list[str]) -> Asked | None:
    """Returns what a command line asks for, the options standing anywhere; None where click has to look at it."""
    if os.environ.get("_AGENTCTL_COMPLETE"):
        return None
    session, command = Session(), None
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            value = value if equals else next(rest, "")
            if not value or value.startswith("-"):
                return None
            setattr(session, _OPTIONS[option], value)
        elif word == "--json":
            session.json = True
        elif command is None and word in COMMANDS:
            command = COMMANDS[word]
        elif command and word in command.flags:
            values[command.flags[word]] = True
        elif command and word and not word.startswith("-") and command.argument not in values:
            values[command.argument] = word
        else:
            return None
    command = command or COMMANDS["status"]
    return Asked(command, session, values) if command.argument in values or not command.required else None


def run(asked: Asked) -> int:
    """Runs a command and returns the exit code; it ends as click would have it end. Raises Failure, OSError."""
    module, _, function = asked.command.place.partition(":")
    try:
        getattr(import_module(module), function)(asked.session, **asked.values)
    except BrokenPipeError:  # nobody reads on, as after `| head`, which is no error of its own
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open to the end
        return ExitCode.NO_READER
    except KeyboardInterrupt:
        echo(err=True)  # the line of the terminal's ^C ends
        return 130
    finally:
        asked.session.close()
    return ExitCode.OK
