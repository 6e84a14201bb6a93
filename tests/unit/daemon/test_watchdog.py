"""agentd tells systemd that it lives: in time, and only while it deals with due times."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config.files import Loaded
from agentd.core.config import Config
from agentd.daemon import daemon as module
from agentd.daemon.daemon import Daemon, Supervision

WATCHDOG = 180_000_000


class Clock:
    """Elapsed seconds, and a wall clock that can be set apart from them."""

    def __init__(self) -> None:
        self.elapsed = 1000.0
        self.ahead = 0

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> int:
        return round(self.elapsed * 1_000_000) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "now", clock.now)
    return clock


def watched(told: list[float], clock: Clock) -> Any:
    """A daemon with nothing to do, and the instants at which its timer is set to ring in `armed`."""

    async def make() -> Daemon:
        return Daemon(
            "system",
            Loaded(Config(), ()),
            lambda: Loaded(Config(), ()),
            list,
            Supervision(watchdog=WATCHDOG, alive=lambda: told.append(clock.elapsed)),
        )

    daemon: Any = asyncio.run(make())
    daemon._storing = SimpleNamespace(add=lambda _: None)
    daemon.armed = []
    daemon._timer = SimpleNamespace(set=daemon.armed.append)
    return daemon


def test_requests_do_not_put_the_sign_of_life_off(clock: Clock) -> None:
    told: list[float] = []
    daemon = watched(told, clock)
    daemon._tick()
    for _ in range(300):  # somebody asks something every second, for longer than the watchdog's patience
        clock.elapsed += 1
        daemon.pump()
        if daemon.armed[-1] <= clock.now():
            daemon._tick()
    gaps = [after - before for before, after in pairwise(told)]
    assert len(told) >= 3
    assert max(gaps) <= WATCHDOG / 2_000_000 + 1


def test_a_clock_that_is_set_does_not_put_it_off(clock: Clock) -> None:
    told: list[float] = []
    daemon = watched(told, clock)
    daemon._tick()
    clock.ahead -= 86_400_000_000
    daemon.pump()
    assert daemon.armed[-1] - clock.now() == WATCHDOG // 2


def test_without_a_watchdog_nothing_wakes_it(clock: Clock) -> None:
    daemon = watched([], clock)
    daemon._supervision = Supervision()
    daemon.pump()
    assert daemon.armed == [None]
