"""The daemon's command line and its composition root."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agentd import __version__, config
from agentd.nodes import Problems

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
    if not options.standalone:
        print(
            "agentd: this version runs standalone only; start it with: agentd --standalone --config FILE",
            file=sys.stderr,
        )
        return 1
    try:
        loaded = config.load(given)
    except Problems as error:
        print(error, file=sys.stderr)
        print("agentd: not started: the configuration has errors", file=sys.stderr)
        return 2
    from agentd import log  # noqa: PLC0415 - not needed to check

    log.setup(options.log_level)
    return asyncio.run(_serve(options, loaded))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "agentd",
        description="Runs jobs when they are due.",
        epilog=_EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--standalone", action="store_true", help="own private bus, jobs as child processes")
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
        loaded = config.load(given)
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


async def _serve(options: argparse.Namespace, loaded: config.Loaded) -> int:
    # Only now, so that --check and --help stay quick.
    from agentd import log, standalone  # noqa: PLC0415
    from agentd.bus import BusError  # noqa: PLC0415
    from agentd.daemon import Daemon  # noqa: PLC0415

    state = (options.state_dir or standalone.default_state()).absolute()
    given = options.config
    folder = "/" if given is None else str((given if given.is_dir() else given.parent).absolute())
    daemon = Daemon(loaded, partial(config.load, given), partial(config.folders, given), folder)
    executor: standalone.Standalone | None = None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.ending.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there is something to reload
    try:
        lock = await standalone.lock(state)
        executor = standalone.Standalone(state, lock, daemon.run_started, daemon.run_ended, daemon.executor_lost)
        address = await executor.start_bus()
        await daemon.start(state, _read("/etc/machine-id"), _read("/proc/sys/kernel/random/boot_id"), executor, address)
        loop.add_signal_handler(signal.SIGHUP, daemon.reload_soon)
        executor.publish()
    except (standalone.Unusable, BusError, OSError, sqlite3.Error) as error:
        print(f"agentd: not started: {error}", file=sys.stderr)
        if executor is not None:
            executor.close()
        return 1
    lost = loop.create_task(daemon.server.lost())
    ending = loop.create_task(daemon.ending.wait())
    await asyncio.wait((lost, ending), return_when=asyncio.FIRST_COMPLETED)
    failure = daemon.failure or ("the connection to the bus was lost" if lost.done() else "")
    if failure:
        log.get().error(f"agentd ends: {failure}", id="stopped")
    lost.cancel()
    daemon.ending.clear()
    await daemon.drain()
    await daemon.close()
    os.close(lock)
    return 1 if failure else 0


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
