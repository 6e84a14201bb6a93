"""agentctl's entry point, and the commands about agentd itself."""

import os
import sys

import click

from agentctl import __version__
from agentctl.cli import Session, cli, command
from agentctl.client import ExitCode, Failure, safe
from agentctl.jobs import (
    commands,  # noqa: F401 - its commands register themselves
    runs,  # noqa: F401 - the same
)
from agentctl.show import print_json, print_line

# isort: split
from agentctl.reboots import commands as reboots  # noqa: F401 - the same; --help lists commands in the order in which they come


@command("reload")
def reload(session: Session) -> None:
    """Reads the configuration again and prints what changed.

    When it has errors, they are printed, the configuration in force stays, and the exit status is 2.

    \b
    Example:
      agentctl reload
    """
    (changes,) = session.client.call("Reload")
    if session.json:
        print_json({"changes": changes})
    else:
        for change in changes or ["nothing changed"]:
            print_line(change)


@command("check")
@click.argument("file", required=False, type=click.Path())
def check(session: Session, file: str | None) -> None:
    """Checks the configuration, or one FILE, for errors.

    Needs no running agentd. The exit status is 2 when there are errors.

    \b
    Examples:
      agentctl check
      agentctl check ./agentd.yaml
    """
    import subprocess
    from pathlib import Path

    # -P and the path: the agentd next to this agentctl, never one that lies about in the current folder.
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))
    arguments = [sys.executable, "-P", "-m", "agentd", "--check"]
    arguments += [file] if file else []
    arguments += ["--json"] if session.json else []
    ended = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path}, check=False)
    click.get_current_context().exit(ended.returncode if ended.returncode >= 0 else ExitCode.ERROR)


@command("version")
def version(session: Session) -> None:
    """Shows the versions of agentctl and of the running agentd.

    \b
    Example:
      agentctl version
    """
    try:
        daemon = session.client.daemon()
    except Failure as failed:
        if failed.code != ExitCode.NOT_RUNNING:
            raise
        daemon = {}
    if session.json:
        print_json({"client": __version__, "daemon": daemon.get("Version")})
        return
    print_line(f"agentctl {__version__}")
    print_line(f"agentd {daemon['Version']} ({daemon.get('Mode')})" if daemon else "agentd is not running")


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Prints the completion script for a shell.

    It completes commands, options and the names of jobs.

    \b
    Examples:
      source <(agentctl completion bash)
      agentctl completion fish > ~/.config/fish/completions/agentctl.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise Failure(f"the installed click does not know {shell}: use bash, or a newer click")
    script = complete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").source()
    if session.json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)


def main(arguments: list[str] | None = None) -> int:
    """Runs agentctl and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 must not end us: what it cannot show becomes an escape.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        code = cli.main(arguments, prog_name="agentctl", standalone_mode=False)
    except Failure as failed:
        # The sentence may quote what somebody else wrote: no control characters but line ends reach the terminal.
        click.echo("agentctl: " + "\n".join(safe(line) for line in str(failed).splitlines()), err=True)
        return failed.code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except click.Abort:
        return 130
    except OSError as error:
        # A full disk behind stdout, most likely; what is still buffered must not be tried again at exit.
        click.echo(f"agentctl: the output could not be written: {error.strerror}", err=True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        return ExitCode.ERROR
    return code if isinstance(code, int) else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
