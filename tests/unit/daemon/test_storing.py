"""Who waits for something to be stored learns when it cannot be."""

import asyncio
import sqlite3
import threading
from typing import Any

import pytest

from agentd.core.part import Decided, Refused
from agentd.daemon.storing import Storing


class FullDisk:
    """A store whose first write hangs until it is let go, and then fails."""

    folder = "/nowhere"
    warning = ""

    def __init__(self) -> None:
        self.writing, self.go = threading.Event(), threading.Event()

    def write(self, _effects: Any) -> None:
        self.writing.set()
        self.go.wait(10)
        raise sqlite3.OperationalError("database or disk is full")

    def close(self) -> None: ...


class Host:
    def trouble_changed(self) -> None: ...


def test_who_comes_while_a_write_is_about_to_fail_is_told_too() -> None:
    async def scenario() -> None:
        disk, host = FullDisk(), Host()
        storing = Storing(disk, host)  # type: ignore[arg-type]
        storing.add([Decided(1, "reboots", "reboot", "", "first")])
        early = asyncio.ensure_future(storing.settle())
        while not disk.writing.is_set():
            await asyncio.sleep(0)
        late = asyncio.ensure_future(storing.settle())
        await asyncio.sleep(0)
        disk.go.set()
        for waiting in (early, late):
            with pytest.raises(Refused, match="cannot be stored"):
                await asyncio.wait_for(waiting, 10)
        await storing.close()

    asyncio.run(scenario())
