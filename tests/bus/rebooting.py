"""agentd as it is on a machine that it may reboot, but with standalone jobs on a bus that a test gives it.

That bus outlives agentd, as the system's does. A "reboot" is to start it again with another --boot-id.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from agentd import __main__ as entry
from agentd import assembly, log, private
from agentd.bus.connection import Bus
from agentd.config import files
from agentd.core.quantities import SECOND
from agentd.core.reboots.model import Boot, Times
from agentd.daemon import manager
from agentd.daemon.daemon import Daemon
from agentd.jobs import children
from agentd.jobs.part import JobsShell
from agentd.linux import now
from agentd.peers.systemd import Systemd
from agentd.reboots import machine, mounts
from agentd.reboots import part as reboots


@contextlib.asynccontextmanager
async def rebooting(options: argparse.Namespace, loaded: files.Loaded, bus: Bus) -> AsyncIterator[Daemon]:
    """The composition of agentd.assembly for a machine that agentd may reboot."""
    state = options.state_dir.absolute()
    load, watched = partial(files.load, options.config), partial(files.watched, options.config)
    daemon = Daemon("standalone", loaded, load, watched)
    assembly.handle_signals(daemon)
    jobs = JobsShell(daemon)
    lock = await private.lock(state)
    executor = children.Children(state, str(state.parent), lock, jobs.started, jobs.ended, jobs.set_aside, daemon.lost)
    await bus.connect(options.address)
    systemd = Systemd(bus, daemon.trouble, daemon.defect)
    boot = Boot(options.boot_id, now() - int(options.uptime * SECOND))
    given = (one.partition("=") for one in options.times)
    times = Times(**{name: int(float(seconds) * SECOND) for name, _, seconds in given})
    booted, rebooted = await daemon.open(state, boot.id, boot.at)
    parts = [
        manager.part(daemon),
        await jobs.plug(executor, loaded.config, machine="test", booted=booted, rebooted=rebooted),
        await reboots.plug(
            daemon, jobs.core, bus, systemd, loaded.config, boot, "test", address=options.address, times=times
        ),
    ]
    await daemon.start(parts, bus)
    own = private.PrivateBus(state)
    own.address = options.address
    private.take_folder(private.runtime(), "runtime")
    own.publish()
    yield daemon


def remembers(folder: Path, proc: Path = mounts.PROC) -> str:
    """Says that a boot leaves the state as it is: it does here, also where /tmp lies in memory."""
    del folder, proc
    return ""


def main() -> int:
    parser = entry._parser()
    parser.add_argument("--address", required=True, help="of the bus")
    parser.add_argument("--boot-id", required=True, help="of the boot of the machine; an unknown one begins now")
    parser.add_argument("--uptime", type=float, default=0.0, help="seconds since the machine booted")
    parser.add_argument(
        "--times", action="append", default=[], metavar="NAME=SECONDS", help="another of Reboots' Times"
    )
    options = parser.parse_args()
    folder: Path = options.state_dir.parent
    machine.REQUIRED, machine.LOCKS = folder / "reboot-required", (folder / "dpkg-lock",) * 3
    machine.ROOT = os.getuid()  # whoever runs the tests also holds the lock
    mounts.forgets = remembers
    log.setup(options.log_level)
    return asyncio.run(entry.serve(options, files.load(options.config), rebooting))


if __name__ == "__main__":
    sys.exit(main())
