"""A standalone agentd with the toy part plugged in."""

import argparse
import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from functools import partial

from agentd import __main__ as entry
from agentd import assembly, log
from agentd.bus.connection import Bus
from agentd.config import files
from agentd.daemon.daemon import Daemon
from tests.bus.counts.part import Whole, plug

load = partial(files.load, whole=Whole)


def compose(options: argparse.Namespace, loaded: files.Loaded, bus: Bus) -> AbstractAsyncContextManager[Daemon]:
    return assembly.standalone(options, loaded, bus, load=load, counts=plug)


def main() -> int:
    options = entry._parser().parse_args()
    log.setup(options.log_level)
    return asyncio.run(entry.serve(options, load(options.config), compose))


if __name__ == "__main__":
    sys.exit(main())
