"""What is decided is carried out, and what is heard of that as well, without another turn of the loop for each look."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

from agentd.config.files import Loaded
from agentd.core.config import Config
from agentd.core.part import Core, Effect, Sampled
from agentd.daemon.daemon import Daemon
from agentd.part import Part


class Asked(Effect, frozen=True):
    """A question, the number of which is that of the answers before it."""

    number: int


class Curious(Core):
    """A core that asks on, answer by answer."""

    def __init__(self) -> None:
        self.wants: list[Effect] = [Asked(0)]

    def effects(self) -> list[Effect]:
        taken, self.wants = self.wants, []
        return taken


def curious() -> tuple[Any, list[int]]:
    """Returns a daemon whose one part is answered at once, and the numbers of the questions that were carried out."""
    core, asked, armed = Curious(), list[int](), list[object]()
    daemon: Any = Daemon("system", Loaded(Config(), ()), lambda: Loaded(Config(), ()), list)
    daemon._storing = SimpleNamespace(add=lambda effects: list(map(daemon.carry_out, effects)))
    daemon._timer = SimpleNamespace(set=armed.append)
    daemon.armed = armed

    def answer(effect: Asked) -> None:
        asked.append(effect.number)
        daemon.hear("curious", lambda: core.wants.append(Asked(effect.number + 1)))

    daemon._plugged = daemon._plug([Part(name="curious", core=core, does={Asked: answer})])
    return daemon, asked


def test_what_is_heard_while_a_pump_carries_out_is_dealt_with_in_it() -> None:
    async def scenario() -> None:
        daemon, asked = curious()
        daemon.pump()
        assert asked == [0, 1]
        assert len(daemon.armed) == 1

    asyncio.run(scenario())


def test_parts_that_are_always_answered_at_once_do_not_hold_the_loop() -> None:
    async def scenario() -> None:
        daemon, asked = curious()
        daemon.pump()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asked == [0, 1, 2, 3, 4, 5, 6, 7]

    asyncio.run(scenario())


def test_reports_that_come_together_are_dealt_with_together() -> None:
    async def scenario() -> None:
        (daemon, asked), told = curious(), list[int]()
        for number in range(10, 13):
            daemon.hear("curious", partial(told.append, number))
        assert asked == []
        await asyncio.sleep(0)
        assert told == [10, 11, 12]
        assert (asked, len(daemon.armed)) == ([0, 1], 1)

    asyncio.run(scenario())


class Looked(Sampled, frozen=True):
    """A sample."""


class Counting(Core):
    """A core that counts how often it is asked for effects, and wants a sample at each tick."""

    def __init__(self, due: int | None) -> None:
        self.due, self.asked = due, 0
        self.wants: list[Effect] = []

    def wakeup(self) -> int | None:
        return self.due

    def tick(self, now: int) -> None:
        self.wants.append(Looked())

    def effects(self) -> list[Effect]:
        self.asked += 1
        taken, self.wants = self.wants, []
        return taken


def beside(looks: Core, other: Core) -> Any:
    """Returns a daemon with two parts, which has pumped once."""
    daemon: Any = Daemon("system", Loaded(Config(), ()), lambda: Loaded(Config(), ()), list)
    daemon.carried = []
    daemon._storing = SimpleNamespace(add=daemon.carried.extend)
    daemon._timer = SimpleNamespace(set=lambda _: None)
    daemon._plugged = daemon._plug([Part(name="looks", core=looks), Part(name="other", core=other)])
    daemon.pump()
    return daemon


def test_a_look_that_is_due_has_no_other_part_asked() -> None:
    async def scenario() -> None:
        looks, other = Counting(due=1), Counting(due=None)
        daemon = beside(looks, other)
        daemon._tick()
        assert (daemon.carried, looks.asked, other.asked) == ([Looked()], 2, 1)

    asyncio.run(scenario())


def test_a_look_beside_a_report_has_all_asked() -> None:
    async def scenario() -> None:
        looks, other = Counting(due=1), Counting(due=None)
        daemon = beside(looks, other)
        daemon.hear("other", lambda: other.wants.append(Asked(7)))
        daemon._tick()
        assert daemon.carried == [Looked(), Asked(7)]

    asyncio.run(scenario())
