"""What people read on their terminals: at most a message a minute about one reboot, the last that is still true."""

import asyncio
from pathlib import Path
from typing import Any

from agentd.core.quantities import MINUTE
from agentd.core.reboots.model import RebootWarns, RebootWithdrawn
from agentd.linux import now
from agentd.reboots.people import People
from agentd.reboots.terminals import Terminals
from agentd.tasks import Tasks
from tests.unit.reboots.fakes import Host

PAUSE = 0.2


class Wall:
    """A systemd that starts the unit which writes to terminals."""

    def __init__(self, message: Path) -> None:
        self.message, self.read = message, list[str]()

    async def start_unit(self, unit: str) -> str:
        assert unit == "agentd-wall.service"
        self.read.append(self.message.read_text())
        return "/job/1"


class Home:
    """Terminals, and the people who tell them."""

    def __init__(self, folder: Path) -> None:
        host: Any = Host()
        host.folder = folder
        self.tasks = Tasks(host.defects.append)
        self.wall = Wall(folder / "wall")
        systemd: Any = self.wall
        nothing: Any = None
        self.people = People(host, nothing, nothing, Terminals(host, systemd, self.tasks, PAUSE), self.tasks)

    async def settle(self) -> list[str]:
        while self.tasks._tasks:
            await asyncio.gather(*self.tasks._tasks)
        return [text.partition("\n")[0] for text in self.wall.read]


def withdrawn(number: int, reboot: int = 1) -> RebootWithdrawn:
    return RebootWithdrawn(reboot, f"BUY NOW {number}", f"process {number} of mallory holds the machine up")


def test_the_first_is_read_at_once_and_of_the_others_the_last_when_a_minute_is_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        home = Home(tmp_path)
        began = asyncio.get_running_loop().time()
        for number in range(300):
            home.people.warn(RebootWarns(1, f"worn {number}", now() + 10 * MINUTE))
            home.people.withdraw(withdrawn(number))
            if not number:
                await asyncio.sleep(PAUSE / 10)
        first, last = await home.settle()
        assert asyncio.get_running_loop().time() - began >= PAUSE
        assert first == "The reboot that was announced does not come for now: process 0 of mallory holds the machine up"
        assert "process 299 of mallory" in last

    asyncio.run(scenario())


def test_a_reboot_does_not_wait_for_what_is_said_about_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        home = Home(tmp_path)
        home.people.withdraw(withdrawn(1))
        await asyncio.sleep(PAUSE / 10)
        home.people.withdraw(withdrawn(2))
        home.people.withdraw(withdrawn(3, reboot=2))
        read = await home.settle()
        assert [text.rpartition("process ")[2][0] for text in read] == ["1", "3", "2"]

    asyncio.run(scenario())


def test_a_warning_that_is_too_late_is_not_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        home = Home(tmp_path)
        home.people.withdraw(withdrawn(1))
        await asyncio.sleep(PAUSE / 10)
        home.people.warn(RebootWarns(1, "worn", now() + 1000))
        assert len(await home.settle()) == 1

    asyncio.run(scenario())


def test_the_words_of_a_stranger_are_in_the_signal_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        home = Home(tmp_path)
        told: Any = home.people._host.server
        home.people.withdraw(withdrawn(1))
        assert told.told == [("Reboot", "RebootWithdrawn", "BUY NOW 1")]
        assert "BUY" not in "".join(await home.settle())

    asyncio.run(scenario())
