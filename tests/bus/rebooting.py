"""agentd as it is on a machine that it may reboot, but with standalone jobs on a bus that a test gives it.

That bus outlives agentd, as the system's does. A "reboot" is to start it again with another --boot-id.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from agentd import __main__ as entry
from agentd import log, private
from agentd.bus.connection import Bus
from agentd.config import files
from agentd.core.quantities import SECOND
from agentd.core.reboots.model import Boot, Times
from agentd.daemon.daemon import Daemon
from agentd.jobs import children
from agentd.linux import now
from agentd.reboots import machine
from agentd.reboots.part import plug


class OnGivenBus(children.Standalone):
    """Jobs as child processes, without a bus of their own."""

    async def start_bus(self) -> str:
        return self.address


@contextlib.asynccontextmanager
async def rebooting(options: argparse.Namespace, loaded: files.Loaded, bus: Bus) -> AsyncIterator[Any]:
    """The composition of agentd.__main__ for a machine that it may reboot."""
    state = options.state_dir.absolute()
    own = Daemon(loaded, partial(files.load, options.config), partial(files.folders, options.config), str(state.parent))
    entry._handle_signals(own)
    executor = OnGivenBus(state, await private.lock(state), own.run_started, own.run_ended, own.executor_lost)
    executor.address = options.address
    await bus.connect(options.address)
    boot = Boot(options.boot_id, now())
    given = (one.partition("=") for one in options.times)
    times = Times(**{name: int(float(seconds) * SECOND) for name, _, seconds in given})

    def plug_reboots(host: Any, jobs: Any, config: Any) -> Any:
        return plug(host, jobs, bus, config, boot, "test", address=options.address, times=times)

    await own.start(state, "test", boot, executor, bus, None, plug_reboots)
    private.runtime().mkdir(parents=True, exist_ok=True)
    executor.publish()
    yield own


def main() -> int:
    parser = entry._parser()
    parser.add_argument("--address", required=True, help="of the bus")
    parser.add_argument("--boot-id", required=True, help="of the boot of the machine; an unknown one begins now")
    parser.add_argument(
        "--times", action="append", default=[], metavar="NAME=SECONDS", help="another of Reboots' Times"
    )
    options = parser.parse_args()
    folder: Path = options.state_dir.parent
    machine.REQUIRED, machine.LOCKS = folder / "reboot-required", (folder / "dpkg-lock",) * 3
    entry._standalone = rebooting
    log.setup(options.log_level)
    return asyncio.run(entry._serve(options, files.load(options.config)))


if __name__ == "__main__":
    sys.exit(main())
