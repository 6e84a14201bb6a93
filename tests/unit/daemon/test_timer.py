"""The timer of the wall clock at its end."""

import asyncio
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from agentd import linux
from agentd.core.quantities import HOUR, SECOND
from agentd.linux import WallTimer, now


def test_a_timer_that_was_closed_is_armed_no_more() -> None:
    """The last reports of runs may come after that, and each has the timer set."""
    calls: list[str] = []

    async def scenario() -> None:
        timer = WallTimer(lambda: calls.append("time"), lambda _: calls.append("step"))
        timer.close()
        timer.set(now())
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert calls == []


def test_a_timer_comes_at_each_of_many_due_times_at_one_distance_and_at_others() -> None:
    distances = [100_000] * 5 + [50_000, 200_000, 200_000, 200_000]
    due, came = [now() + 100_000], list[int]()

    async def scenario() -> None:
        enough = asyncio.Event()

        def on_time() -> None:
            came.append(now())
            if distances:
                due.append(due[-1] + distances.pop(0))
                timer.set(due[-1])
            else:
                enough.set()

        timer = WallTimer(on_time, lambda _: None)
        timer.set(due[0])
        await asyncio.wait_for(enough.wait(), 20)
        timer.close()

    asyncio.run(scenario())
    assert [at >= when for at, when in zip(came, due, strict=True)] == [True] * 10


def test_due_times_at_one_distance_are_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they came twice at that distance, until another is wanted."""
    armed: list[tuple[int, int]] = []  # how long after the first due time, and how often from there on, in seconds
    due = now() + HOUR
    expired = [1]

    def settime(_file: int, _flags: int, spec: Any, _old: None) -> int:
        armed.append((spec[2] - due // SECOND, spec[0]))
        return 0

    async def scenario() -> None:
        timer = WallTimer(lambda: None, lambda _: None)
        read = SimpleNamespace(read=lambda *_: expired[0].to_bytes(8, sys.byteorder), close=os.close)
        monkeypatch.setattr(linux, "os", read)
        monkeypatch.setattr(linux, "_libc", SimpleNamespace(timerfd_settime=settime))
        for after, times in ((0, 1), (5, 1), (10, 1), (15, 1), (20, 3), (35, 1), (36, 1), (37, 1), (38, 1), (60, 1)):
            timer.set(due + after * SECOND)
            expired[0] = times
            timer._ready()
        timer.close()

    asyncio.run(scenario())
    assert armed == [(0, 0), (5, 0), (10, 5), (36, 0), (37, 0), (38, 1), (60, 0)]
