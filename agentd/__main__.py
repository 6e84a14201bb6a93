"""The daemon's command line and its composition root."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agentd import __version__, private, sdnotify
from agentd.config import files
from agentd.config.nodes import Problems
from agentd.core.part import Refused
from agentd.jobs import children

_EPILOG = """examples:
  agentd --check                          check the installed configuration
  agentd --check my.yaml                  check a file; exit code 2 when it has errors
  python3 -m agentd --standalone --config my.yaml --state-dir /tmp/state
                                          run jobs as child processes, without root and systemd

exit codes: 0 stopped as asked, 1 could not run, 2 the configuration has errors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs agentd; returns the exit code."""
    options = _parser().parse_args(arguments)
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
        loaded = files.load(given)
    except Problems as error:
        return _refuse(error)
    from agentd import log  # noqa: PLC0415 - not needed to check

    log.setup(options.log_level)
    return asyncio.run(_serve(options, loaded))


def _refuse(error: Problems) -> int:
    print(error, file=sys.stderr)
    print("agentd: not started: the configuration has errors", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
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
        report = {"ok": True, "files": list(loaded.files), "jobs": jobs, "errors": []}
        lines = [f"{name}: {phrase}" for name, phrase in jobs.items()]
        text, code = "\n".join([*lines, f"{', '.join(loaded.files)}: no errors, {len(jobs)} jobs"]), 0
    print(json.dumps(report, indent=2) if as_json else text, file=sys.stdout if as_json or not code else sys.stderr)
    return code


def _problem(problem: Any) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message}


async def _serve(options: argparse.Namespace, loaded: files.Loaded) -> int:
    # Only now, so that --check and --help stay quick.
    from agentd import log  # noqa: PLC0415
    from agentd.bus.connection import Bus, BusError, CallFailed  # noqa: PLC0415

    bus = Bus()
    run = _system if options.system else _standalone
    try:
        async with run(options, loaded, bus) as daemon:
            loop = asyncio.get_running_loop()
            lost = loop.create_task(bus.lost())
            ending = loop.create_task(daemon.ending.wait())
            await asyncio.wait((lost, ending), return_when=asyncio.FIRST_COMPLETED)
            if lost.done() and not daemon.failure:
                daemon.failure = "the connection to the bus was lost"
            if daemon.failure:
                log.get().error(f"agentd ends: {daemon.failure}", id="stopped")
            lost.cancel()
            daemon.ending.clear()
            await daemon.drain()
            bus.close()
            await daemon.close()
    except Problems as error:
        return _refuse(error)
    except (_Unusable, BusError, CallFailed, Refused, OSError, sqlite3.Error) as error:
        who = f"{error.peer}: " if isinstance(error, CallFailed) and error.peer else ""
        print(f"agentd: not started: {who}{error}", file=sys.stderr)
        return 1
    return 1 if daemon.failure else 0


@contextlib.asynccontextmanager
async def _standalone(options: argparse.Namespace, loaded: files.Loaded, bus: Any) -> AsyncIterator[Any]:
    """A daemon with a private bus whose jobs are child processes."""
    from agentd.core.reboots.model import Boot  # noqa: PLC0415
    from agentd.daemon.daemon import Daemon  # noqa: PLC0415
    from agentd.linux import boot_time  # noqa: PLC0415

    state = (options.state_dir or private.default_state()).absolute()
    given = options.config
    folder = "/" if given is None else str((given if given.is_dir() else given.parent).absolute())
    daemon = Daemon(loaded, partial(files.load, given), partial(files.folders, given), folder)
    _handle_signals(daemon)
    try:
        lock = await private.lock(state)
    except private.Unusable as error:
        raise _Unusable(str(error)) from None
    executor = children.Standalone(state, lock, daemon.run_started, daemon.run_ended, daemon.executor_lost)
    try:
        await bus.connect(await executor.start_bus())
        await daemon.start(state, _machine(), Boot(_boot(), boot_time()), executor, bus)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.reload_soon)
        executor.publish()
    except private.Unusable as error:
        executor.close()
        raise _Unusable(str(error)) from None
    except BaseException:
        executor.close()
        raise
    yield daemon
    os.close(lock)


@contextlib.asynccontextmanager
async def _system(options: argparse.Namespace, loaded: files.Loaded, bus: Any) -> AsyncIterator[Any]:
    """A daemon on the system bus whose jobs are units; polkit says who may do what."""
    from agentd.daemon.daemon import Daemon  # noqa: PLC0415
    from agentd.jobs.units import Units  # noqa: PLC0415
    from agentd.peers.polkit import Gate  # noqa: PLC0415
    from agentd.peers.systemd import Systemd, this_boot  # noqa: PLC0415
    from agentd.reboots.part import Rebooter  # noqa: PLC0415

    def status() -> str:
        first, _, rest = daemon.error.partition("\n")
        more = f" (and {rest.count(chr(10)) + 1} more)" if rest else ""
        trouble = f"; the configuration has errors, the one before stays in force: {first}{more}" if first else ""
        return f"STATUS={len(daemon.engine.entries)} jobs{trouble}"

    def reload() -> None:
        sdnotify.reloading()
        daemon.reload_soon(lambda: sdnotify.notify("READY=1"))

    daemon = Daemon(
        loaded,
        files.load,
        partial(files.folders, None),
        "/",
        watchdog=sdnotify.watchdog(),
        alive=lambda: sdnotify.notify("WATCHDOG=1"),
        on_configured=lambda: sdnotify.notify(status()),
        on_stopping=lambda: sdnotify.notify("STOPPING=1"),
    )
    _handle_signals(daemon)
    await bus.connect(None)
    systemd = Systemd(bus, daemon.trouble, daemon.defect)
    executor = Units(systemd, daemon.run_started, daemon.run_ended, daemon.trouble, daemon.defect)
    state = options.state_dir or Path(os.environ.get("STATE_DIRECTORY", "/var/lib/agentd"))
    gate, rebooter = Gate(bus, executor.unit_of), Rebooter(bus, daemon, state)
    boot = await this_boot(bus, _boot())
    await daemon.start(state, _machine(), boot, executor, bus, gate.authorize, rebooter)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    sdnotify.notify("READY=1", status())
    yield daemon
    systemd.close()


def _handle_signals(daemon: Any) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.ending.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there is something to reload


def _machine() -> str:
    return _read("/etc/machine-id")


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


class _Unusable(Exception):
    """agentd cannot start here; the text is a sentence."""


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
