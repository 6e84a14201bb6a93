"""The commands about the daemon itself."""

import os
import sys

import click

from agentctl import __version__
from agentctl.cli import command
from agentctl.client import ExitCode, Failure
from agentctl.daemon import MANAGER, RELOAD
from agentctl.session import Session, now
from agentctl.show import print_json, print_line
from agentctl.times import clock


@command("reload")
def reload(session: Session) -> None:
    """Reads the configuration again and prints what changed.

    A configuration with errors changes nothing: the errors are printed, and the exit status is 2.

    \b
    Example:
      agentctl reload
    """
    before = session.client.properties(MANAGER).get("ConfigurationLoadedUSec", 0)
    (changes,) = session.client.call(RELOAD)
    if session.json:
        print_json({"changes": changes})
    else:
        since = f" since agentd read the configuration by itself at {clock(before, now())}" if before else ""
        for change in changes or [f"nothing changed{since}"]:
            print_line(change)


@command("check")
@click.argument("file", required=False, type=click.Path())
def check(session: Session, file: str | None) -> None:
    """Checks the configuration, or one FILE, for errors.

    The check needs no running agentd. The exit status is 2 when there are errors.

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
        daemon = session.client.properties(MANAGER)
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

    With it a shell completes commands, options and the names of jobs.

    \b
    Examples:
      source <(agentctl completion bash)
      agentctl completion fish > ~/.config/fish/completions/agentctl.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise Failure(f"the installed click does not know {shell}: use bash, or a newer click")
    agentctl = click.get_current_context().find_root().command
    script = complete(agentctl, {}, "agentctl", "_AGENTCTL_COMPLETE").source()
    if session.json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
