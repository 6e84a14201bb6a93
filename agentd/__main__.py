"""The daemon's command line: checks a configuration, or serves until told to end."""

from agentd import light  # noqa: F401, I001 - before asyncio

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from agentd import __version__, linux
from agentd.config import apart, files, kept
from agentd.config.problems import Problems
from agentd.config.kinds import PARTS
from agentd.core.config import Config
from agentd.core.notices.settings import uses
from agentd.core.part import Refused
from agentd.core.quantities import counted
from agentd.peers.startable import unstartable
from agentd.peers import credentials
from agentd.peers.packages import missing_for

if TYPE_CHECKING:
    import argparse

    from agentd.bus.connection import Bus
    from agentd.daemon.daemon import Daemon

    Compose = Callable[[argparse.Namespace, files.Loaded, Bus], AbstractAsyncContextManager[Daemon]]

_EPILOG = """examples:
  agentd --check                          check the installed configuration
  agentd --check my.yaml                  check a file; exit code 2 when it has errors
  python3 -m agentd --standalone --config my.yaml --state-dir ~/.local/state/agentd-try
                                          run jobs as child processes, without root and systemd

exit codes: 0 stopped as asked, 1 could not run, 2 the configuration has errors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs agentd with these arguments; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _of_service(arguments) or _parser().parse_args(arguments)
    given: Path | None = options.check if options.check not in (None, "") else options.config
    if options.check is not None:
        return _check(Path(given) if given else None, as_json=options.json)
    if options.standalone == options.system:
        print("agentd: say how to run: --standalone, or --system as agentd.service does", file=sys.stderr)
        return 1
    if options.system and given is not None:
        print("agentd: --system reads the system's folders, as its generator does; --config goes with --standalone")
        return 1
    try:
        options.state_dir = _state(options)
    except RuntimeError:
        print(
            "agentd: not started: this user has no home: give a folder for the state with --state-dir", file=sys.stderr
        )
        return 1
    linux.give_memory_back()
    reading = apart.begin(given, partial(load, options.state_dir, given))
    from agentd import assembly, log  # noqa: PLC0415 - only now, so that --check and --help stay quick

    try:
        loaded = reading()
    except apart.Unread as error:
        print(f"agentd: not started: {error}", file=sys.stderr)
        return 1
    except Problems as error:
        return _refuse(error)
    log.setup(options.log_level)
    linux.umask_before = os.umask(0o077)  # what agentd writes is nobody else's to read
    return asyncio.run(serve(options, loaded, assembly.system if options.system else assembly.standalone))


def load(state: Path, given: Path | None, read: Callable[[Path | None], files.Loaded] = files.load) -> files.Loaded:
    """Returns the configuration to start with: that of the files, or the last good one while they have errors.

    Raises Problems where there is no last good one in the state directory, or no file any more: the generator of units
    takes that as no jobs, too.
    """
    try:
        return read(given)
    except Problems as error:
        last = kept.last_good(state, given, error) if files.are_there(given) else None
        if last is None:
            raise
        return last


def _state(options: "argparse.Namespace") -> Path:
    """Returns the state directory. Raises RuntimeError where the user has no home for it."""
    given: Path | None = options.state_dir
    if given is not None:
        return given.absolute()
    if options.system:
        return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/agentd"))
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "agentd"


def _refuse(error: Problems) -> int:
    print(error, file=sys.stderr)
    print("agentd: not started: the configuration has errors", file=sys.stderr)
    return 2


def _of_service(arguments: Sequence[str]) -> Any:
    """Returns the options of a plain command line that serves, as argparse would; None for any other, which argparse
    reads or explains. argparse and what it needs would stay, half a MiB."""
    found: dict[str, Any] = {"check": None, "config": None, "json": False, "log_level": "info", "standalone": False}
    found |= {"state_dir": None, "system": False}
    words = iter(arguments)
    for word in words:
        name = word[2:].replace("-", "_")
        if word in {"--standalone", "--system"}:
            found[name] = True
        elif word in {"--config", "--state-dir"} and (value := next(words, "-"))[:1] not in {"-", ""}:
            found[name] = Path(value)
        else:
            return None
    return SimpleNamespace(**found) if found["standalone"] or found["system"] else None


def _parser() -> "argparse.ArgumentParser":
    import argparse  # noqa: PLC0415 - see _of_service

    parser = argparse.ArgumentParser(
        "agentd",
        description="Runs jobs when they are due.",
        epilog=_EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--standalone", action="store_true", help="own private bus, jobs as child processes")
    parser.add_argument("--system", action="store_true", help="the system bus, jobs as systemd units (agentd.service)")
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help="a YAML file, or a folder with agentd.yaml and conf.d"
    )
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where the state is kept (~/.local/state/agentd)")
    parser.add_argument("--check", nargs="?", const="", metavar="PATH", help="only check the configuration")
    parser.add_argument("--json", action="store_true", help="with --check: the result as JSON")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--version", action="version", version=f"agentd {__version__}")
    return parser


def _check(given: Path | None, *, as_json: bool) -> int:
    """Checks a configuration and tells the result; returns 0, or 2 when it has errors."""
    report: dict[str, Any]
    try:
        loaded = files.load(given)
    except Problems as error:
        report = {"ok": False, "errors": [_problem(problem) for problem in error.found]}
        text, code = f"{error}\n{len(error.found)} error{'s' * (len(error.found) > 1)}", 2
    else:
        jobs = {name: job.trigger.phrase() for name, job in loaded.config.jobs.items()}
        doubts = (text for part in PARTS for text in part.doubts(loaded.config))
        warnings = [*loaded.warnings, *doubts, *unstartable(loaded.config.jobs), *_unusable(loaded.config, given)]
        report = {"ok": True, "files": list(loaded.files), "jobs": jobs, "errors": []}
        report |= {"timezone": loaded.config.timezone, "warnings": warnings}
        rules = {name: rule.when for name, rule in loaded.config.rules.items()}
        report |= {"rules": rules}
        windows = loaded.config.reboot.phrases
        report |= {"reboot_windows": windows}
        lines = [f"{name}: {phrase}" for name, phrase in jobs.items()]
        lines += [f"reboot window {name}: {phrase}" for name, phrase in windows.items()]
        lines += [f"warning: {text}" for text in warnings]
        found = counted(len(jobs), "job") + (f", {counted(len(rules), 'rule')}" if rules else "")
        text, code = "\n".join([*lines, f"{', '.join(loaded.files)}: no errors, {found}"]), 0
    print(json.dumps(report, indent=2) if as_json else text, file=sys.stdout if as_json or not code else sys.stderr)
    return code


def _unusable(config: Config, given: Path | None) -> Iterator[str]:
    """Yields a sentence for what keeps couriers from their work, such as a credential that they cannot use, as far as
    whoever checks may look. What lies in the system's folders is a service's configuration; a file may be anybody's.
    """
    why_not = credentials.of_systemd if given is None else credentials.of_either
    for use in uses(config.notices, config.jobs):
        if why := why_not(use.credential):
            yield f"{use.setting}: {why}"
    if why := missing_for(config.notices.channels):
        yield f"notices.channels: {why}"


def _problem(problem: Any) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message}


async def serve(options: "argparse.Namespace", loaded: files.Loaded, compose: "Compose") -> int:
    """Runs the agentd that `compose` puts together until it is told to end; returns the exit code."""
    from agentd import log  # noqa: PLC0415 - as above
    from agentd.bus.connection import Bus, BusError, CallFailed  # noqa: PLC0415 - as above
    from agentd.private import Unusable  # noqa: PLC0415 - as above

    bus = Bus()
    try:
        async with compose(options, loaded, bus) as daemon:
            loop = asyncio.get_running_loop()
            gone = loop.create_task(bus.lost())
            ending = loop.create_task(daemon.ending.wait())
            await asyncio.wait((gone, ending), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                daemon.lost("the connection to the bus was lost")
            if daemon.failure:
                log.get().error(f"agentd ends: {daemon.failure}", id="stopped")
            gone.cancel()
            daemon.ending.clear()
            told = daemon.failure
            await daemon.drain()
            if daemon.failure != told:  # and what is lost while agentd ends, for whoever sees the exit code
                log.get().error(f"agentd ends: {daemon.failure}", id="stopped")
            bus.close()
            await daemon.close()
    except (Unusable, BusError, CallFailed, Refused, OSError, sqlite3.Error) as error:
        peer = f"{error.peer}: " if isinstance(error, CallFailed) and error.peer else ""
        print(f"agentd: not started: {peer}{error}", file=sys.stderr)
        return 1
    return 1 if daemon.failure else 0


if __name__ == "__main__":
    sys.exit(main())
