"""A bus of our own on which a connection may have few match rules."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from agentd.bus.connection import Bus

RULES = 8
_BUS = """<busconfig><type>session</type><listen>unix:dir={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
<limit name="max_match_rules_per_connection">{}</limit></busconfig>
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bus")
    config = folder / "bus.conf"
    config.write_text(_BUS.format(folder, RULES))
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Bus]:
    """A connection, until the block ends or the connection is lost before that."""
    bus = Bus()
    await bus.connect(address)
    assert bus._bus is not None
    try:
        yield bus
    finally:
        bus.close()
        await bus.lost()
        for file in (bus._bus._stream, bus._bus._sock):  # the library leaves them to the collector
            file.close()
